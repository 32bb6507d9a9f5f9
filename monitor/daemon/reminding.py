"""Tells a receiver again, and again, for as long as nobody says that they are on an incident."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.alerts.routing import Routing
from monitor.clock import Clock, wait_until
from monitor.daemon.acknowledging import Acknowledging
from monitor.daemon.ladder import Engine
from monitor.errors import StoreError
from monitor.metrics import REMINDERS, STORE_FAILURES
from monitor.store import acknowledgements
from monitor.store.database import Database
from monitor.store.incidents import IncidentRecord

_LONGEST_SLEEP_S: Final = 30.0
_STORE_RETRY_S: Final = 1.0

log = structlog.get_logger()


class Reminder(Protocol):
    """Tells one receiver how an incident stands."""

    async def tell_again(
        self, connection: AsyncConnection, incident: IncidentRecord, receiver: str, *, since: float, at: float
    ) -> bool:
        """Write the alert, in the caller's transaction, once for each `since`; False where a silence keeps it back."""
        ...


class Reminding:
    """Repeats alerts to receivers whose entry says `repeat`: measured from the last one that they were sent."""

    def __init__(
        self,
        database: Database,
        engine: Engine,
        alerts: Reminder,
        clock: Clock,
        *,
        acknowledging: Acknowledging,
        routing: Routing,
    ) -> None:
        """Remind as `routing` says; nothing happens where no receiver is told again."""
        self._database = database
        self._engine = engine
        self._alerts = alerts
        self._acknowledging = acknowledging
        self._clock = clock
        self._wake = asyncio.Event()
        self.on_told: Callable[[], None] = lambda: None
        """Called when a reminder is written."""
        self.use(routing)

    def use(self, routing: Routing) -> None:
        """Remind otherwise from now on."""
        self._repeats = {name: route.repeat_s for name, route in routing.routes.items() if route.repeat_s is not None}
        for name in self._repeats:
            REMINDERS.labels(name)
        self._wake.set()

    def wake(self) -> None:
        """Look at the incidents again; call it after each change."""
        if self._repeats:
            self._wake.set()

    async def run(self) -> None:
        """Remind until cancelled; a failing store is tried again every second."""
        while True:
            self._wake.clear()
            try:
                next_at = await self.look()
                delay_s = max(0.0, min(next_at - self._now(), _LONGEST_SLEEP_S))
            except StoreError:
                STORE_FAILURES.inc()
                log.exception("reminders_not_stored")
                delay_s = _STORE_RETRY_S
            await wait_until(self._clock, self._wake, delay_s)

    async def look(self) -> float:
        """Remind of what is due now; return when something is due next, or infinity.

        Raises:
            StoreError: somebody may not have been reminded.
        """
        incidents = {one.record.id: one.record for one in self._engine.open_incidents()}
        self._acknowledging.forget_closed(set(incidents))
        waiting = {key: one for key, one in incidents.items() if self._acknowledging.wants_answer(one)}
        if not self._repeats or not waiting:
            return float("inf")
        async with self._database.reading() as connection:
            told = await acknowledgements.last_told(connection, waiting, self._repeats)
        now = self._now()
        next_at = float("inf")
        for (incident_id, receiver), last in told.items():
            due_at = last.at + self._repeats[receiver]
            if due_at <= now and not last.on_its_way:
                await self._remind(waiting[incident_id], receiver, last.at, now)
                due_at = now + self._repeats[receiver]
            next_at = min(next_at, max(due_at, now + _STORE_RETRY_S))
        return next_at

    async def _remind(self, incident: IncidentRecord, receiver: str, since: float, now: float) -> None:
        async with self._database.transaction() as connection:
            sent = await self._alerts.tell_again(connection, incident, receiver, since=since, at=now)
        if sent:
            self.on_told()
            REMINDERS.labels(receiver).inc()
            log.warning("receiver_reminded", receiver=receiver, incident_id=incident.id, stream_id=incident.stream_id)

    def _now(self) -> float:
        return self._clock.now().timestamp()
