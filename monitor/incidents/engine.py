"""Runs protocols durably: every event steps an incident, and what follows is committed before anything acts on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
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
    event_detail,
    state_of,
)
from monitor.metrics import DEADLINE_LAG, INCIDENTS_OPEN, REVIEWS_PENDING, STORE_FAILURES, TRANSITIONS
from monitor.protocol.decision import Decision
from monitor.protocol.definition import Definition
from monitor.protocol.events import DeadlinePassed, DetectionRaised, EffectFinished, Event, Reviewed
from monitor.protocol.step import step
from monitor.store import audit, blocks
from monitor.store import effects as effect_rows
from monitor.store import incidents as incident_rows
from monitor.store.blocks import BlockRecord
from monitor.store.database import Database
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord

_STORE_RETRY_S = 1.0

log = structlog.get_logger()

Also = Callable[[AsyncConnection], Awaitable[bool]]


class EngineListener(Protocol):
    """Told after each commit; must not block and must not raise."""

    def committed(self, incident: OpenIncident, decision: Decision) -> None:
        """An incident changed; new effects and alerts may wait in the store."""
        ...

    def blocks_changed(self, active: list[BlockRecord]) -> None:
        """The blocks in force are now these."""
        ...


@dataclass(frozen=True, slots=True)
class _Unhandled:
    context: StreamContext
    event: Event


class IncidentEngine:
    """All incidents under way. Events are handled one at a time, in the order in which they are given."""

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
        self._unhandled: list[_Unhandled] = []

    async def load(self) -> None:
        """Take up every incident that was open when the daemon last stopped, with its deadlines.

        Raises:
            StoreError: the store cannot be read.
        """
        async with self._database.reading() as connection:
            for record, deadlines in await incident_rows.load_open(connection):
                content = await incident_rows.load_definition(connection, record.definition_digest)
                definition = Definition.from_json(content)
                self._remember(OpenIncident(record, state_of(record, deadlines), definition))
            active = list(await blocks.active(connection, at=self._now()))
        self._listener.blocks_changed(active)
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

        A store that fails does not lose the event: it is kept and tried again every second.

        Returns:
            The decision, or None when there is no incident and the event begins none, or the store failed.
        """
        try:
            async with self._lock:
                return await self._handle(context, event)
        except StoreError:
            STORE_FAILURES.inc()
            log.exception("event_not_stored", stream_id=context.ref.stream_id, event_type=type(event).__name__)
            self._unhandled.append(_Unhandled(context, event))
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
                if await write_outcome(connection):
                    await audit.append(
                        connection,
                        at=now,
                        actor="daemon",
                        action="effect_finished",
                        incident_id=effect.incident_id,
                        detail=event_detail(event) | {"result": dict(result.detail)},
                    )

    async def change_blocks(self, change: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        """Run `change` in a transaction and take over the blocks that are then in force.

        Raises:
            StoreError: nothing was changed.
        """
        async with self._lock, self._database.transaction() as connection:
            await change(connection)
            active = list(await blocks.active(connection, at=self._now()))
        self._listener.blocks_changed(active)

    async def run(self) -> None:
        """Fire deadlines, and retry events that the store refused, until cancelled."""
        while True:
            self._wake.clear()
            await self._retry_unhandled()
            due = [at for incident in self._by_id.values() for at in incident.state.deadlines.values()]
            delay_s = max(0.0, min(due) - self._now()) if due else None
            if self._unhandled:
                delay_s = min(delay_s, _STORE_RETRY_S) if delay_s is not None else _STORE_RETRY_S
            if delay_s is None or delay_s > 0:
                await wait_until(self._clock, self._wake, delay_s)
            try:
                await self._fire_due()
            except StoreError:
                STORE_FAILURES.inc()
                log.exception("deadline_not_stored")
                await self._clock.sleep(_STORE_RETRY_S)

    async def _fire_due(self) -> None:
        for incident_id in list(self._by_id):
            incident = self._by_id.get(incident_id)
            if incident is None:
                continue
            for key, due_at in sorted(incident.state.deadlines.items(), key=lambda item: item[1]):
                if due_at > self._now():
                    break
                async with self._lock:
                    current = self._by_id.get(incident_id)
                    if current is None or key not in current.state.deadlines:
                        continue
                    DEADLINE_LAG.observe(self._now() - due_at)
                    await self._commit(current, DeadlinePassed(key=key), actor="protocol", always=True)

    async def _retry_unhandled(self) -> None:
        waiting, self._unhandled = self._unhandled, []
        for unhandled in waiting:
            await self.handle(unhandled.context, unhandled.event)

    async def _handle(self, context: StreamContext, event: Event) -> Decision | None:
        incident = self.open_incident(context.ref.stream_id)
        if incident is not None:
            return await self._commit(incident, event, actor="protocol")
        decision = step(context.definition, None, event, self._now())
        if not decision.transitioned:
            return None
        record = begin_record(str(uuid4()), context, now=self._now())
        fresh = OpenIncident(record, decision.after, context.definition)
        return await self._write(fresh, decision, event, actor="protocol")

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
        now = self._now()
        record = apply_decision(incident.record, decision, event, now=now)
        async with self._database.transaction() as connection:
            if also is not None and not await also(connection):
                # The outcome was written before: the protocol has seen this event already.
                return decision
            await incident_rows.save_definition(
                connection,
                digest=incident.definition.digest,
                name=record.protocol,
                content=incident.definition.to_json(),
            )
            await incident_rows.save(connection, record, decision.after.deadlines)
            record = await self._write_effects(connection, record, decision, now=now)
            if decision.effects:
                await incident_rows.save(connection, record, decision.after.deadlines)
            await audit.append(
                connection,
                at=now,
                actor=actor,
                action="transition" if decision.transitioned else "event",
                incident_id=record.id,
                detail=_audit_detail(record, decision, event, detail),
            )
            active = list(await blocks.active(connection, at=now))
        changed = replace(incident, record=record, state=decision.after)
        self._remember(changed)
        self._tell(changed, decision, active)
        return decision

    async def _write_effects(
        self, connection: AsyncConnection, record: IncidentRecord, decision: Decision, *, now: float
    ) -> IncidentRecord:
        for position, request in enumerate(decision.effects):
            effect = await effect_rows.add(
                connection,
                incident_id=record.id,
                key=request.key,
                position=position,
                kind=request.kind,
                parameters=request.parameters,
                requested_at=now,
            )
            record = await self._decided.write(connection, effect, record, decision.reason)
        return record

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

    def _tell(self, incident: OpenIncident, decision: Decision, active: list[BlockRecord]) -> None:
        self._wake.set()
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
        self._listener.blocks_changed(active)
        self._listener.committed(incident, decision)

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _audit_detail(
    record: IncidentRecord, decision: Decision, event: Event, detail: Mapping[str, Any] | None
) -> dict[str, Any]:
    values: dict[str, Any] = {
        "reason": decision.reason.value,
        "before": decision.before,
        "after": decision.after.state,
        "sequence": record.sequence,
        "severity": decision.after.severity.word,
        "effects": [request.key for request in decision.effects],
        "protocol": record.protocol,
        "definition": record.definition_digest,
        "model": record.model,
        "dry_run": record.dry_run,
        "caused_by": event_detail(event),
    }
    if detail:
        values["result"] = dict(detail)
    return values
