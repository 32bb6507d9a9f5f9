"""Rows of acknowledgements: who said first that they are on an incident. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.deliveries import DeliveryStatus
from monitor.store.dialects import upsert
from monitor.store.tables import acknowledgement, delivery, incident


@dataclass(frozen=True, slots=True)
class AcknowledgementRecord:
    """Somebody is on it. `via` is the way they said so: ``api``, ``page``, ``link`` or ``pagerduty``."""

    incident_id: str
    at: float
    by: str
    via: str


async def add(connection: AsyncConnection, record: AcknowledgementRecord) -> bool:
    """Write one; False where somebody was first, which stays as it is."""
    inserted = await connection.execute(
        upsert(connection, acknowledgement)
        .values(incident_id=record.incident_id, at=record.at, by=record.by, via=record.via)
        .on_conflict_do_nothing(index_elements=["incident_id"])
        .returning(acknowledgement.c.incident_id)
    )
    return inserted.one_or_none() is not None


async def of_incidents(connection: AsyncConnection, incident_ids: Collection[str]) -> dict[str, AcknowledgementRecord]:
    """Return those of some incidents, by incident."""
    if not incident_ids:
        return {}
    query = select(acknowledgement).where(acknowledgement.c.incident_id.in_(list(incident_ids)))
    return {
        row.incident_id: AcknowledgementRecord(row.incident_id, row.at, row.by, row.via)
        for row in (await connection.execute(query)).all()
    }


async def of_open_incidents(connection: AsyncConnection) -> dict[str, AcknowledgementRecord]:
    """Return those of all incidents under way, by incident."""
    query = (
        select(acknowledgement)
        .join(incident, incident.c.id == acknowledgement.c.incident_id)
        .where(incident.c.closed_at.is_(None))
    )
    return {
        row.incident_id: AcknowledgementRecord(row.incident_id, row.at, row.by, row.via)
        for row in (await connection.execute(query)).all()
    }


@dataclass(frozen=True, slots=True)
class LastTold:
    """When a receiver was last sent something about an incident, and whether that is still on its way."""

    at: float
    on_its_way: bool


async def last_told(
    connection: AsyncConnection, incident_ids: Collection[str], receivers: Collection[str]
) -> dict[tuple[str, str], LastTold]:
    """Return it by incident and receiver; one that was never told, or asked for no more, is absent."""
    if not incident_ids or not receivers:
        return {}
    pending = DeliveryStatus.PENDING.value
    query = (
        select(
            delivery.c.incident_id,
            delivery.c.receiver,
            func.max(delivery.c.created_at).label("at"),
            func.count().filter(delivery.c.status == pending).label("pending"),
        )
        .where(
            delivery.c.incident_id.in_(list(incident_ids)),
            delivery.c.receiver.in_(list(receivers)),
            delivery.c.status.in_([pending, DeliveryStatus.DELIVERED.value, DeliveryStatus.DEAD.value]),
        )
        .group_by(delivery.c.incident_id, delivery.c.receiver)
    )
    return {
        (row.incident_id, row.receiver): LastTold(row.at, row.pending > 0)
        for row in (await connection.execute(query)).all()
    }
