"""The outbox's rows: one per alert and receiver, from the decision that asked for it until it is taken or given up.

Everything here works on a connection of the caller's, so that an alert is committed together with what it reports.
Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Row, and_, bindparam, case, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.dialects import upsert
from monitor.store.tables import delivery, receiver_state


class DeliveryStatus(StrEnum):
    """Where an alert to one receiver stands.

    `cancelled`: not sent because the receiver asked for no more alerts. `superseded`: not sent because the receiver, which
    keeps no sequence, has a newer one of the same incident. `discarded`: a person gave it up.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    DISCARDED = "discarded"


class Priority(StrEnum):
    """A protocol's word for how much an alert matters; `crisis` wakes people and is tried again first."""

    CRISIS = "crisis"
    NORMAL = "normal"


OVERLOADED = (429, 502, 503, 504)
"""HTTP statuses that say something about the receiver and nothing about the alert."""

GIVEN_UP = (DeliveryStatus.DEAD, DeliveryStatus.CANCELLED)
"""Dead letters: alerts that nobody will try again unless they are replayed."""

NEVER_TRIED = "receiver_away"
"""Why an alert was given up of which not a single attempt was made: its receiver took nothing else either."""


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """An alert ready to be sent.

    Attributes:
        id: The event's id; the same for every receiver and attempt. Enqueueing one id twice is the same as once.
        type: CloudEvents type.
        incident_id: The incident that it is about, if any.
        sequence: Place in the incident's history; receivers keep the highest.
        priority: How much it matters.
        body: The exact bytes that are signed and sent at every attempt.
    """

    id: str
    type: str
    incident_id: str | None
    sequence: int
    priority: Priority
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One row of the outbox.

    Attributes:
        attempts: Attempts that ended; one that a crash cut short is not counted.
        next_at: When the next attempt is due; without meaning once the row is finished.
        finished_at: When it was delivered, given up or cancelled.
        last_status: HTTP status of the last answer, if there was one.
        last_reason: Static word for the last failure; None before the first and after success.
    """

    id: str
    event_id: str
    event_type: str
    incident_id: str | None
    sequence: int
    receiver: str
    priority: str
    body: bytes = field(repr=False)
    status: str
    attempts: int
    created_at: float
    next_at: float
    finished_at: float | None
    last_status: int | None
    last_reason: str | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for one receiver and what was given up; `oldest_at` is the creation of the oldest pending alert."""

    pending: int = 0
    given_up: int = 0
    oldest_at: float | None = None


async def enqueue(connection: AsyncConnection, event: OutgoingEvent, receivers: Sequence[str], *, at: float) -> int:
    """Write one row per receiver, due at once; returns how many are pending because of this call.

    A receiver that asked for no more alerts gets a cancelled row, which stays visible and can be replayed. An event
    that the outbox already holds for a receiver is left as it is.
    """
    if not receivers:
        return 0
    disabled = await disabled_receivers(connection)
    rows = [
        {
            "id": str(uuid4()),
            "event_id": event.id,
            "event_type": event.type,
            "incident_id": event.incident_id,
            "sequence": event.sequence,
            "receiver": receiver,
            "priority": event.priority.value,
            "body": event.body,
            "status": (DeliveryStatus.CANCELLED if receiver in disabled else DeliveryStatus.PENDING).value,
            "attempts": 0,
            "created_at": at,
            "next_at": at,
            "finished_at": at if receiver in disabled else None,
            "last_status": None,
            "last_reason": disabled.get(receiver),
        }
        for receiver in receivers
    ]
    # One statement for all: it is part of a decision, which people wait for.
    inserted = await connection.execute(
        upsert(connection, delivery)
        .on_conflict_do_nothing(index_elements=["event_id", "receiver"])
        .returning(delivery.c.receiver),
        rows,
    )
    return sum(receiver not in disabled for receiver in inserted.scalars())


async def due(connection: AsyncConnection, receiver: str, *, at: float, limit: int) -> list[DeliveryRecord]:
    """Return alerts to try now, first one first.

    Alerts never tried come first, oldest first: a backlog of failures does not hold up what is new. Then those to be
    tried again: crisis before normal, oldest first. Of one incident, older ones take the places before newer ones.
    """
    tried = delivery.c.attempts > 0
    query = (
        select(delivery)
        .where(_pending_of(receiver), delivery.c.next_at <= at)
        .order_by(
            tried,
            and_(tried, delivery.c.priority != Priority.CRISIS.value),
            delivery.c.created_at,
            delivery.c.sequence,
            delivery.c.id,
        )
        .limit(limit)
    )
    return _in_sequence([as_record(row) for row in (await connection.execute(query)).all()])


