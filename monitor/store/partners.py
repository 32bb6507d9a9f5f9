"""Rows of what other platforms said, and of how each of their events was answered. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.dialects import upsert
from monitor.store.tables import partner_alert, partner_event


class AlertState(StrEnum):
    """Where a partner's alert stands. `withdrawn` is for good; `over` may stand again with a newer word."""

    STANDING = "standing"
    WITHDRAWN = "withdrawn"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class PartnerAlert:
    """What a partner said of one of its incidents.

    Attributes:
        incident_id: The partner's id of it.
        sequence: Of its newest word.
        word: The last word of that event's type.
        severity: ``none``, ``review`` or ``act``, as the partner says.
        stream_name: ``app/name`` at the partner, where it tells it; hostile.
        until: As long as streams are watched more closely because of it.
        streams: Ids of our streams that it concerned.
        disagrees: A responder here dismissed what was found on one of them.
        receipt: What the partner was last told of it.
    """

    partner: str
    incident_id: str
    state: AlertState
    sequence: int
    word: str
    severity: str
    label: str
    stream_name: str | None
    page_link: str | None
    drill: bool
    first_at: float
    heard_at: float
    until: float
    streams: Sequence[str] = ()
    disagrees: bool = False
    receipt: Mapping[str, Any] | None = field(default=None)


async def save(connection: AsyncConnection, alert: PartnerAlert) -> None:
    """Write an alert as it stands now."""
    values = {**asdict(alert), "state": alert.state.value, "streams": list(alert.streams)}
    statement = upsert(connection, partner_alert).values(values)
    kept = {name: statement.excluded[name] for name in values if name not in ("partner", "incident_id")}
    await connection.execute(statement.on_conflict_do_update(index_elements=["partner", "incident_id"], set_=kept))


async def load(connection: AsyncConnection, partner: str, incident_id: str) -> PartnerAlert | None:
    """Return what a partner said of one incident."""
    query = select(partner_alert).where(partner_alert.c.partner == partner, partner_alert.c.incident_id == incident_id)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _alert(row)


async def recent(connection: AsyncConnection, *, since: float, limit: int = 1000) -> list[PartnerAlert]:
    """Return alerts of which something was heard since, newest first."""
    query = (
        select(partner_alert)
        .where(partner_alert.c.heard_at >= since)
        .order_by(partner_alert.c.heard_at.desc())
        .limit(limit)
    )
    return [_alert(row) for row in (await connection.execute(query)).all()]


async def answered(connection: AsyncConnection, partner: str, event_id: str) -> bytes | None:
    """Return the receipt with which an event was answered before; None of one that is new."""
    query = select(partner_event.c.receipt).where(
        partner_event.c.partner == partner, partner_event.c.event_id == event_id
    )
    found: bytes | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def answer(connection: AsyncConnection, partner: str, event_id: str, receipt: bytes, *, at: float) -> None:
    """Note how an event was answered."""
    values = {"partner": partner, "event_id": event_id, "at": at, "receipt": receipt}
    await connection.execute(
        upsert(connection, partner_event).values(values).on_conflict_do_nothing(index_elements=["partner", "event_id"])
    )


async def forget(connection: AsyncConnection, *, events_before: float, alerts_before: float) -> None:
    """Remove what nobody sends again, or asks for, any more."""
    await connection.execute(delete(partner_event).where(partner_event.c.at < events_before))
    await connection.execute(delete(partner_alert).where(partner_alert.c.heard_at < alerts_before))


def _alert(row: Any) -> PartnerAlert:
    values = dict(row._mapping)
    return PartnerAlert(**{**values, "state": AlertState(values["state"]), "streams": tuple(values["streams"])})
