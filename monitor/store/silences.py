"""Rows of pauses and silences: whose, why and until when. Times are Unix seconds; every one has an end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from uuid import uuid4

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.tables import silence


class SilenceKind(StrEnum):
    """What rests: a `pause` keeps Livecordon from containing, a `silence` from telling people."""

    PAUSE = "pause"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class SilenceRecord:
    """One pause or silence.

    Attributes:
        server: Only on this media server; None for all.
        pattern: Only streams whose ``app/name`` or stream id matches; None for all, and always for a pause.
        owner: Who answers for it.
        ended_at: When it ended before its time, or was found to have ended; None while it is in force.
    """

    id: str
    kind: SilenceKind
    server: str | None
    pattern: str | None
    owner: str
    reason: str
    created_at: float
    until: float
    ended_at: float | None = None
    ended_by: str | None = None
    ended_why: str | None = None


async def add(
    connection: AsyncConnection,
    kind: SilenceKind,
    *,
    server: str | None,
    pattern: str | None,
    owner: str,
    reason: str,
    at: float,
    until: float,
) -> SilenceRecord:
    """Begin one at `at`."""
    record = SilenceRecord(str(uuid4()), kind, server, pattern, owner, reason, at, until)
    await connection.execute(insert(silence).values(asdict(record) | {"kind": kind.value}))
    return record


async def not_ended(connection: AsyncConnection) -> Sequence[SilenceRecord]:
    """Return those that nobody has ended, oldest first; their time may be over."""
    query = select(silence).where(silence.c.ended_at.is_(None)).order_by(silence.c.created_at, silence.c.id)
    rows = (await connection.execute(query)).all()
    return [SilenceRecord(**{**row._mapping, "kind": SilenceKind(row.kind)}) for row in rows]


async def end(connection: AsyncConnection, silence_id: str, *, at: float, by: str, why: str) -> bool:
    """End one; False when there is none of this id in force."""
    ended = await connection.execute(
        update(silence)
        .where(silence.c.id == silence_id, silence.c.ended_at.is_(None))
        .values(ended_at=at, ended_by=by, ended_why=why)
    )
    return ended.rowcount == 1