async def due_of_all(
    connection: AsyncConnection, receivers: Collection[str], *, at: float, limit: int
) -> dict[str, list[DeliveryRecord]] | None:
    """Return what `due` returns for each of some receivers, in one statement; None if that is more than `limit` rows.

    One decision writes a row for every receiver, and wakes them all: this is the usual case.
    """
    query = (
        select(delivery)
        .where(
            delivery.c.receiver.in_(receivers),
            delivery.c.status == DeliveryStatus.PENDING.value,
            delivery.c.next_at <= at,
        )
        .limit(limit + 1)
    )
    rows = (await connection.execute(query)).all()
    if len(rows) > limit:
        return None
    found: dict[str, list[DeliveryRecord]] = {receiver: [] for receiver in receivers}
    for record in sorted((as_record(row) for row in rows), key=_urgency):
        found[record.receiver].append(record)
    return {receiver: _in_sequence(records) for receiver, records in found.items()}


def _urgency(record: DeliveryRecord) -> tuple[bool, bool, float, int, str]:
    tried = record.attempts > 0
    return tried, tried and record.priority != Priority.CRISIS, record.created_at, record.sequence, record.id


def _in_sequence(records: Sequence[DeliveryRecord]) -> list[DeliveryRecord]:
    of_incident: dict[str, list[DeliveryRecord]] = {}
    for record in records:
        if record.incident_id is not None:
            of_incident.setdefault(record.incident_id, []).append(record)
    waiting = {
        incident: iter(sorted(some, key=lambda one: (one.sequence, one.created_at)))
        for incident, some in of_incident.items()
    }
    return [record if record.incident_id is None else next(waiting[record.incident_id]) for record in records]


async def next_due_at(connection: AsyncConnection, receiver: str, *, after: float) -> float | None:
    """Return when the first attempt for a receiver is due that was not due at `after`; None when nothing else is pending."""
    query = select(func.min(delivery.c.next_at)).where(_pending_of(receiver), delivery.c.next_at > after)
    due_at: float | None = (await connection.execute(query)).scalar_one()
    return due_at


@dataclass(frozen=True, slots=True)
class Taken:
    """A receiver's word that it has taken an alert."""

    delivery_id: str
    at: float
    http_status: int | None


async def record_delivered(connection: AsyncConnection, taken: Sequence[Taken]) -> None:
    """Note what receivers took; rows that are not pending any more are left as they are."""
    statement = (
        update(delivery)
        .where(delivery.c.id == bindparam("taken_id"), delivery.c.status == DeliveryStatus.PENDING.value)
        .values(
            attempts=delivery.c.attempts + 1,
            status=DeliveryStatus.DELIVERED.value,
            finished_at=bindparam("taken_at"),
            last_status=bindparam("answer"),
            last_reason=None,
        )
    )
    await connection.execute(
        statement, [{"taken_id": one.delivery_id, "taken_at": one.at, "answer": one.http_status} for one in taken]
    )


async def record_failed(
    connection: AsyncConnection,
    delivery_id: str,
    *,
    at: float,
    next_at: float | None,
    reason: str,
    http_status: int | None,
) -> bool:
    """Note a failed attempt: due again at `next_at`, or dead if that is None; False when the row was not pending."""
    values: dict[str, Any] = {"last_status": http_status, "last_reason": reason}
    if next_at is None:
        values |= {"status": DeliveryStatus.DEAD.value, "finished_at": at}
    else:
        values |= {"next_at": next_at}
    return await _finish_attempt(connection, delivery_id, values)


async def hasten(connection: AsyncConnection, receiver: str, *, at: float) -> int:
    """Make everything due that waits because its receiver was away (no answer, 429, 502, 503, 504); returns how many.

    For the moment in which a receiver is back: its backlog need not wait for hours still to go in the schedule.
    """
    was_away = or_(delivery.c.last_status.is_(None), delivery.c.last_status.in_(OVERLOADED))
    hastened = await connection.execute(
        update(delivery).where(_pending_of(receiver), delivery.c.next_at > at, was_away).values(next_at=at)
    )
    return hastened.rowcount


