# ruff: noqa: D101, D103 - docs/api.md describes every object and field; the names are the same
"""The JSON of API v1 about strikes, users' reports and many blocks at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from monitor.vocabulary import Category, OffenceContext
from monitor.web import enforcement_port as port
from monitor.web.display import displayable, displayable_lines
from monitor.web.policy_wire import Policy, policy


class StrikeBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Body that records an offence, of whoever one of `stream_id`, `app` and `name`, `account` and `address` names."""

    policy: str
    why: str
    context: OffenceContext
    decided_at: datetime | None = None
    stream_id: str | None = None
    server: str | None = None
    app: str | None = None
    name: str | None = None
    account: str | None = None
    address: str | None = None


class ReportBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Body of a user's report: by `stream_id`, or by `server`, `app` and `name`."""

    category: Category
    reporter: str
    text: str = ""
    stream_id: str | None = None
    server: str | None = None
    app: str | None = None
    name: str | None = None


class BlockEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One block among many; without `until` it never ends."""

    server: str
    app: str
    name: str
    why: str
    until: datetime | None = None


class BlocksBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Body that blocks many publishers at once."""

    blocks: list[BlockEntry]


class Strike(msgspec.Struct, frozen=True):
    strike_id: str
    stream_id: str | None
    known_by: Sequence[str]
    server: str
    scope: str
    policy: Policy
    origin: str
    context: str
    number: int
    decided_at: datetime
    until: datetime
    expires_at: datetime
    incident_id: str | None
    by: str
    why: str


class Strikes(msgspec.Struct, frozen=True):
    strikes: Sequence[Strike]


class EnforcedPolicy(msgspec.Struct, frozen=True):
    code: str
    title: str
    category: str
    tier: str
    url: str | None
    text: str | None
    strikes: bool


class Policies(msgspec.Struct, frozen=True):
    policies: Sequence[EnforcedPolicy]


class Reported(msgspec.Struct, frozen=True):
    outcome: str
    report_id: str | None
    incident_id: str | None
    ended_at: datetime | None


class BlocksAdded(msgspec.Struct, frozen=True):
    added: int


class ExportedBlock(msgspec.Struct, frozen=True):
    server: str
    app: str
    name: str
    since: datetime
    until: datetime | None
    by: str
    why: str


class ExportedBlocks(msgspec.Struct, frozen=True):
    blocks: Sequence[ExportedBlock]


def strike(view: port.StrikeView) -> Strike:
    return Strike(
        strike_id=view.strike_id,
        stream_id=view.stream_id,
        known_by=view.known_by,
        server=view.server,
        scope=view.scope,
        policy=policy(view.policy),
        origin=view.origin,
        context=view.context,
        number=view.number,
        decided_at=view.decided_at,
        until=view.until,
        expires_at=view.expires_at,
        incident_id=view.incident_id,
        by=displayable(view.by),
        why=displayable_lines(view.why),
    )
