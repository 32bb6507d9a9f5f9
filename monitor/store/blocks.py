"""Rows of blocks: who is barred from live, until when, why and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.tables import block
from monitor.vocabulary import StreamRef


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """One block. Times are Unix seconds; `effect_id` is set where a protocol's effect made it."""

    id: str
    server: str
    app: str
    name: str
    created_at: float
    until: float
    incident_id: str | None
    effect_id: str | None
    by: str
    why: str
    lifted_at: float | None = None
    lifted_by: str | None = None
    lifted_why: str | None = None

    @property
    def ref(self) -> StreamRef:
        """Whom it bars: the publisher under this name, on this application of this server."""
        return StreamRef(server=self.server, app=self.app, name=self.name)


async def add(
    connection: AsyncConnection,
    ref: StreamRef,
    *,
    at: float,
    until: float,
    by: str,
    why: str,
    incident_id: str | None = None,
    effect_id: str | None = None,
) -> BlockRecord:
    """Bar a publisher from `at` until `until`."""
    record = BlockRecord(
        id=str(uuid4()),
        server=ref.server,
        app=ref.app,
        name=ref.name,
        created_at=at,
        until=until,
        incident_id=incident_id,
        effect_id=effect_id,
        by=by,
        why=why,
    )
    await connection.execute(insert(block).values({name: getattr(record, name) for name in BlockRecord.__slots__}))
    return record


async def made_by(connection: AsyncConnection, effect_id: str) -> bool:
    """Whether an effect has made a block, in force or not."""
    query = select(block.c.id).where(block.c.effect_id == effect_id)
    return (await connection.execute(query)).first() is not None


async def lift_of_incident(connection: AsyncConnection, incident_id: str, *, at: float, by: str, why: str) -> int:
    """Lift every active block that an incident made; returns how many there were."""
    return await _lift(connection, block.c.incident_id == incident_id, at=at, by=by, why=why)


async def lift_of_publisher(connection: AsyncConnection, ref: StreamRef, *, at: float, by: str, why: str) -> int:
    """Lift every active block on a publisher; returns how many there were."""
    return await _lift(connection, _of_publisher(ref), at=at, by=by, why=why)


async def active(connection: AsyncConnection, *, at: float) -> Sequence[BlockRecord]:
    """Return blocks in force at `at`, newest first."""
    query = select(block).where(block.c.lifted_at.is_(None), block.c.until > at).order_by(block.c.created_at.desc())
    return [BlockRecord(**row._mapping) for row in (await connection.execute(query)).all()]


def _of_publisher(ref: StreamRef) -> ColumnElement[bool]:
    return (block.c.server == ref.server) & (block.c.app == ref.app) & (block.c.name == ref.name)


async def end_of(connection: AsyncConnection, ref: StreamRef, *, at: float) -> float | None:
    """Return until when a publisher is barred, over all its blocks in force at `at`; None when there is none."""
    query = select(func.max(block.c.until)).where(_of_publisher(ref), block.c.lifted_at.is_(None), block.c.until > at)
    until: float | None = (await connection.execute(query)).scalar_one()
    return until


async def _lift(connection: AsyncConnection, which: ColumnElement[bool], *, at: float, by: str, why: str) -> int:
    values: dict[str, Any] = {"lifted_at": at, "lifted_by": by, "lifted_why": why}
    result = await connection.execute(
        update(block).where(which, block.c.lifted_at.is_(None), block.c.until > at).values(values)
    )
    return result.rowcount
