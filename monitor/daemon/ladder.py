"""Passes an incident on to the next group of responders when nobody decides, or nobody says that they are on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.alerts.routing import Routing
from monitor.clock import Clock, wait_until
from monitor.config.people import ResponderGroup
from monitor.daemon.views import utc
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


class Answers(Protocol):
    """Knows for which incidents people are waited for."""

    def wants_answer(self, incident: IncidentRecord) -> bool:
        """Whether nobody has said yet that they are on it, and somebody should."""
        ...


class Ladder:
    """Climbs from group to group for as long as a review is awaited, or nobody says that they are on it.

    The first group is told by the protocol's own alerts. A group has its `within` to decide, the first one at most what the
    request gives, and its `acknowledge_within` to say that somebody is on it; a responder who escalates passes the review on
    at once. Groups that are not on call are passed over. The last group keeps it. All of it holds over restarts, and over new
    requests of one incident.
    """

    def __init__(
        self,
        database: Database,
        engine: Engine,
        alerts: OverdueAlerts,
        clock: Clock,
        *,
        routing: Routing,
        answers: Answers,
    ) -> None:
        """Climb the groups of `routing`; nothing happens with fewer than two of them."""
        self._database = database
        self._engine = engine
        self._alerts = alerts
        self._clock = clock
        self._answers = answers
        self._routing = routing
        self._waits: dict[str, ReviewWait] = {}
        self._due: dict[str, float] = {}
        self._escalated: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._loaded = False
        self.on_told: Callable[[], None] = lambda: None
        """Called when a group's alerts are written."""

    def use(self, routing: Routing) -> None:
        """Climb other groups from now on; a review keeps the step that it is on."""
        self._routing = routing
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
                next_at = min(self._due.values(), default=NEVER)
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
        waiting = {one.record.id: one.record for one in self._engine.open_incidents() if self._is_awaited(one.record)}
        for incident_id in [key for key in self._waits if key not in waiting]:
            async with self._database.transaction() as connection:
                await reviews.forget(connection, incident_id)
            del self._waits[incident_id]
            self._due.pop(incident_id, None)
            self._escalated.pop(incident_id, None)
        if len(self._groups) < 2:
            self._due.clear()
            return
        for record in waiting.values():
            await self._climb(record)

    async def _climb(self, record: IncidentRecord) -> None:
        now = self._now()
        wait = self._waits.get(record.id)
        if wait is None or (wait.next_at == NEVER and _asks(record) and wait.step + 1 < len(self._groups)):
            wait = self._begun(record, wait, now)
            async with self._database.transaction() as connection:
                await reviews.save(connection, wait)
            self._waits[record.id] = wait
        asked_for = _escalated_at(record) > self._escalated.get(record.id, 0.0)
        if self._due_at(record, wait) <= now or asked_for:
            await self._pass_on(record, wait, now, actor=(record.review_by or "") if asked_for else "daemon")
            self._escalated[record.id] = _escalated_at(record)
        self._due[record.id] = self._due_at(record, self._waits[record.id])

    def _begun(self, record: IncidentRecord, wait: ReviewWait | None, now: float) -> ReviewWait:
        """Return the wait of an incident of which people hear now, or of which they are asked to decide only now."""
        if wait is not None:
            return ReviewWait(record.id, wait.step, now + self._groups[wait.step].within, wait.told_at)
        if not _asks(record):
            return ReviewWait(record.id, 0, NEVER, now)
        due_at = record.review_due_at or now
        return ReviewWait(record.id, 0, min(record.entered_at + self._groups[0].within, due_at), record.entered_at)

    def _due_at(self, record: IncidentRecord, wait: ReviewWait) -> float:
        if wait.step + 1 >= len(self._groups):
            return NEVER
        due_at = wait.next_at if _asks(record) else NEVER
        acknowledge_within_s = self._groups[wait.step].acknowledge_within
        if acknowledge_within_s is not None and self._answers.wants_answer(record):
            due_at = min(due_at, (wait.told_at or record.entered_at) + acknowledge_within_s)
        return due_at

    async def _pass_on(self, record: IncidentRecord, wait: ReviewWait, now: float, *, actor: str) -> None:
        step = self._next_step(wait.step, now)
        if step is None:
            self._waits[record.id] = ReviewWait(record.id, wait.step, NEVER, wait.told_at)
            return
        group = self._groups[step]
        is_last = step + 1 >= len(self._groups)
        next_at = now + group.within if _asks(record) and not is_last else NEVER
        following = ReviewWait(record.id, step, next_at, now)
        async with self._database.transaction() as connection:
            stored = await incident_rows.load(connection, record.id)
            if stored is None or not self._is_awaited(stored):
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
        self.on_told()
        REVIEWS_OVERDUE.labels(group.name).inc()
        log.warning("review_overdue", incident_id=record.id, stream_id=record.stream_id, group=group.name)

    def _next_step(self, step: int, now: float) -> int | None:
        """Return the next group that is on call; where none is, the next one all the same: somebody must hear of it."""
        following = range(step + 1, len(self._groups))
        at = utc(now)
        awake = (one for one in following if self._routing.on_call(self._groups[one], at))
        return next(awake, following.start if following else None)

    def _is_awaited(self, record: IncidentRecord) -> bool:
        if record.closed_at is not None:
            return False
        wants_answer = any(group.acknowledge_within is not None for group in self._groups)
        return _asks(record) or (wants_answer and self._answers.wants_answer(record))

    @property
    def _groups(self) -> Sequence[ResponderGroup]:
        return self._routing.groups

    def _name_groups(self) -> None:
        for group in self._groups[1:]:
            REVIEWS_OVERDUE.labels(group.name)

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _asks(record: IncidentRecord) -> bool:
    """Whether a decision is awaited."""
    return record.review_due_at is not None


def _escalated_at(record: IncidentRecord) -> float:
    escalated = record.review_decision == ReviewDecision.ESCALATE.value
    return (record.review_at or 0.0) if escalated else 0.0
