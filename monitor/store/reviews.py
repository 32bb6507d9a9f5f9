"""Rows of reviews that nobody has decided: how far each has been passed on. Times are Unix seconds."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.dialects import upsert
from monitor.store.tables import review_wait

NEVER = 253_370_764_800.0
"""The year 9999: there is nobody left to tell."""


@dataclass(frozen=True, slots=True)
class ReviewWait:
    """A review that waits: `step` is the group that has it, from 0, since `told_at`; the next one is told at `next_at`."""

    incident_id: str
    step: int
    next_at: float
    told_at: float = 0.0


async def waiting(connection: AsyncConnection) -> dict[str, ReviewWait]:
    """Return all of them, by incident."""
    rows = (await connection.execute(select(review_wait))).all()
    return {row.incident_id: ReviewWait(row.incident_id, row.step, row.next_at, row.told_at) for row in rows}


async def save(connection: AsyncConnection, wait: ReviewWait) -> None:
    """Write one, in the place of what was there."""
    values = {"step": wait.step, "next_at": wait.next_at, "told_at": wait.told_at}
    await connection.execute(
        upsert(connection, review_wait)
        .values(incident_id=wait.incident_id, **values)
        .on_conflict_do_update(index_elements=["incident_id"], set_=values)
    )


async def forget(connection: AsyncConnection, incident_id: str) -> None:
    """Remove one: it was decided, or is not awaited any more."""
    await connection.execute(delete(review_wait).where(review_wait.c.incident_id == incident_id))
