"""Blocks by hand: the rows, and the audit log's entry; for the daemon, and for the command line while none runs."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store import audit, blocks
from monitor.store.blocks import BlockRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import StreamRef
from monitor.web.enforcement_values import NewBlock

NEVER: Final = 253_370_764_800.0
"""Unix time of the year 9999: a block without an end."""


async def add(connection: AsyncConnection, new: NewBlock, *, at: float, by: str) -> BlockRecord:
    """Block a publisher in place of whatever blocks it now, in the caller's transaction."""
    until = NEVER if new.until is None else new.until.timestamp()
    await blocks.lift_of_publisher(connection, new.ref, at=at, by=by, why="replaced by a new block")
    record = await blocks.add(connection, new.ref, at=at, until=until, by=by, why=new.why)
    await audit.append(
        connection,
        at=at,
        actor=by,
        action="block_added",
        incident_id=None,
        detail={"stream_id": new.ref.stream_id, "until": until, "why": new.why},
    )
    return record


async def lift_of_incident(
    connection: AsyncConnection, incident: IncidentRecord, *, at: float, by: str, why: str
) -> int:
    """Lift what an incident made, in the caller's transaction; returns how many blocks there were."""
    lifted = await blocks.lift_of_incident(connection, incident.id, at=at, by=by, why=why)
    if lifted:
        detail = {"stream_id": incident.ref.stream_id, "why": why}
        await audit.append(connection, at=at, actor=by, action="block_lifted", incident_id=incident.id, detail=detail)
    return lifted


async def lift(connection: AsyncConnection, ref: StreamRef, *, at: float, by: str, why: str) -> int:
    """Lift whatever blocks a publisher, in the caller's transaction; returns how many blocks there were."""
    lifted = await blocks.lift_of_publisher(connection, ref, at=at, by=by, why=why)
    if lifted:
        await audit.append(
            connection,
            at=at,
            actor=by,
            action="block_lifted",
            incident_id=None,
            detail={"stream_id": ref.stream_id, "why": why},
        )
    return lifted