async def newest_taken(connection: AsyncConnection, receiver: str, incidents: Collection[str]) -> dict[str, int]:
    """Return the highest sequence that a receiver has taken, of each of these incidents that it was told of."""
    query = (
        select(delivery.c.incident_id, func.max(delivery.c.sequence))
        .where(
            delivery.c.incident_id.in_(incidents),
            delivery.c.receiver == receiver,
            delivery.c.status == DeliveryStatus.DELIVERED.value,
        )
        .group_by(delivery.c.incident_id)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


async def supersede(connection: AsyncConnection, delivery_ids: Collection[str], *, at: float) -> None:
    """Give up pending alerts because their receiver has newer ones."""
    await connection.execute(
        update(delivery)
        .where(delivery.c.id.in_(delivery_ids), delivery.c.status == DeliveryStatus.PENDING.value)
        .values(status=DeliveryStatus.SUPERSEDED.value, finished_at=at)
    )


async def expire(connection: AsyncConnection, receiver: str, remaining_s: Sequence[float], *, at: float) -> int:
    """Make dead letters of what a receiver that is away was not even asked to take within its whole schedule.

    Args:
        connection: In a transaction.
        receiver: Which one.
        remaining_s: By attempts made, the seconds from when the next was due until the schedule's end; falling.
        at: The time.

    Returns:
        How many.
    """
    of_row = case(
        *((delivery.c.attempts == attempts, span_s) for attempts, span_s in enumerate(remaining_s)),
        else_=remaining_s[-1],
    )
    expired = await connection.execute(
        update(delivery)
        .where(_pending_of(receiver), delivery.c.next_at <= at - remaining_s[-1], delivery.c.next_at <= at - of_row)
        .values(
            status=DeliveryStatus.DEAD.value,
            finished_at=at,
            last_reason=func.coalesce(delivery.c.last_reason, NEVER_TRIED),
        )
    )
    return expired.rowcount


async def disabled_receivers(connection: AsyncConnection) -> dict[str, str]:
    """Return the receivers that get nothing more, each with the static reason word."""
    query = select(receiver_state.c.receiver, receiver_state.c.disabled_reason).where(
        receiver_state.c.disabled_at.is_not(None)
    )
    return {row.receiver: row.disabled_reason for row in (await connection.execute(query)).all()}


async def backlog(connection: AsyncConnection, receiver: str) -> Backlog:
    """Return what waits for a receiver, and what was given up."""
    # Two ranges of one index: a receiver has hundreds of thousands of alerts that it took.
    waiting = select(func.count(), func.min(delivery.c.created_at)).where(_pending_of(receiver))
    pending, oldest_at = (await connection.execute(waiting)).one()
    lost = select(func.count()).where(delivery.c.receiver == receiver, _given_up())
    given_up: int = (await connection.execute(lost)).scalar_one()
    return Backlog(pending=pending, given_up=given_up, oldest_at=oldest_at)


async def awaited_receivers(connection: AsyncConnection) -> set[str]:
    """Return the receivers, configured or not, that something is pending for or was given up for."""
    statuses = [status.value for status in (DeliveryStatus.PENDING, *GIVEN_UP)]
    query = select(delivery.c.receiver).where(delivery.c.status.in_(statuses)).distinct()
    return set((await connection.execute(query)).scalars())


async def told(connection: AsyncConnection, incident_id: str) -> set[str]:
    """Return the receivers that an incident's alerts went to, or are on their way to."""
    query = (
        select(delivery.c.receiver)
        .where(delivery.c.incident_id == incident_id, delivery.c.status != DeliveryStatus.CANCELLED.value)
        .distinct()
    )
    return set((await connection.execute(query)).scalars())


async def of_incident(connection: AsyncConnection, incident_id: str) -> Sequence[DeliveryRecord]:
    """Return an incident's alerts to all receivers, oldest first."""
    query = (
        select(delivery)
        .where(delivery.c.incident_id == incident_id)
        .order_by(delivery.c.created_at, delivery.c.sequence, delivery.c.receiver)
    )
    return [as_record(row) for row in (await connection.execute(query)).all()]


def _pending_of(receiver: str) -> ColumnElement[bool]:
    return and_(delivery.c.receiver == receiver, delivery.c.status == DeliveryStatus.PENDING.value)


def _given_up() -> ColumnElement[bool]:
    return delivery.c.status.in_([status.value for status in GIVEN_UP])


async def _finish_attempt(connection: AsyncConnection, delivery_id: str, values: dict[str, Any]) -> bool:
    result = await connection.execute(
        update(delivery)
        .where(delivery.c.id == delivery_id, delivery.c.status == DeliveryStatus.PENDING.value)
        .values(attempts=delivery.c.attempts + 1, **values)
    )
    return result.rowcount == 1


def as_record(row: Row[Any]) -> DeliveryRecord:
    """Return a whole row of the table."""
    return DeliveryRecord(**row._mapping)
