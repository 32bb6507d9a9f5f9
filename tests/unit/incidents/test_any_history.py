"""Whatever happens, in whatever order, over restarts and stores that refuse: what the store must say of it afterwards."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from typing_extensions import override

from monitor.effects.port import EffectResult
from monitor.errors import StoreError
from monitor.incidents.recorded import recorded_state
from monitor.incidents.records import definition_of, state_of
from monitor.protocol.binding import bound
from monitor.protocol.decision import Decision
from monitor.protocol.definition import After, Definition
from monitor.protocol.events import Event, Reviewed
from monitor.store import audit
from monitor.store import effects as effect_rows
from monitor.store import incidents as incident_rows
from monitor.vocabulary import EffectOutcome, ReviewDecision, StreamRef
from tests.fakes.clock import ManualClock
from tests.fakes.incidents import Bench, bench, context
from tests.fakes.protocols import EVENTS, shipped
from tests.fakes.store import CAM1

STREAMS = (CAM1, StreamRef("edge", "live", "hall"))

_Result = TypeVar("_Result")


class AnyHistory(RuleBasedStateMachine):
    """Two streams under one protocol, a real store on disk, and a daemon that may die between any two things."""

    definition: Definition

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="livecordon-history-")
        self.clock = ManualClock()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.decided: Counter[tuple[object, ...]] = Counter()
        self.session = 1
        self.on = self.work(self.start())

    def work(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        return self.runner.run(coroutine)

    async def start(self) -> Bench:
        return await self.stack.enter_async_context(bench(Path(self.folder.name) / "store.sqlite3", self.clock))

    def note(self, decision: Decision | None) -> None:
        if decision is not None and decision.transitioned:
            self.decided[_told(decision)] += 1

    @initialize(name=st.sampled_from(sorted(shipped())), can_hold=st.booleans())
    def choose(self, name: str, can_hold: bool) -> None:
        self.definition = bound(shipped()[name], can_hold=can_hold)

    @rule(ref=st.sampled_from(STREAMS), event=EVENTS)
    def happens(self, ref: StreamRef, event: Event) -> None:
        self.session += 1
        about = context(self.definition, ref=ref, session=f"s{self.session}")
        self.note(self.work(self.on.engine.handle(about, event)))

    @rule(ref=st.sampled_from(STREAMS), decision=st.sampled_from(ReviewDecision), by=st.sampled_from(("ada", "bob")))
    def reviewed(self, ref: StreamRef, decision: ReviewDecision, by: str) -> None:
        incident = self.on.engine.open_incident(ref.stream_id)
        if incident is not None:
            with suppress(StoreError):  # what people decide is decided only once it is written
                self.note(self.work(self.on.engine.review(incident.record.id, Reviewed(decision, by, "looks so"))))

    @precondition(lambda self: not self.on.database.broken)
    @rule(data=st.data(), outcome=st.sampled_from(EffectOutcome))
    def effect_finished(self, data: st.DataObject, outcome: EffectOutcome) -> None:
        pending = [one for one in self.work(self.on.effects()) if one.status == effect_rows.PENDING]
        if pending:
            effect = data.draw(st.sampled_from(pending), label="effect")
            twice = data.draw(st.booleans(), label="told twice")
            for _ in range(1 + twice):
                self.work(self.on.engine.finish_effect(effect, EffectResult(outcome)))

    @rule(delay_s=st.sampled_from((0.5, 10.0, 60.0, 600.0, 86_400.0)))
    def time_passes(self, delay_s: float) -> None:
        self.work(self.clock.advance(delay_s))
        self.work(self.on.engine.fire_due())

    @rule()
    def the_store_refuses(self) -> None:
        self.on.database.broken = True

    @rule()
    def a_commit_fails_at_its_end(self) -> None:
        self.on.database.refuse_commits = 1

    @rule()
    def the_store_is_back(self) -> None:
        self.on.database.broken = False
        self.on.database.refuse_commits = 0
        while not self.work(self.on.engine.catch_up()):
            pass

    @rule()
    def the_daemon_dies(self) -> None:
        # What the store has not taken yet is lost with the daemon, which the documentation says.
        self.the_store_is_back()
        before = {one.record.id: one.state for one in self.on.engine.open_incidents()}
        self.work(self.stack.aclose())
        self.on = self.work(self.start())
        assert {one.record.id: one.state for one in self.on.engine.open_incidents()} == before

    @invariant()
    def nobody_is_left_alone(self) -> None:
        for incident in self.on.engine.open_incidents():
            transitions = incident.definition.states[incident.state.state].transitions
            pending = [transitions[int(key.rpartition(":")[2])] for key in incident.state.deadlines]
            assert any(one.guard is None and one.to and isinstance(one.trigger, After) for one in pending)

    @override
    def teardown(self) -> None:
        try:
            self.the_store_is_back()
            self.work(self.compare())
        finally:
            self.work(self.stack.aclose())
            self.runner.close()
            self.folder.cleanup()

    async def compare(self) -> None:
        """The log is whole, has each decision once, and says by itself what the store and the daemon say."""
        async with self.on.database.reading() as connection:
            log = await audit.entries(connection)
            records = await incident_rows.newest(connection, limit=500)
            deadlines = {record.id: due for record, due in await incident_rows.load_open(connection)}
            effects = {one.id: await effect_rows.of_incident(connection, one.id) for one in records}
            asked = {one.id: await effect_rows.last_requests(connection, one.id) for one in records}
            definitions = {
                one.definition_digest: definition_of(
                    await incident_rows.load_definition(connection, one.definition_digest)
                )
                for one in records
            }
        assert audit.first_broken(log) is None
        transitions = [entry for entry in log if entry.action == "transition"]
        logged = Counter(_logged(entry) for entry in transitions)
        assert not self.decided - logged
        for record in records:
            entries = [entry for entry in log if entry.incident_id == record.id]
            replayed = recorded_state(definitions[record.definition_digest], entries)
            stored = state_of(record, deadlines.get(record.id, {}), asked[record.id])
            assert replayed == stored
            incident = self.on.engine.open_incident(record.stream_id)
            if record.closed_at is None:
                assert incident is not None
                assert (incident.record.id, incident.state) == (record.id, replayed)
            wanted = [key for entry in entries for key in entry.detail.get("effects", ())]
            assert Counter(effect.key for effect in effects[record.id]) == Counter(wanted) == Counter(set(wanted))
            finished = [
                entry.detail["caused_by"]["key"]
                for entry in entries
                if entry.detail.get("caused_by", {}).get("event") == "EffectFinished"
            ]
            assert len(set(finished)) == len(finished), "the protocol hears of each effect's end once"


def _told(decision: Decision) -> tuple[object, ...]:
    keys = tuple(request.key for request in decision.effects)
    return decision.reason.value, decision.before, decision.after.state, decision.after.sequence, keys


def _logged(entry: audit.AuditEntry) -> tuple[object, ...]:
    detail = entry.detail
    return detail["reason"], detail["before"], detail["after"], detail["sequence"], tuple(detail["effects"])


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
