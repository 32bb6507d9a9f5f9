"""Rows of users' reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.tables import report


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """One report.

    Attributes:
        at: Unix time of its arrival.
        incident_id: The incident that it began or was told to, if any.
        category: A `Category`'s word.
        text: What the user wrote; may be empty.
        token: Name of the token under which it came.
        reporter_hash: Keyed hash of who reported, in hex.
        live: The stream was live then.
    """

    id: str
    at: float
    stream_id: str
    incident_id: str | None
    category: str
    text: str
    token: str
    reporter_hash: str
    live: bool


async def add(connection: AsyncConnection, record: ReportRecord) -> None:
    """Write a report."""
    await connection.execute(insert(report).values(asdict(record)))


async def of_incident(connection: AsyncConnection, incident_id: str) -> Sequence[ReportRecord]:
    """Return an incident's reports, oldest first."""
    query = select(report).where(report.c.incident_id == incident_id).order_by(report.c.at, report.c.id)
    return [ReportRecord(**row._mapping) for row in (await connection.execute(query)).all()]
