"""Passes a review that nobody decides on to the next group of responders."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock, wait_until
from monitor.config.people import ResponderGroup
from monitor.errors import StoreError
from monitor.incidents.records import OpenIncident
from monitor.metrics import REVIEWS_OVERDUE, STORE_FAILURES
from monitor.store import audit, reviews
from monitor.store import incidents as incident_rows
from monitor.store.database import Database
from monitor.store.incidents import IncidentRecord
from monitor.store.reviews import NEVER, ReviewWait
from monitor.vocabulary import ReviewDecision

_STORE_RETRY_S = 1.0
_LONGEST_SLEEP_S = 30.0

log = structlog.get_logger()


class Engine(Protocol):
    """What the ladder asks of the engine."""

    def open_incidents(self) -> list[OpenIncident]:
        """Return every incident under way, from memory."""
        ...


class OverdueAlerts(Protocol):
    """Tells a group that a review waits for it."""

    async def tell_overdue(
        self, connection: AsyncConnection, incident: IncidentRecord, group: ResponderGroup, *, step: int, at: float
    ) -> None:
        """Write the alerts, in the caller's transaction; once for each step of an incident."""
        ...


class Ladder:
    """Climbs from group to group for as long as a review is awaited, over restarts and over new requests of one incident.

    The first group is told by the protocol's own alerts. A group has its `within`, the first one at most what the request
    gives; a responder who escalates passes the review on at once. The last group keeps it.
    """

    def __init__(
        self,
        database: Database,
        engine: Engine,
        alerts: OverdueAlerts,
        clock: Clock,
        groups: Sequence[ResponderGroup],
    ) -> None:
        """Climb `groups`; nothing happens with fewer than two of them."""
        self._database = database
        self._engine = engine
        self._alerts = alerts
        self._clock = clock
        self._groups = tuple(groups)
        self._waits: dict[str, ReviewWait] = {}
        self._escalated: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._loaded = False

    def use_groups(self, groups: Sequence[ResponderGroup]) -> None:
        """Climb other groups from now on; a review keeps the step that it is on."""
        self._groups = tuple(groups)
        self._name_groups()
        self._wake.set()

    def wake(self) -> None:
        """Look at the incidents again; call it after each change."""
        self._wake.set()

    async def run(self) -> None:
        """Climb until cancelled; a failing store is tried again every second."""
        self._name_groups()
        while True:
            self._wake.clear()
            try:
                await self.look()
                next_at = min((wait.next_at for wait in self._waits.values()), default=NEVER)
                delay_s = max(0.0, min(next_at - self._now(), _LONGEST_SLEEP_S))
            except StoreError:
                STORE_FAILURES.inc()
                log.exception("waiting_reviews_not_stored")
                delay_s = _STORE_RETRY_S
            await wait_until(self._clock, self._wake, delay_s)

    async def look(self) -> None:
        """Pass on what is due now; `run` does so by itself.

        Raises:
            StoreError: some may not have been passed on.
        """
        if not self._loaded:
            async with self._database.reading() as connection:
                self._waits = await reviews.waiting(connection)
            for incident in self._engine.open_incidents():
                self._escalated[incident.record.id] = _escalated_at(incident.record)
            self._loaded = True
        awaited = {one.record.id: one.record for one in self._engine.open_incidents() if _is_awaited(one.record)}
        for incident_id in [key for key in self._waits if key not in awaited]:
            async with self._database.transaction() as connection:
                await reviews.forget(connection, incident_id)
            del self._waits[incident_id]
            self._escalated.pop(incident_id, None)
        if len(self._groups) < 2:
            return
        for record in awaited.values():
            await self._climb(record)

    async def _climb(self, record: IncidentRecord) -> None:
        now = self._now()
        wait = self._waits.get(record.id)
        if wait is None:
            due_at = record.review_due_at or now
            wait = ReviewWait(record.id, 0, min(record.entered_at + self._groups[0].within, due_at))
            async with self._database.transaction() as connection:
                await reviews.save(connection, wait)
            self._waits[record.id] = wait
        asked_for = _escalated_at(record) > self._escalated.get(record.id, 0.0)
        if wait.next_at <= now or asked_for:
            await self._pass_on(record, wait, now, actor=(record.review_by or "") if asked_for else "daemon")
            self._escalated[record.id] = _escalated_at(record)

    async def _pass_on(self, record: IncidentRecord, wait: ReviewWait, now: float, *, actor: str) -> None:
        step = wait.step + 1
        if step >= len(self._groups):
            self._waits[record.id] = ReviewWait(record.id, wait.step, NEVER)
            return
        group = self._groups[step]
        following = ReviewWait(record.id, step, now + group.within if step + 1 < len(self._groups) else NEVER)
        async with self._database.transaction() as connection:
            stored = await incident_rows.load(connection, record.id)
            if stored is None or not _is_awaited(stored):
                return
            await self._alerts.tell_overdue(connection, stored, group, step=step, at=now)
            await reviews.save(connection, following)
            await audit.append(
                connection,
                at=now,
                actor=actor,
                action="review_overdue",
                incident_id=record.id,
                detail={"group": group.name, "receivers": list(group.receivers), "step": step},
            )
        self._waits[record.id] = following
        REVIEWS_OVERDUE.labels(group.name).inc()
        log.warning("review_overdue", incident_id=record.id, stream_id=record.stream_id, group=group.name)

    def _name_groups(self) -> None:
        for group in self._groups[1:]:
            REVIEWS_OVERDUE.labels(group.name)

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _is_awaited(record: IncidentRecord) -> bool:
    return record.closed_at is None and record.review_due_at is not None


def _escalated_at(record: IncidentRecord) -> float:
    escalated = record.review_decision == ReviewDecision.ESCALATE.value
    return (record.review_at or 0.0) if escalated else 0.0
