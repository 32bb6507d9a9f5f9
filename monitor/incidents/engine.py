"""Runs protocols durably: every event steps an incident, and what follows is committed before anything acts on it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock, wait_until
from monitor.effects.decided import DecidedEffects
from monitor.effects.port import EffectResult
from monitor.errors import StoreError
from monitor.incidents.records import (
    OpenIncident,
    StreamContext,
    apply_decision,
    begin_record,
    definition_of,
    event_detail,
    state_of,
)
from monitor.incidents.writing import Written, write_decision, write_definition
from monitor.metrics import DEADLINE_LAG, INCIDENTS_OPEN, REVIEWS_PENDING, STORE_FAILURES, TRANSITIONS
from monitor.protocol.decision import Decision
from monitor.protocol.definition import Definition
from monitor.protocol.events import (
    DeadlinePassed,
    DetectionRaised,
    EffectFinished,
    Event,
    KnownContentMatched,
    PartnerAlerted,
    Reviewed,
    StreamEnded,
    StreamReturned,
    StrikesChanged,
    UserReported,
    ViewersChanged,
    WatchChanged,
)
from monitor.protocol.step import begin, step
from monitor.store import audit, blocks
from monitor.store import effects as effect_rows
from monitor.store import incidents as incident_rows
from monitor.store.blocks import BlockRecord
from monitor.store.database import Database
from monitor.store.effects import EffectRecord
from monitor.vocabulary import StreamRef

_STORE_RETRY_S = 1.0
_LONGEST_SLEEP_S = 30.0

log = structlog.get_logger()

Also = Callable[[AsyncConnection], Awaitable[bool]]


class EngineListener(Protocol):
    """Told after each commit; must not block and must not raise."""

    def committed(self, incident: OpenIncident, decision: Decision) -> None:
        """An incident changed; new effects and alerts may wait in the store."""
        ...

    def blocks_loaded(self, active: Sequence[BlockRecord]) -> None:
        """These, and no others, are the blocks in force."""
        ...

    def block_changed(self, ref: StreamRef, until: float | None) -> None:
        """This publisher is barred until this Unix time, or, with None, not at all."""
        ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    context: StreamContext
    event: Event


class IncidentEngine:
    """All incidents under way. Events are handled one at a time; those of one stream in the order in which they are given.

    Whoever is cancelled while a transaction is being written waits for its end: store and memory never part.
    """

    def __init__(self, database: Database, clock: Clock, decided: DecidedEffects, listener: EngineListener) -> None:
        """Keep incidents in `database`; `decided` writes the rows of effects, `listener` hears of every commit."""
        self._database = database
        self._clock = clock
        self._decided = decided
        self._listener = listener
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._by_id: dict[str, OpenIncident] = {}
        self._by_stream: dict[str, str] = {}
        self._waiting: dict[str, deque[_Waiting]] = {}

    async def load(self) -> None:
        """Take up every incident that was open when the daemon last stopped, with its deadlines.

        Raises:
            StoreError: the store cannot be read.
        """
        definitions: dict[str, Definition] = {}
        async with self._database.reading() as connection:
            for record, deadlines in await incident_rows.load_open(connection):
                digest = record.definition_digest
                if digest not in definitions:
                    definitions[digest] = definition_of(await incident_rows.load_definition(connection, digest))
                asked = await effect_rows.last_requests(connection, record.id)
                self._remember(OpenIncident(record, state_of(record, deadlines, asked), definitions[digest]))
            active = await blocks.active(connection, at=self._now())
        self._listener.blocks_loaded(active)
        if self._by_id:
            log.info("incidents_taken_up", incidents=len(self._by_id))

    def open_incident(self, stream_id: str) -> OpenIncident | None:
        """Return the incident under way on a stream, from memory."""
        incident_id = self._by_stream.get(stream_id)
        return None if incident_id is None else self._by_id[incident_id]

    def open_incidents(self) -> list[OpenIncident]:
        """Return every incident under way, from memory."""
        return list(self._by_id.values())

    async def handle(self, context: StreamContext, event: Event) -> Decision | None:
        """Step the stream's incident, beginning one where the protocol says so.

        A store that fails does not lose the event: it is kept and tried again every second, and later events of the
        same stream wait behind it. `StreamReturned` for the publication that the incident knows as live is ignored.

        Returns:
            The decision, or None when there is no incident and the event begins none, or the event waits.
        """
        stream_id = context.ref.stream_id
        async with self._lock:
            waiting = self._waiting.get(stream_id)
            if waiting is not None:
                waiting.append(_Waiting(context, event))
                return None
            try:
                return await self._handle(context, event)
            except StoreError:
                STORE_FAILURES.inc()
                log.exception("event_not_stored", stream_id=stream_id, event_type=type(event).__name__)
                self._waiting[stream_id] = deque([_Waiting(context, event)])
                self._wake.set()
                return None

    async def review(self, incident_id: str, event: Reviewed) -> Decision | None:
        """Step one incident with a responder's decision; None when it is not open.

        Raises:
            StoreError: nothing was decided.
        """
        async with self._lock:
            incident = self._by_id.get(incident_id)
            if incident is None:
                return None
            return await self._commit(incident, event, actor=event.by, always=True)

    async def finish_effect(self, effect: EffectRecord, result: EffectResult) -> None:
        """Make an effect's outcome durable together with what its protocol does about it.

        Raises:
            StoreError: nothing was written; call again.
        """
        now = self._now()

        async def write_outcome(connection: AsyncConnection) -> bool:
            return await effect_rows.finish(
                connection, effect.id, outcome=result.outcome, at=now, detail=dict(result.detail)
            )

        async with self._lock:
            incident = self._by_id.get(effect.incident_id)
            event = EffectFinished(key=effect.key, kind=effect.kind, outcome=result.outcome)
            if incident is not None:
                await self._commit(
                    incident, event, actor="daemon", also=write_outcome, detail=result.detail, always=True
                )
                return
            async with self._database.transaction() as connection:
                # The incident is closed: there is nobody left to tell, but the log says how it ended.
                if await write_outcome(connection):
                    await audit.append(
                        connection,
                        at=now,
                        actor="daemon",
                        action="effect_finished",
                        incident_id=effect.incident_id,
                        detail=event_detail(event) | {"result": dict(result.detail)},
                    )

    async def change_block(self, ref: StreamRef, change: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        """Run `change`, which blocks or unblocks one publisher by hand, in a transaction of its own.

        Raises:
            StoreError: nothing was changed.
        """

        async def write() -> None:
            async with self._database.transaction() as connection:
                await change(connection)
                until = await blocks.end_of(connection, ref, at=self._now())
            self._listener.block_changed(ref, until)

        async with self._lock:
            await _to_its_end(write())

    async def run(self) -> None:
        """Fire deadlines, and retry what the store refused, until cancelled."""
        while True:
            self._wake.clear()
            stored = all((await self._retry_waiting(), await self._fire_due()))
            due = [at for incident in self._by_id.values() for at in incident.state.deadlines.values()]
            # Deadlines are in wall time, which can be set forward while the sleep goes on: look again now and then.
            delay_s = max(0.0, min(min(due) - self._now(), _LONGEST_SLEEP_S)) if due else None
            if stored:
                await wait_until(self._clock, self._wake, delay_s)
            else:
                await self._clock.sleep(_STORE_RETRY_S)

    async def _retry_waiting(self) -> bool:
        """Handle the events that wait; returns whether none is left."""
        for stream_id in list(self._waiting):
            async with self._lock:
                waiting = self._waiting[stream_id]
                try:
                    while waiting:
                        await self._handle(waiting[0].context, waiting[0].event)
                        waiting.popleft()
                except StoreError:
                    # Said once already, when it came; the counter and the health endpoint go on saying it.
                    STORE_FAILURES.inc()
                else:
                    del self._waiting[stream_id]
        return not self._waiting

    async def _fire_due(self) -> bool:
        """Fire what is due; returns whether the store took it. One incident's failure does not stop the others."""
        stored = True
        for incident_id in list(self._by_id):
            try:
                await self._fire_due_of(incident_id)
            except StoreError:
                stored = False
                STORE_FAILURES.inc()
                log.exception("deadline_not_stored", incident_id=incident_id)
        return stored

    async def _fire_due_of(self, incident_id: str) -> None:
        incident = self._by_id.get(incident_id)
        if incident is None:
            return
        for key, due_at in sorted(incident.state.deadlines.items(), key=lambda item: item[1]):
            if due_at > self._now():
                return
            async with self._lock:
                current = self._by_id.get(incident_id)
                if current is None or key not in current.state.deadlines:
                    continue
                lag_s = self._now() - due_at
                await self._commit(current, DeadlinePassed(key=key), actor="protocol", always=True)
                DEADLINE_LAG.observe(lag_s)

    async def _handle(self, context: StreamContext, event: Event) -> Decision | None:
        incident = self.open_incident(context.ref.stream_id)
        if incident is not None:
            return await self._continue(incident, context, event)
        if isinstance(event, StreamEnded | StreamReturned | WatchChanged | ViewersChanged | StrikesChanged):
            # Streams come and go, and are seen or not; without an incident there is nothing that they could change.
            return None
        now = self._now()
        state = begin(context.definition, now, strikes=context.strikes, viewers=context.viewers)
        decision = step(context.definition, state, event, now)
        if not decision.transitioned:
            return None
        record = begin_record(str(uuid4()), context, now=self._now())
        fresh = OpenIncident(record, decision.after, context.definition)
        return await self._write(fresh, decision, event, actor="protocol")

    async def _continue(self, incident: OpenIncident, context: StreamContext, event: Event) -> Decision | None:
        match event:
            case StreamEnded():
                session = ""
            case StreamReturned():
                session = context.session
                if session == incident.record.session:
                    return None
            case WatchChanged() | UserReported() | PartnerAlerted() | KnownContentMatched():
                # Also where the protocol does nothing about it: whoever looks back wants to know what was said, and
                # what nobody saw.
                return await self._commit(incident, event, actor="protocol", always=True)
            case _:
                return await self._commit(incident, event, actor="protocol")
        # Kept, so that a restart tells neither an end nor a return a second time.
        incident = replace(incident, record=replace(incident.record, session=session))
        return await self._commit(incident, event, actor="protocol", always=True)

    async def _commit(
        self,
        incident: OpenIncident,
        event: Event,
        *,
        actor: str,
        also: Also | None = None,
        detail: Mapping[str, Any] | None = None,
        always: bool = False,
    ) -> Decision:
        decision = step(incident.definition, incident.state, event, self._now())
        unchanged = decision.after == incident.state and not decision.effects
        if unchanged and not always and not isinstance(event, DetectionRaised):
            return decision
        return await self._write(incident, decision, event, actor=actor, also=also, detail=detail)

    async def _write(
        self,
        incident: OpenIncident,
        decision: Decision,
        event: Event,
        *,
        actor: str,
        also: Also | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> Decision:
        record = apply_decision(incident.record, decision, event, incident.definition, now=self._now())
        changed = replace(incident, record=record, state=decision.after)

        async def write() -> None:
            async with self._database.transaction() as connection:
                if also is not None and not await also(connection):
                    # The outcome was written before: the protocol has seen this event already.
                    return
                if record.id not in self._by_id:
                    await write_definition(connection, changed)
                written = await write_decision(
                    connection, self._decided, changed, decision, event=event, actor=actor, detail=detail
                )
            self._remember(written.incident)
            self._tell(written, decision)

        await _to_its_end(write())
        return decision

    def _remember(self, incident: OpenIncident) -> None:
        record = incident.record
        if record.closed_at is None:
            self._by_id[record.id] = incident
            self._by_stream[record.stream_id] = record.id
        else:
            self._by_id.pop(record.id, None)
            if self._by_stream.get(record.stream_id) == record.id:
                del self._by_stream[record.stream_id]
        INCIDENTS_OPEN.set(len(self._by_id))
        REVIEWS_PENDING.set(sum(one.record.review_due_at is not None for one in self._by_id.values()))

    def _tell(self, written: Written, decision: Decision) -> None:
        self._wake.set()
        incident = written.incident
        if decision.transitioned:
            TRANSITIONS.labels(decision.reason.value).inc()
            log.info(
                "protocol_transition",
                stream_id=incident.record.stream_id,
                incident_id=incident.record.id,
                before=decision.before,
                after=decision.after.state,
                reason=decision.reason.value,
                effects=[request.kind.value for request in decision.effects],
            )
        if written.bars:
            self._listener.block_changed(incident.record.ref, written.barred_until)
        self._listener.committed(incident, decision)

    def _now(self) -> float:
        return self._clock.now().timestamp()


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await `work`; cancellation waits for its end first, and then cancels."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("write_failed_while_stopping", error_type=type(error).__name__)
        raise
