"""The outbox as people see it, and what they do about it: audited, and carried out at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.alerts.outbox import Outbox
from monitor.clock import Clock
from monitor.daemon.views import utc
from monitor.store import audit, delivery_desk
from monitor.store.database import Database
from monitor.store.deliveries import GIVEN_UP, DeliveryRecord, DeliveryStatus
from monitor.web.deliveries_port import OutgoingView, ReceiverView, Shown

_STATUSES: Final = {
    Shown.DEAD_LETTERS: GIVEN_UP,
    Shown.PENDING: (DeliveryStatus.PENDING,),
    Shown.DELIVERED: (DeliveryStatus.DELIVERED,),
    Shown.ALL: tuple(DeliveryStatus),
}

log = structlog.get_logger()


class Deliveries:
    """Implements `monitor.web.deliveries_port.DeliveryService`."""

    def __init__(self, database: Database, outbox: Outbox, clock: Clock) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock

    async def receivers(self) -> Sequence[ReceiverView]:
        """Return where every receiver stands; see the port."""
        async with self._database.reading() as connection:
            found = await delivery_desk.standings(connection)
        configured = set(self._outbox.receiver_names)
        views = []
        for name in sorted(configured | set(found)):
            standing = found.get(name)
            views.append(
                ReceiverView(
                    name=name,
                    configured=name in configured,
                    pending=0 if standing is None else standing.pending,
                    delivered=0 if standing is None else standing.delivered,
                    dead_letters=0 if standing is None else standing.given_up,
                    oldest_at=None if standing is None else _moment(standing.oldest_at),
                    disabled_at=None if standing is None else _moment(standing.disabled_at),
                )
            )
        return views

    async def deliveries(
        self, shown: Shown, *, receiver: str | None, after: str | None, limit: int
    ) -> Sequence[OutgoingView]:
        """Return alerts, newest first; see the port."""
        async with self._database.reading() as connection:
            found = await delivery_desk.find(connection, _STATUSES[shown], receiver=receiver, after=after, limit=limit)
        return [_view(record) for record in found]

    async def delivery(self, delivery_id: str) -> OutgoingView | None:
        """Return one alert to one receiver; see the port."""
        async with self._database.reading() as connection:
            record = await delivery_desk.one(connection, delivery_id)
        return None if record is None else _view(record)

    async def replay(self, ids: Sequence[str] | None, receiver: str | None, *, by: str, why: str) -> int:
        """Send dead letters again; see the port."""
        at = self._now()

        async def work(connection: AsyncConnection) -> int:
            number = await delivery_desk.replay(connection, at=at, ids=ids, receiver=receiver)
            if number:
                await self._note(connection, "alerts_replayed", by, why, at=at, receiver=receiver, alerts=number)
            return number

        return await self._change("alerts_replayed", work, by=by, receiver=receiver)

    async def discard(self, ids: Sequence[str] | None, receiver: str | None, *, by: str, why: str) -> int:
        """Give up dead letters for good; see the port."""
        at = self._now()

        async def work(connection: AsyncConnection) -> int:
            number = await delivery_desk.discard(connection, at=at, ids=ids, receiver=receiver)
            if number:
                await self._note(connection, "alerts_discarded", by, why, at=at, receiver=receiver, alerts=number)
            return number

        return await self._change("alerts_discarded", work, by=by, receiver=receiver)

    async def enable(self, receiver: str, *, by: str, why: str) -> bool:
        """Send a receiver alerts again that answered 410; see the port."""
        at = self._now()

        async def work(connection: AsyncConnection) -> int:
            enabled = await delivery_desk.enable_receiver(connection, receiver)
            if enabled:
                await self._note(connection, "receiver_enabled", by, why, at=at, receiver=receiver)
            return int(enabled)

        return await self._change("receiver_enabled", work, by=by, receiver=receiver) > 0

    async def _change(
        self, event: str, work: Callable[[AsyncConnection], Awaitable[int]], *, by: str, receiver: str | None
    ) -> int:
        changed = await self._database.write(work)
        if changed:
            log.warning("deliveries_changed", change=event, by=by, receiver=receiver, changed=changed)
            self._outbox.wake()
        return changed

    async def _note(
        self, connection: AsyncConnection, action: str, by: str, why: str, *, at: float, **detail: Any
    ) -> None:
        await audit.append(connection, at=at, actor=by, action=action, incident_id=None, detail={**detail, "why": why})

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _moment(at: float | None) -> datetime | None:
    return None if at is None else utc(at)


def _view(record: DeliveryRecord) -> OutgoingView:
    pending = record.status == DeliveryStatus.PENDING
    return OutgoingView(
        delivery_id=record.id,
        event_id=record.event_id,
        event_type=record.event_type,
        incident_id=record.incident_id,
        sequence=record.sequence,
        receiver=record.receiver,
        priority=record.priority,
        status=DeliveryStatus(record.status),
        attempts=record.attempts,
        created_at=utc(record.created_at),
        next_at=utc(record.next_at) if pending else None,
        finished_at=_moment(record.finished_at),
        http_status=record.last_status,
        reason=record.last_reason or "",
        body=record.body,
    )
