"""What people see of the outbox, and what they do about it: replay and discard alerts, enable receivers again.

Everything here works on a connection of the caller's. Times are Unix seconds. The table keeps what was delivered, too: every
statement goes through the index by receiver and status.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.deliveries import GIVEN_UP, DeliveryRecord, DeliveryStatus, as_record
from monitor.store.dialects import upsert
from monitor.store.tables import delivery, receiver_state


@dataclass(frozen=True, slots=True)
class ReceiverStanding:
    """Where one receiver stands.

    Attributes:
        given_up: Dead letters: dead and cancelled ones.
        oldest_at: Creation of the oldest pending alert, or None.
        disabled_at: Since when it gets nothing more, or None.
    """

    receiver: str
    pending: int
    delivered: int
    given_up: int
    oldest_at: float | None
    disabled_at: float | None
    disabled_reason: str | None


async def standings(connection: AsyncConnection) -> dict[str, ReceiverStanding]:
    """Return where every receiver stands that an alert was ever written for, or that is disabled."""
    query = select(delivery.c.receiver, delivery.c.status, func.count()).group_by(
        delivery.c.receiver, delivery.c.status
    )
    counts: dict[str, dict[str, int]] = {}
    for receiver, status, number in await connection.execute(query):
        counts.setdefault(receiver, {})[status] = number
    states = {row.receiver: row for row in await connection.execute(select(receiver_state))}
    found: dict[str, ReceiverStanding] = {}
    for receiver in sorted({*counts, *states}):
        of_receiver = counts.get(receiver, {})
        state = states.get(receiver)
        pending = of_receiver.get(DeliveryStatus.PENDING.value, 0)
        oldest = select(func.min(delivery.c.created_at)).where(
            delivery.c.receiver == receiver, delivery.c.status == DeliveryStatus.PENDING.value
        )
        found[receiver] = ReceiverStanding(
            receiver=receiver,
            pending=pending,
            delivered=of_receiver.get(DeliveryStatus.DELIVERED.value, 0),
            given_up=sum(of_receiver.get(status.value, 0) for status in GIVEN_UP),
            oldest_at=(await connection.execute(oldest)).scalar_one() if pending else None,
            disabled_at=None if state is None else state.disabled_at,
            disabled_reason=None if state is None else state.disabled_reason,
        )
    return found


async def find(
    connection: AsyncConnection,
    statuses: Collection[DeliveryStatus],
    *,
    receiver: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> list[DeliveryRecord]:
    """Return alerts to one receiver or to all, newest first.

    Args:
        connection: For reading.
        statuses: Only those in one of these.
        receiver: Only those to it.
        after: Id of the last one of the page before; an unknown one begins at the beginning.
        limit: How many at most.
    """
    receivers = await _receivers(connection) if receiver is None else [receiver]
    query = select(delivery).where(
        delivery.c.receiver.in_(receivers), delivery.c.status.in_([status.value for status in statuses])
    )
    query = await _beyond(connection, query, after)
    query = query.order_by(delivery.c.created_at.desc(), delivery.c.id.desc()).limit(limit)
    return [as_record(row) for row in await connection.execute(query)]


async def one(connection: AsyncConnection, delivery_id: str) -> DeliveryRecord | None:
    """Return one alert to one receiver, or None."""
    row = (await connection.execute(select(delivery).where(delivery.c.id == delivery_id))).one_or_none()
    return None if row is None else as_record(row)


async def dead_letters(
    connection: AsyncConnection, *, receiver: str | None = None, limit: int = 100
) -> list[DeliveryRecord]:
    """Return alerts that were given up or cancelled, newest first."""
    return await find(connection, GIVEN_UP, receiver=receiver, limit=limit)


async def replay(
    connection: AsyncConnection, *, at: float, ids: Sequence[str] | None = None, receiver: str | None = None
) -> int:
    """Make dead letters due again, all or the given ones, with the whole schedule before them and under their old ids.

    Those of a disabled receiver stay as they are: enable it first. A discarded or superseded one is replayed by its id only.

    Returns:
        How many will be sent again.
    """
    disabled = select(receiver_state.c.receiver).where(receiver_state.c.disabled_at.is_not(None))
    also = () if ids is None else (DeliveryStatus.DISCARDED, DeliveryStatus.SUPERSEDED)
    chosen = and_(await _chosen(connection, (*GIVEN_UP, *also), ids, receiver), delivery.c.receiver.not_in(disabled))
    values = {"status": DeliveryStatus.PENDING.value, "attempts": 0, "next_at": at, "finished_at": None}
    return (await connection.execute(update(delivery).where(chosen).values(values))).rowcount


async def discard(
    connection: AsyncConnection, *, at: float, ids: Sequence[str] | None = None, receiver: str | None = None
) -> int:
    """Give up dead letters for good, all or the given ones; one that is pending is discarded by its id only.

    Returns:
        How many were discarded; their rows stay.
    """
    also = () if ids is None else (DeliveryStatus.PENDING,)
    chosen = await _chosen(connection, (*GIVEN_UP, *also), ids, receiver)
    values = {"status": DeliveryStatus.DISCARDED.value, "finished_at": at}
    return (await connection.execute(update(delivery).where(chosen).values(values))).rowcount


async def enable_receiver(connection: AsyncConnection, receiver: str) -> bool:
    """Send a disabled receiver alerts again, from the next one on; returns False when it was not disabled.

    What was cancelled meanwhile stays so until it is replayed.
    """
    enabled = await connection.execute(
        update(receiver_state)
        .where(receiver_state.c.receiver == receiver, receiver_state.c.disabled_at.is_not(None))
        .values(disabled_at=None, disabled_reason=None)
    )
    return enabled.rowcount == 1


async def _chosen(
    connection: AsyncConnection,
    statuses: Collection[DeliveryStatus],
    ids: Sequence[str] | None,
    receiver: str | None,
) -> ColumnElement[bool]:
    chosen: list[ColumnElement[bool]] = [delivery.c.status.in_([status.value for status in statuses])]
    if ids is not None:
        chosen.append(delivery.c.id.in_(ids))
    if receiver is not None:
        chosen.append(delivery.c.receiver == receiver)
    elif ids is None:
        chosen.append(delivery.c.receiver.in_(await _receivers(connection)))
    return and_(*chosen)


async def _receivers(connection: AsyncConnection) -> list[str]:
    return list((await connection.execute(select(delivery.c.receiver).distinct())).scalars())


async def _beyond(
    connection: AsyncConnection, query: Select[tuple[object, ...]], after: str | None
) -> Select[tuple[object, ...]]:
    last = None if after is None else await one(connection, after)
    if last is None:
        return query
    same = and_(delivery.c.created_at == last.created_at, delivery.c.id < last.id)
    return query.where(or_(delivery.c.created_at < last.created_at, same))


async def disable_receiver(connection: AsyncConnection, receiver: str, *, at: float, reason: str) -> int:
    """Send a receiver nothing more: cancels what is pending for it and returns how many alerts that were."""
    await connection.execute(
        upsert(connection, receiver_state)
        .values(receiver=receiver, disabled_at=at, disabled_reason=reason)
        .on_conflict_do_update(index_elements=["receiver"], set_={"disabled_at": at, "disabled_reason": reason})
    )
    cancelled = await connection.execute(
        update(delivery)
        .where(delivery.c.receiver == receiver, delivery.c.status == DeliveryStatus.PENDING.value)
        .values(status=DeliveryStatus.CANCELLED.value, finished_at=at, last_reason=reason)
    )
    return cancelled.rowcount
