"""Everything that is to be delivered to one receiver: its queue, its concurrency, its breaker. No line waits for another."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor import faults
from monitor.alerts.breaker import Breaker
from monitor.alerts.port import Attempt, Carrier, Outcome, Receiver
from monitor.alerts.reader import Found, Reader, Wish
from monitor.alerts.recorder import Recorder
from monitor.alerts.schedule import REMAINING_S, retry_delay_s
from monitor.clock import Clock, wait_until
from monitor.errors import StoreError
from monitor.metrics import (
    DEAD_LETTERS,
    DELIVERIES,
    DELIVERIES_PENDING,
    DELIVERY_OLDEST,
    DELIVERY_OUTCOMES,
    RECEIVER_DISABLED,
    STORE_FAILURES,
)
from monitor.store import deliveries, delivery_desk
from monitor.store.database import Database
from monitor.store.deliveries import DeliveryRecord, Taken

MEASURE_S: Final = 1.0
"""How often the gauges follow what changes, at most."""

POLL_S: Final = 15.0
"""How often a receiver's rows are looked at unasked: for the gauges, and for rows that another process replayed."""

AT_HAND: Final = 128
"""So many alerts of one receiver are held in memory at most; all others wait in the store."""

_STALE_S: Final = 0.1
_RETRY_S: Final = 1.0

log = structlog.get_logger()

OnDisabled = Callable[[AsyncConnection, str, int, float], Awaitable[None]]
"""Tells people, in the transaction that disables a receiver: its name, how many alerts were cancelled, and the time."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all lines of an outbox share.

    Attributes:
        jitter: Returns a random number in [0, 1) for each retry.
        wake_all: Makes every line look for due rows.
        on_disabled: Called in the transaction that disables a receiver.
    """

    database: Database
    reader: Reader
    recorder: Recorder
    clock: Clock
    jitter: Callable[[], float]
    wake_all: Callable[[], None]
    on_disabled: OnDisabled


