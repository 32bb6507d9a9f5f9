"""What crosses the relay's control interface, as JSON."""

from __future__ import annotations

import msgspec


class Listed(msgspec.Struct, frozen=True):
    """One publication; `started_at` is Unix time in seconds."""

    app: str
    name: str
    session: str
    address: str | None
    started_at: float
    viewers: int
    received_bytes: int
    held: bool = False


class Listing(msgspec.Struct, frozen=True):
    """The answer to ``GET /control/streams``."""

    streams: list[Listed]


class CutCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /control/cut``; `session` may be left out to mean whoever publishes under the name now."""

    app: str
    name: str
    session: str | None = None


class Cuts(msgspec.Struct, frozen=True):
    """The answer to ``POST /control/cut``: how many publications were ended, 0 or 1."""

    matched: int


class HoldCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /control/hold``; `held` false releases. `session` as in `CutCommand`."""

    app: str
    name: str
    held: bool
    session: str | None = None


class Holds(msgspec.Struct, frozen=True):
    """The answer to ``POST /control/hold``: how many publications are as they should be now, 0 or 1."""

    matched: int


class GateQuestion(msgspec.Struct, frozen=True):
    """What the relay asks the publish gate."""

    call: str
    app: str
    name: str
    session: str
    address: str | None
