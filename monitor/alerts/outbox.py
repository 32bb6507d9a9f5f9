"""Delivers alerts from the store until each is taken or given up. Everything it must remember is in the store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import structlog

from monitor import faults
from monitor.alerts.port import Attempt, Carrier, Outcome, Receiver
from monitor.alerts.schedule import retry_delay_s, throttle_s
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
from monitor.store import deliveries
from monitor.store.database import Database
from monitor.store.deliveries import Backlog, DeliveryRecord

POLL_S = 15.0
"""How often a receiver's rows are looked at unasked: for the gauges, and for rows that another process replayed."""

_STORE_RETRY_S = 1.0

log = structlog.get_logger()


class Outbox:
    """An async context manager that delivers in the background while it is open, one task per receiver.

    No receiver waits for another. To one receiver, alerts go one at a time: new ones first and in order, then those to be
    tried again. Delivery is at least once: a daemon that dies between a receiver's answer and its record repeats
    the alert under the same id. Leaving the context breaks attempts off; their rows stay pending for the next start.
    """

    def __init__(
        self,
        database: Database,
        receivers: Sequence[Receiver],
        clock: Clock,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Prepare to deliver the rows in `database` to `receivers`.

        Args:
            database: Open for as long as the outbox is.
            receivers: Their names are the rows' receivers.
            clock: Says when rows are due; attempts time out in real time.
            jitter: Returns a random number in [0, 1) for each retry.
        """
        self._database = database
        self._clock = clock
        self._jitter = jitter
        self._lines = [_Line(database, receiver, clock, jitter) for receiver in receivers]
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def receiver_names(self) -> tuple[str, ...]:
        """Whom to enqueue alerts for."""
        return tuple(line.name for line in self._lines)

    async def __aenter__(self) -> Self:
        await self._warn_of_orphans()
        self._tasks = [asyncio.create_task(line.run(), name=f"outbox {line.name}") for line in self._lines]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look for due rows at once; call it after the transaction that wrote them has committed."""
        for line in self._lines:
            line.wake()

    async def use(self, receivers: Sequence[Receiver]) -> None:
        """Deliver to these receivers from now on, with their secrets and addresses as they are now.

        Attempts under way are broken off and made anew under the same id. What waits for a receiver that is gone stays
        in the store, for the day on which it is back.
        """
        running = bool(self._tasks)
        await self.__aexit__(None, None, None)
        self._lines = [_Line(self._database, receiver, self._clock, self._jitter) for receiver in receivers]
        if running:
            await self.__aenter__()

    async def enable(self, receiver: str) -> bool:
        """Send a receiver that answered 410 alerts again; False when it was not disabled.

        Raises:
            StoreError: nothing was changed.
        """
        async with self._database.transaction() as connection:
            enabled = await deliveries.enable_receiver(connection, receiver)
        self.wake()
        return enabled

    async def replay(self, *, delivery_id: str | None = None, receiver: str | None = None) -> int:
        """Send dead letters again, all or the given ones; returns how many.

        Raises:
            StoreError: nothing was changed.
        """
        async with self._database.transaction() as connection:
            at = self._clock.now().timestamp()
            replayed = await deliveries.replay(connection, at=at, delivery_id=delivery_id, receiver=receiver)
        self.wake()
        return replayed

    async def _warn_of_orphans(self) -> None:
        async with self._database.reading() as connection:
            backlogs = await deliveries.backlogs(connection)
        for receiver, backlog in backlogs.items():
            if receiver not in self.receiver_names and backlog.pending:
                log.warning("alerts_wait_for_unknown_receiver", receiver=receiver, pending=backlog.pending)


class _Line:
    """Delivers to one receiver."""

    def __init__(self, database: Database, receiver: Receiver, clock: Clock, jitter: Callable[[], float]) -> None:
        self.name = receiver.name
        self._database = database
        self._receiver = receiver
        self._clock = clock
        self._jitter = jitter
        self._wake = asyncio.Event()
        self._not_before = 0.0
        self._throttled_in_a_row = 0
        self._failed_before = True
        for outcome in DELIVERY_OUTCOMES:
            DELIVERIES.labels(self.name, outcome)

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled; a failing store is tried again every second."""
        async with self._receiver.carrier(self._clock) as carrier:
            while True:
                self._wake.clear()
                try:
                    delivery = await self._next()
                    if delivery is not None:
                        await self._deliver(carrier, delivery)
                        continue
                    delay_s = await self._idle_s()
                except Exception as error:  # noqa: BLE001  # a supervisor: a defect must not end all deliveries
                    if isinstance(error, StoreError):
                        STORE_FAILURES.inc()
                    # No traceback: the database's messages quote what was to be written.
                    log.error("outbox_broke", receiver=self.name, error=type(error).__name__)  # noqa: TRY400  # see above
                    delay_s = _STORE_RETRY_S
                await wait_until(self._clock, self._wake, delay_s)

    async def _next(self) -> DeliveryRecord | None:
        now = self._now()
        if now < self._not_before:
            return None
        async with self._database.reading() as connection:
            return await deliveries.next_due(connection, self.name, at=now)

    async def _idle_s(self) -> float:
        async with self._database.reading() as connection:
            due_at = await deliveries.next_due_at(connection, self.name)
            backlog = (await deliveries.backlogs(connection)).get(self.name, Backlog())
            disabled = self.name in await deliveries.disabled_receivers(connection)
        now = self._now()
        DELIVERIES_PENDING.labels(self.name).set(backlog.pending)
        DEAD_LETTERS.labels(self.name).set(backlog.given_up)
        DELIVERY_OLDEST.labels(self.name).set(0 if backlog.oldest_at is None else max(0.0, now - backlog.oldest_at))
        RECEIVER_DISABLED.labels(self.name).set(disabled)
        if due_at is None:
            return POLL_S
        return min(POLL_S, max(0.0, max(due_at, self._not_before) - now))

    async def _deliver(self, carrier: Carrier, delivery: DeliveryRecord) -> None:
        faults.reach("alert_before_send")
        attempt = await carrier.attempt(delivery)
        faults.reach("alert_sent")
        # Once the receiver has answered, the answer is written even while the daemon stops: an alert that was taken would
        # otherwise be sent again at the next start.
        recording = asyncio.ensure_future(self._record(delivery, attempt))
        try:
            await asyncio.shield(recording)
        except asyncio.CancelledError:
            await asyncio.gather(recording, return_exceptions=True)
            raise

    async def _record(self, delivery: DeliveryRecord, attempt: Attempt) -> None:
        now = self._now()
        attempts = delivery.attempts + 1
        self._pace(attempt, now)
        cancelled = 0
        next_at: float | None = None
        async with self._database.transaction() as connection:
            if attempt.outcome is Outcome.DELIVERED:
                await deliveries.record_delivered(connection, delivery.id, at=now, http_status=attempt.http_status or 0)
                if self._failed_before:
                    await deliveries.hasten(connection, self.name, at=now)
            else:
                delay_s = retry_delay_s(attempts, jitter=self._jitter())
                next_at = None if delay_s is None else now + max(delay_s, attempt.retry_after_s or 0.0)
                reason = (attempt.reason or attempt.outcome).value
                await deliveries.record_failed(
                    connection, delivery.id, at=now, next_at=next_at, reason=reason, http_status=attempt.http_status
                )
                if attempt.outcome is Outcome.GONE:
                    cancelled = await deliveries.disable_receiver(connection, self.name, at=now, reason=reason)
        faults.reach("alert_recorded")
        self._failed_before = attempt.outcome is not Outcome.DELIVERED
        self._tell(delivery, attempt, attempts=attempts, next_at=next_at, cancelled=cancelled)

    def _pace(self, attempt: Attempt, now: float) -> None:
        if attempt.outcome is not Outcome.THROTTLED:
            self._throttled_in_a_row = 0
            return
        self._throttled_in_a_row += 1
        wait_s = attempt.retry_after_s
        self._not_before = now + (throttle_s(self._throttled_in_a_row) if wait_s is None else wait_s)

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
