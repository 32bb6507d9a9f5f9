"""Runs protocols durably: every event steps an incident, and what follows is committed before anything acts on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor import faults
from monitor.clock import Clock, wait_until
from monitor.effects.decided import DecidedEffects
from monitor.effects.port import EffectResult
from monitor.errors import StoreError
from monitor.incidents.book import Book
from monitor.incidents.committing import Committer, EngineListener, to_its_end
from monitor.incidents.records import (
    OpenIncident,
    StreamContext,
    apply_decision,
    begin_record,
    cited,
    definition_of,
    drill_id,
    state_of,
)
from monitor.incidents.turns import Turns
from monitor.incidents.writing import Ended, Step, write_late_outcome
from monitor.metrics import DEADLINE_LAG
from monitor.policies import Policies
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
    UserReported,
    ViewersChanged,
    WatchChanged,
)
from monitor.protocol.step import begin, step
from monitor.store import blocks, strikes
from monitor.store import effects as effect_rows
from monitor.store import incidents as incident_rows
from monitor.store.database import Database
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import StreamRef

_STORE_RETRY_S = 1.0
_LONGEST_SLEEP_S = 30.0
_NO_POLICIES = Policies()

log = structlog.get_logger()


class IncidentEngine:
    """All incidents under way. Events of one stream are handled one at a time, in the order in which they are given.

    Those of different streams are handled side by side and share commits. A store that fails stops nothing: see
    `monitor.incidents.journal`. Whoever is cancelled while a decision is written waits for its end: store and memory never part.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        decided: DecidedEffects,
        listener: EngineListener,
        policies: Policies = _NO_POLICIES,
    ) -> None:
        """Keep incidents in `database`.

        Args:
            database: The store.
            clock: For deadlines.
            decided: Writes the rows of effects.
            listener: Hears of every commit.
            policies: What incidents come under.
        """
        self._policies = policies
        self._database = database
        self._clock = clock
        self._listener = listener
        self._turns = Turns()
        self._wake = asyncio.Event()
        self._book = Book(clock)
        self._committer = Committer(database, decided, listener, self._book, self._wake.set)

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
                self._book.remember(OpenIncident(record, state_of(record, deadlines, asked), definitions[digest]))
            active = await blocks.active(connection, at=self._now())
            standing = await strikes.all_standing(connection, at=self._now())
        self._listener.strikes_changed(standing)
        self._listener.blocks_loaded(active)
        if len(self._book):
            log.info("incidents_taken_up", incidents=len(self._book))

    @property
    def unwritten(self) -> int:
        """How many decisions were acted upon and wait for the store."""
        return len(self._committer.journal)

    def open_incident(self, stream_id: str) -> OpenIncident | None:
        """Return the incident under way on a stream, from memory."""
        return self._book.on_stream(stream_id)

    def open_incidents(self) -> list[OpenIncident]:
        """Return every incident under way, from memory."""
        return list(self._book)

    def record_of(self, incident_id: str) -> IncidentRecord | None:
        """Return the row of an incident under way, from memory."""
        return self._committer.record_of(incident_id)

    def has_ended(self, effect_id: str) -> bool:
        """Whether an effect has ended, and only the store does not know it yet."""
        return self._committer.journal.has_outcome(effect_id)

    async def is_wanted(self, effect_id: str) -> bool:
        """Whether an effect has neither ended nor been withdrawn.

        Raises:
            StoreError: nobody knows.
        """
        if self._committer.journal.has_effect(effect_id):
            return True
        async with self._database.reading() as connection:
            return await effect_rows.is_pending(connection, effect_id)

    async def handle(self, context: StreamContext, event: Event) -> Decision | None:
        """Step the stream's incident, beginning one where the protocol says so.

        A store that fails does not lose the event: it is acted upon as far as can be without the store, and written when
        the store is back. `StreamReturned` for the publication that the incident knows as live is ignored.

        Returns:
            The decision, or None when there is no incident and the event begins none.

        Raises:
            StoreError: another daemon has taken over the store; nothing was done.
        """
        if isinstance(event, DetectionRaised):
            faults.reach("detection_received")
        async with self._turns.of(context.ref.stream_id):
            return await self._handle(context, event)

    def open_drill(self, ref: StreamRef) -> OpenIncident | None:
        """Return the drill under way on a stream, from memory."""
        return self._book.on_stream(drill_id(ref))

    async def begin_drill(self, context: StreamContext, event: DetectionRaised, *, actor: str) -> OpenIncident | None:
        """Begin a drill beside whatever happens on the stream; one on a stream at a time.

        Returns:
            The drill as it begins; None, and nothing begun, where the protocol does nothing about the event or another
            drill is under way on the stream.

        Raises:
            StoreError: nothing was begun.
        """
        async with self._turns.of(drill_id(context.ref)):
            if self.open_drill(context.ref) is not None:
                return None
            begun = await self._begin(context, event, actor=actor, durable=True)
            return None if begun is None else begun[0]

    async def review(self, incident_id: str, event: Reviewed) -> Decision | None:
        """Step one incident with a responder's decision; None when it is not open.

        Raises:
            StoreError: nothing was decided.
        """
        faults.reach("review_received")
        incident = self._book.get(incident_id)
        if incident is None:
            return None
        async with self._turns.of(incident.record.stream_id):
            incident = self._book.get(incident_id)
            if incident is None:
                return None
            return await self._commit(incident, event, actor=event.by, always=True, durable=True)

    async def finish_effect(self, effect: EffectRecord, result: EffectResult) -> None:
        """Make an effect's outcome durable together with what its protocol does about it.

        Raises:
            StoreError: the incident is closed, and nothing was written: call again; or another daemon has taken over.
        """
        event = EffectFinished(key=effect.key, kind=effect.kind, outcome=result.outcome)
        ended = Ended(effect.id, result)
        incident = self._book.get(effect.incident_id)
        if incident is not None:
            async with self._turns.of(incident.record.stream_id):
                incident = self._book.get(effect.incident_id)
                if incident is not None:
                    await self._commit(incident, event, actor="daemon", ended=ended, always=True)
                    return
        now = self._now()
        await self._database.write(lambda connection: write_late_outcome(connection, effect, ended, event, at=now))

    async def change_block(self, ref: StreamRef, change: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        """Run `change`, which blocks or unblocks one publisher by hand, in a transaction of its own.

        Raises:
            StoreError: nothing was changed.
        """

        async def write() -> None:
            async with self._database.transaction() as connection:
                await change(connection)
                until = await blocks.end_of(connection, ref, at=self._now())
                struck = await strikes.of_blocks(connection, ref, at=self._now())
            self._listener.strikes_changed(struck)
            self._listener.block_changed(ref, until)

        async with self._turns.of(ref.stream_id):
            await to_its_end(write())

    async def run(self) -> None:
        """Fire deadlines, and write what the store refused, until cancelled.

        Raises:
            StoreError: another daemon has taken over the store.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_catching_up())
            while True:
                self._wake.clear()
                for incident_id in self._book.take_due():
                    group.create_task(self._fire_due_of(incident_id))
                due_in_s = self._book.next_due_in_s()
                # The wall clock can be set forward while the sleep goes on: look again now and then.
                delay_s = None if due_in_s is None else min(due_in_s, _LONGEST_SLEEP_S)
                await wait_until(self._clock, self._wake, delay_s)

    async def fire_due(self) -> None:
        """Fire what is due now; `run` does so by itself.

        Raises:
            StoreError: another daemon has taken over the store.
        """
        for incident_id in self._book.take_due():
            await self._fire_due_of(incident_id)

    async def catch_up(self) -> bool:
        """Write what the store refused, if it takes it now; `run` does so by itself, every second.

        Returns:
            Whether nothing is left to be written.

        Raises:
            StoreError: another daemon has taken over the store.
        """
        return await self._committer.catch_up(self._now())

    async def _keep_catching_up(self) -> None:
        while True:
            await self._committer.behind.wait()
            await self._clock.sleep(_STORE_RETRY_S)
            await self.catch_up()

    async def _fire_due_of(self, incident_id: str) -> None:
        try:
            await self._fire(incident_id)
        except Exception as error:
            if isinstance(error, StoreError):
                # Another daemon has taken over the store; everything else, the journal takes.
                raise
            # A defect that one incident brings out must not end the deadlines of the others.
            log.exception("deadline_not_fired", incident_id=incident_id)
            await self._clock.sleep(_STORE_RETRY_S)
            if (incident := self._book.get(incident_id)) is not None:
                self._book.remember(incident)
                self._wake.set()

    async def _fire(self, incident_id: str) -> None:
        incident = self._book.get(incident_id)
        if incident is None:
            return
        async with self._turns.of(incident.record.stream_id):
            incident = self._book.get(incident_id)
            if incident is None:
                return
            for late_s, key in self._book.due_of(incident_id):
                current = self._book.get(incident_id)
                if current is None:
                    break
                if key not in current.state.deadlines:
                    continue
                faults.reach("deadline_due")
                await self._commit(current, DeadlinePassed(key=key), actor="protocol", always=True)
                DEADLINE_LAG.observe(late_s)

    async def _handle(self, context: StreamContext, event: Event) -> Decision | None:
        incident = self.open_incident(context.ref.stream_id)
        if incident is not None:
            return await self._continue(incident, context, event)
        if isinstance(event, StreamEnded | StreamReturned | WatchChanged | ViewersChanged):
            # Streams come and go, and are seen or not; without an incident there is nothing that they could change.
            return None
        begun = await self._begin(context, event, actor="protocol")
        return None if begun is None else begun[1]

    async def _begin(
        self, context: StreamContext, event: Event, *, actor: str, durable: bool = False
    ) -> tuple[OpenIncident, Decision] | None:
        now = self._now()
        state = begin(context.definition, now, strikes=context.strikes, viewers=context.viewers, event=event)
        decision = step(context.definition, state, event, now)
        if not decision.transitioned:
            return None
        record = begin_record(str(uuid4()), context, now=self._now())
        fresh = OpenIncident(record, decision.after, context.definition)
        begun = Step(self._applied(fresh, decision, event, now), decision, event, actor=actor, begins=True)
        await self._committer.commit(begun, durable=durable)
        return begun.incident, decision

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
        ended: Ended | None = None,
        always: bool = False,
        durable: bool = False,
    ) -> Decision:
        now = self._now()
        decision = step(incident.definition, incident.state, event, now)
        unchanged = decision.after == incident.state and not decision.effects
        if always or not unchanged or isinstance(event, DetectionRaised):
            changed = self._applied(incident, decision, event, now)
            await self._committer.commit(Step(changed, decision, event, actor, ended=ended), durable=durable)
        return decision

    def _applied(self, incident: OpenIncident, decision: Decision, event: Event, now: float) -> OpenIncident:
        """Return an incident as it stands after a decision."""
        record = apply_decision(incident.record, decision, event, incident.definition, now=now)
        record = replace(record, policy=cited(record, decision, event, self._policies))
        return replace(incident, record=record, state=decision.after, clocks_apart_s=self._book.clocks_apart())

    def _now(self) -> float:
        return self._clock.now().timestamp()
