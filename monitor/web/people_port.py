"""What the web layer needs to know of pauses, silences, drills, and of where an incident stands for somebody who comes late.

As in `monitor.web.port`: texts are safe to show, times aware and in UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from monitor.store.silences import SilenceKind
from monitor.vocabulary import EffectKind, Severity, StreamRef


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that was done to the stream or its publisher: `because` is a reason word of the protocol, or empty."""

    what: EffectKind
    at: datetime
    by: str
    because: str


@dataclass(frozen=True, slots=True)
class Undo:
    """Something that can be taken back (`action`), in words, and the request that does it; ``none`` for what cannot."""

    action: str
    what: str
    how: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an incident stands for somebody who comes late."""

    happened: Sequence[Happening] = ()
    undo: Sequence[Undo] = ()


@dataclass(frozen=True, slots=True)
class SilenceView:
    """A pause of containment, or a silence of alerts, in force.

    Attributes:
        server: Only on this media server; None for all.
        pattern: Only streams whose ``app/name`` or stream id matches; None for all. A pause has none.
        owner: Who answers for it.
    """

    silence_id: str
    kind: SilenceKind
    server: str | None
    pattern: str | None
    owner: str
    reason: str
    since: datetime
    until: datetime


class QuietService(Protocol):
    """Pauses of containment and silences of alerts; every one has an end."""

    @property
    def longest_s(self) -> float:
        """How long one may last at most."""
        ...

    def silences(self) -> Sequence[SilenceView]:
        """Return what is in force, oldest first, from memory."""
        ...

    async def begin(
        self, kind: SilenceKind, *, server: str | None, pattern: str | None, until: datetime, owner: str, reason: str
    ) -> SilenceView:
        """Pause or silence; one in force with the same scope is replaced. Durable on return."""
        ...

    async def end(self, silence_id: str, *, by: str, why: str) -> bool:
        """End one before its time; False when none of this id is in force. Durable on return."""
        ...


class DrillOutcome(StrEnum):
    """What became of the wish to begin a drill."""

    BEGUN = "begun"
    UNKNOWN_STREAM = "unknown_stream"
    UNKNOWN_PROTOCOL = "unknown_protocol"
    UNDER_WAY = "under_way"
    NOTHING_HAPPENS = "nothing_happens"


@dataclass(frozen=True, slots=True)
class DrillResult:
    """What became of it; `incident_id` only where it was begun."""

    outcome: DrillOutcome
    incident_id: str = ""


class DrillService(Protocol):
    """Exercises."""

    async def begin(self, ref: StreamRef, *, protocol: str | None, severity: Severity, by: str) -> DrillResult:
        """Run a protocol on a live stream from a detection that nobody's model made; durable on return.

        Args:
            ref: The stream. Nothing is done to it.
            protocol: Which one; None for the one in force on the stream.
            severity: Of the detection: ``review`` or ``act``.
            by: Who begins it, for the audit log.

        Raises:
            StoreError: nothing was begun.
        """
        ...