class Line:
    """Delivers to one receiver.

    Of one incident, alerts go one at a time; of different ones, as many at once as the receiver's `concurrency` says.
    """

    def __init__(self, receiver: Receiver, around: Surroundings) -> None:
        self.name = receiver.name
        self._receiver = receiver
        self._around = around
        self._database, self._clock = around.database, around.clock
        self._breaker = Breaker(receiver.concurrency)
        self._wake = asyncio.Event()
        self._at_hand: deque[DeliveryRecord] = deque()
        self._stale = True
        self._read_at_s = 0.0
        self._more = False
        self._next_at: float | None = None
        self._next_known = False
        self._changed = False
        self._newest: dict[str, int] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._taken: set[str] = set()
        self._incidents_under_way: set[str] = set()
        self._failed_before = True
        self._measured_at_s = float("-inf")
        for outcome in DELIVERY_OUTCOMES:
            DELIVERIES.labels(self.name, outcome)

    def wake(self) -> None:
        """Look for due rows at once; what was read before may be out of date."""
        self._stale = True
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled; a failing store is tried again every second."""
        while True:
            try:
                async with self._receiver.carrier(self._clock) as carrier:
                    try:
                        await self._deliver_through(carrier)
                    finally:
                        await self._break_off()
            except Exception as error:  # noqa: BLE001  # a way that cannot be opened must not end all others
                self._broke(error)
            await self._clock.sleep(_RETRY_S)

    async def _deliver_through(self, carrier: Carrier) -> None:
        while True:
            self._wake.clear()
            try:
                delay_s = await self._turn(carrier)
            except Exception as error:  # noqa: BLE001  # a supervisor: a defect must not end all deliveries
                self._broke(error)
                delay_s = _RETRY_S
            if not await wait_until(self._clock, self._wake, delay_s):
                self._stale, self._next_known = True, False

    async def _turn(self, carrier: Carrier) -> float | None:
        """Begin what may begin now; return after how long to look again, None for when something ends."""
        while (room := self._room()) > 0:
            await self._read()
            if not self._begin(carrier, room):
                break
            # More may be due than was read at once.
            self._stale = self._stale or (self._more and not self._at_hand)
        if self._under_way and (room <= 0 or self._at_hand or self._taken):
            return None
        if self._changed and not self._under_way:
            unmeasured_s = self._clock.monotonic_s() - self._measured_at_s
            if unmeasured_s < MEASURE_S:
                return min(MEASURE_S - unmeasured_s, self._look_again_s())
            await self._look(limit=1)
            self._stale = True
        return self._look_again_s()

    def _look_again_s(self) -> float:
        rest_s = self._breaker.rest_s(now_s=self._clock.monotonic_s())
        if rest_s:
            return rest_s
        return POLL_S if self._next_at is None else min(POLL_S, max(0.0, self._next_at - self._now()))

    def _room(self) -> int:
        # The receiver need not wait for our disk: as many answers again may be on their way into the store.
        sending = len(self._under_way) - len(self._taken)
        room = self._breaker.room(sending, now_s=self._clock.monotonic_s())
        return min(room, 2 * self._breaker.concurrency - len(self._under_way))

    async def _read(self) -> None:
        """Have the most urgent rows at hand; they are read anew when some were added or changed."""
        now_s = self._clock.monotonic_s()
        if not self._stale or (self._at_hand and now_s - self._read_at_s < _STALE_S):
            return
        self._stale, self._read_at_s = False, now_s
        # What ends while the store is read is still pending in what was read.
        busy = set(self._under_way)
        found = await self._look(limit=AT_HAND + len(busy))
        self._more = len(found.due) == AT_HAND + len(busy)
        self._at_hand = deque(row for row in found.due if row.id not in busy)
        self._newest = dict(found.newest)
        if self._breaker.holds_back:
            await self._expire(self._now())

    async def _look(self, *, limit: int) -> Found:
        now, now_s = self._now(), self._clock.monotonic_s()
        # Nobody but this line puts attempts off, so that the time of the next one is known until it has come.
        asks_later = not self._next_known or (self._next_at is not None and self._next_at <= now)
        found = await self._around.reader.look(
            Wish(
                self.name,
                at=now,
                limit=limit,
                later=asks_later,
                newest=self._receiver.newest_only,
                standing=now_s - self._measured_at_s >= MEASURE_S,
            )
        )
        if asks_later:
            self._next_at, self._next_known = found.next_at, True
        if found.backlog is not None:
            self._changed, self._measured_at_s = False, now_s
            oldest_at = found.backlog.oldest_at
            DELIVERIES_PENDING.labels(self.name).set(found.backlog.pending)
            DEAD_LETTERS.labels(self.name).set(found.backlog.given_up)
            DELIVERY_OLDEST.labels(self.name).set(0 if oldest_at is None else max(0.0, now - oldest_at))
            RECEIVER_DISABLED.labels(self.name).set(found.disabled)
        return found

    async def _expire(self, at: float) -> None:
        async with self._database.transaction() as connection:
            expired = await deliveries.expire(connection, self.name, REMAINING_S, at=at)
        if expired:
            DELIVERIES.labels(self.name, "dead").inc(expired)
            log.error("alerts_given_up", receiver=self.name, alerts=expired, reason=deliveries.NEVER_TRIED)
            self._stale = True

    def _begin(self, carrier: Carrier, room: int) -> int:
        """Begin up to `room` attempts with what is at hand; return how many."""
        begun = 0
        passed_over: list[DeliveryRecord] = []
        while self._at_hand and begun < room:
            delivery = self._at_hand.popleft()
            if delivery.incident_id in self._incidents_under_way:
                passed_over.append(delivery)
                continue
            if delivery.incident_id is not None:
                self._incidents_under_way.add(delivery.incident_id)
            work = self._supersede(delivery) if self._is_superseded(delivery) else self._deliver(carrier, delivery)
            task = asyncio.create_task(self._to_its_end(delivery, work), name=f"deliver to {self.name}")
            self._under_way[delivery.id] = task
            begun += 1
        self._at_hand.extendleft(reversed(passed_over))
        return begun

    def _is_superseded(self, delivery: DeliveryRecord) -> bool:
        if not self._receiver.newest_only or delivery.incident_id is None:
            return False
        return delivery.sequence < self._newest.get(delivery.incident_id, delivery.sequence)

    async def _supersede(self, delivery: DeliveryRecord) -> None:
        at = self._now()
        await self._around.recorder.write(lambda connection: deliveries.supersede(connection, [delivery.id], at=at))
        log.info("alert_superseded", receiver=self.name, event_id=delivery.event_id)

    async def _deliver(self, carrier: Carrier, delivery: DeliveryRecord) -> None:
        faults.reach("alert_before_send")
        attempt = await carrier.attempt(delivery)
        faults.reach("alert_sent")
        self._breaker.note(attempt, now_s=self._clock.monotonic_s())
        if attempt.outcome is Outcome.DELIVERED:
            self._taken.add(delivery.id)
            self._wake.set()
        # Once the receiver has answered, the answer is written even while the daemon stops: an alert that was taken would
        # otherwise be sent again at the next start.
        recording = asyncio.ensure_future(self._record(delivery, attempt))
        try:
            await asyncio.shield(recording)
        except asyncio.CancelledError:
            await asyncio.gather(recording, return_exceptions=True)
            raise

    async def _to_its_end(self, delivery: DeliveryRecord, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  # a supervisor: a defect must not end all deliveries
            self._broke(error)
            await self._clock.sleep(_RETRY_S)
            self._stale = True
        finally:
            self._ended(delivery)

    def _ended(self, delivery: DeliveryRecord) -> None:
        del self._under_way[delivery.id]
        self._taken.discard(delivery.id)
        self._changed = True
        if delivery.incident_id is not None:
            self._incidents_under_way.discard(delivery.incident_id)
        self._wake.set()

    async def _record(self, delivery: DeliveryRecord, attempt: Attempt) -> None:
        now = self._now()
        attempts = delivery.attempts + 1
        cancelled = 0
        next_at: float | None = None
        match attempt.outcome:
            case Outcome.DELIVERED:
                await self._around.recorder.delivered(Taken(delivery.id, now, attempt.http_status))
                await self._recovered(delivery, now)
            case Outcome.GONE:
                cancelled = await self._disable(delivery, attempt, now)
            case _:
                delay_s = retry_delay_s(attempts, jitter=self._around.jitter())
                next_at = None if delay_s is None else now + max(delay_s, attempt.retry_after_s or 0.0)
                await self._around.recorder.write(
                    lambda connection: self._record_failed(connection, delivery, attempt, now, next_at)
                )
                self._failed_before = True
                if next_at is not None:
                    self._next_at = min(self._next_at or next_at, next_at)
        faults.reach("alert_recorded")
        self._tell(delivery, attempt, attempts=attempts, next_at=next_at, cancelled=cancelled)

    async def _recovered(self, delivery: DeliveryRecord, now: float) -> None:
        if self._receiver.newest_only and delivery.incident_id is not None:
            known = self._newest.get(delivery.incident_id, 0)
            self._newest[delivery.incident_id] = max(known, delivery.sequence)
        if self._failed_before:
            self._failed_before = False
            await self._around.recorder.write(lambda connection: deliveries.hasten(connection, self.name, at=now))
            self.wake()

    async def _record_failed(
        self,
        connection: AsyncConnection,
        delivery: DeliveryRecord,
        attempt: Attempt,
        now: float,
        next_at: float | None,
    ) -> None:
        reason = (attempt.reason or attempt.outcome).value
        await deliveries.record_failed(
            connection, delivery.id, at=now, next_at=next_at, reason=reason, http_status=attempt.http_status
        )

    async def _disable(self, delivery: DeliveryRecord, attempt: Attempt, now: float) -> int:
        """Send nothing more, and have people told; return how many alerts were cancelled."""
        reason = (attempt.reason or attempt.outcome).value

        async def work(connection: AsyncConnection) -> int:
            await self._record_failed(connection, delivery, attempt, now, now)
            known = self.name in await deliveries.disabled_receivers(connection)
            cancelled = await delivery_desk.disable_receiver(connection, self.name, at=now, reason=reason)
            if not known:
                await self._around.on_disabled(connection, self.name, cancelled, now)
            return cancelled

        cancelled = await self._around.recorder.write(work)
        self._at_hand.clear()
        self._around.wake_all()
        return cancelled

    async def _break_off(self) -> None:
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _broke(self, error: Exception) -> None:
        if isinstance(error, StoreError):
            STORE_FAILURES.inc()
        # No traceback: the database's messages quote what was to be written.
        log.error("outbox_broke", receiver=self.name, error=type(error).__name__)

    def _tell(
        self, delivery: DeliveryRecord, attempt: Attempt, *, attempts: int, next_at: float | None, cancelled: int
    ) -> None:
        DELIVERIES.labels(self.name, attempt.outcome.value).inc()
        told = log.bind(
            receiver=self.name,
            event_id=delivery.event_id,
            event_type=delivery.event_type,
            attempts=attempts,
            http_status=attempt.http_status,
        )
        if attempt.outcome is Outcome.DELIVERED:
            told.info("alert_delivered")
        elif attempt.outcome is Outcome.GONE:
            RECEIVER_DISABLED.labels(self.name).set(1)
            told.error("receiver_disabled", reason=attempt.reason, cancelled=cancelled)
        elif next_at is None:
            DELIVERIES.labels(self.name, "dead").inc()
            told.error("alert_given_up", reason=attempt.reason)
        else:
            told.warning("alert_not_delivered", reason=attempt.reason, retry_in_s=round(next_at - self._now(), 1))

    def _now(self) -> float:
        return self._clock.now().timestamp()
