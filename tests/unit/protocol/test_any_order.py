"""Whatever happens, in whatever order: what must hold of an incident from its first event to its end."""

from __future__ import annotations

from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from typing_extensions import override

from monitor.protocol.binding import bound
from monitor.protocol.checks import findings
from monitor.protocol.decision import Decision, EffectRequest, IncidentState, Reason
from monitor.protocol.definition import After, Definition
from monitor.protocol.events import (
    DeadlinePassed,
    DetectionCleared,
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
from monitor.protocol.step import step
from monitor.vocabulary import EffectKind, EffectOutcome, Freshness, PartnerSignal, ReviewDecision, Severity
from tests.fakes.protocols import CATEGORIES, LABELS, SEVERITIES, definitions, shipped

QUIET = (Reason.NO_TRANSITION, Reason.STALE_DEADLINE, Reason.ALREADY_CLOSED)


class AnyOrder(RuleBasedStateMachine):
    """Plays daemon, responder, media server and clock to one incident, none of them well-behaved."""

    definition: Definition

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.incident: IncidentState | None = None
        self.decisions: list[Decision] = []
        self.history: list[tuple[Event, float]] = []
        self.asked: list[EffectRequest] = []
        self.severities: dict[str, Severity] = {}

    def happens(self, event: Event) -> Decision:
        before = self.incident
        decision = step(self.definition, before, event, self.now)
        assert step(self.definition, before, event, self.now) == decision
        self.history.append((event, self.now))
        self.decisions.append(decision)
        self.incident = decision.after
        self._grows_by_one(before, decision)
        if before is not None and self.definition.states[before.state].final:
            assert decision.reason is Reason.ALREADY_CLOSED
            assert decision.after == before
            assert not decision.effects
        elif isinstance(event, DetectionRaised | DetectionCleared):
            self.severities[event.label] = event.severity
        self.asked.extend(decision.effects)
        return decision

    def _grows_by_one(self, before: IncidentState | None, decision: Decision) -> None:
        sequence = 0 if before is None else before.sequence
        assert decision.transitioned is (decision.reason not in QUIET)
        assert decision.after.sequence == sequence + decision.transitioned
        if not decision.transitioned:
            assert not decision.effects
            assert decision.after.state == decision.before
            old = {} if before is None else before.deadlines
            assert decision.after.deadlines.items() <= old.items()

    @rule(label=st.sampled_from(LABELS), severity=st.sampled_from(SEVERITIES))
    def detection_raised(self, label: str, severity: Severity) -> None:
        self.happens(DetectionRaised(label, severity, 0.9))

    @rule(label=st.sampled_from(LABELS), severity=st.sampled_from([Severity.NONE, Severity.REVIEW]))
    def detection_cleared(self, label: str, severity: Severity) -> None:
        self.happens(DetectionCleared(label, severity))

    @rule(decision=st.sampled_from(ReviewDecision))
    def reviewed(self, decision: ReviewDecision) -> None:
        self.happens(Reviewed(decision, "ada", "looks so"))

    @rule(event=st.sampled_from([StreamEnded(), StreamReturned(), *map(WatchChanged, Freshness)]))
    def stream_changed(self, event: Event) -> None:
        self.happens(event)

    @rule(category=st.sampled_from(CATEGORIES))
    def reported(self, category: str) -> None:
        self.happens(UserReported(category))

    @rule(
        event=st.sampled_from(
            [
                *(PartnerAlerted("acme", signal) for signal in PartnerSignal),
                KnownContentMatched("ours"),
                *map(ViewersChanged, (0, 10, 5000)),
                *map(StrikesChanged, (0, 1, 3)),
            ]
        )
    )
    def told(self, event: Event) -> None:
        self.happens(event)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), outcome=st.sampled_from(EffectOutcome))
    def effect_finished(self, data: st.DataObject, outcome: EffectOutcome) -> None:
        request = self.asked.pop(data.draw(st.integers(0, len(self.asked) - 1)))
        self.happens(EffectFinished(request.key, request.kind, outcome))

    @rule(delay_s=st.floats(0, 200))
    def time_passes(self, delay_s: float) -> None:
        self.now += delay_s

    @precondition(lambda self: self.incident is not None and self.incident.deadlines)
    @rule(data=st.data())
    def deadline_passed(self, data: st.DataObject) -> None:
        assert self.incident is not None
        key = data.draw(st.sampled_from(sorted(self.incident.deadlines)))
        self.now = max(self.now, self.incident.deadlines[key])
        decision = self.happens(DeadlinePassed(key))
        assert decision.reason in (Reason.DEADLINE_PASSED, Reason.NO_TRANSITION)
        # Only one that was due no later may be taken in its place, and then the event has to come again.
        assert key not in decision.after.deadlines or decision.transitioned

    @rule(number=st.integers(0, 30), index=st.integers(0, 9))
    def stale_deadline_passed(self, number: int, index: int) -> None:
        key = f"{number}:calm:{index}"
        if self.incident is None or key not in self.incident.deadlines:
            decision = self.happens(DeadlinePassed(key))
            assert decision.reason in (Reason.STALE_DEADLINE, Reason.ALREADY_CLOSED)

    @invariant()
    def never_left_alone(self) -> None:
        """An open incident always has a deadline that will move it on by itself."""
        if self.incident is None or self.incident.state == self.definition.initial:
            return
        state = self.definition.states[self.incident.state]
        pending = [state.transitions[int(key.rpartition(":")[2])] for key in self.incident.deadlines]
        assert all(isinstance(transition.trigger, After) for transition in pending)
        moving_on = any(transition.guard is None and transition.to is not None for transition in pending)
        assert moving_on is not state.final

    @invariant()
    def remembers_severities(self) -> None:
        if self.incident is not None and not (self.decisions and self.decisions[-1].closed):
            expected = {label: severity for label, severity in self.severities.items() if severity}
            assert self.incident.severities == expected
            assert self.incident.severity <= self.incident.max_severity

    @invariant()
    def never_asks_under_one_key_twice(self) -> None:
        keys = [request.key for decision in self.decisions for request in decision.effects]
        assert len(set(keys)) == len(keys)

    @invariant()
    def posture_is_that_of_the_state(self) -> None:
        if self.decisions:
            decision = self.decisions[-1]
            assert decision.posture is self.definition.states[decision.after.state].posture
            assert decision.closed is self.definition.states[decision.after.state].final

    @override
    def teardown(self) -> None:
        """A daemon that was killed replays what it stored, under the definition that it stored, and is where it was."""
        if not self.history:
            return
        stored = Definition.from_json(self.definition.to_json())
        incident: IncidentState | None = None
        for (event, now), decision in zip(self.history, self.decisions, strict=True):
            replayed = step(stored, incident, event, now)
            assert replayed == decision
            incident = replayed.after


class AnyOrderShipped(AnyOrder):
    @initialize(name=st.sampled_from(sorted(shipped())), can_hold=st.booleans())
    def choose(self, name: str, can_hold: bool) -> None:
        self.definition = bound(shipped()[name], can_hold=can_hold)

    @override
    def happens(self, event: Event) -> Decision:
        decision = super().happens(event)
        proven = decision.reason is Reason.EFFECT_SUCCEEDED and isinstance(event, EffectFinished)
        told = {request.parameters.get("event") for request in decision.effects}
        if "contained" in told:
            assert proven
            assert isinstance(event, EffectFinished)
            assert event.kind in (EffectKind.CUT, EffectKind.HOLD)
        if "released" in told:
            assert proven
            assert isinstance(event, EffectFinished)
            assert event.kind in (EffectKind.UNBLOCK, EffectKind.RELEASE)
        return decision

    @invariant()
    def tells_before_it_acts(self) -> None:
        requests = [request for decision in self.decisions for request in decision.effects]
        if requests:
            assert requests[0].kind is EffectKind.ALERT
            assert requests[0].parameters["event"] == "raised"

    @invariant()
    def observe_never_acts(self) -> None:
        if self.definition.name == "observe":
            kinds = {request.kind for decision in self.decisions for request in decision.effects}
            assert kinds.isdisjoint({EffectKind.CUT, EffectKind.BLOCK, EffectKind.UNBLOCK, EffectKind.HOLD})

    @invariant()
    def a_closed_incident_blocks_nobody_unless_confirmed(self) -> None:
        """Who was blocked and then dismissed, or whom nobody confirmed, is free again."""
        if not self.decisions or not self.decisions[-1].closed:
            return
        reasons = {decision.reason for decision in self.decisions}
        kinds = [request.kind for decision in self.decisions for request in decision.effects]
        if EffectKind.BLOCK in kinds and Reason.REVIEW_CONFIRMED not in reasons:
            last_block = len(kinds) - 1 - kinds[::-1].index(EffectKind.BLOCK)
            assert EffectKind.UNBLOCK in kinds[last_block:]

    @invariant()
    def a_closed_incident_hides_nobody_unless_cut(self) -> None:
        """Whoever was held is shown again, or cut: nobody stays hidden with an encoder that sends into the dark."""
        if not self.decisions or not self.decisions[-1].closed:
            return
        kinds = [request.kind for decision in self.decisions for request in decision.effects]
        if EffectKind.HOLD in kinds:
            last_hold = len(kinds) - 1 - kinds[::-1].index(EffectKind.HOLD)
            assert {EffectKind.RELEASE, EffectKind.CUT} & set(kinds[last_hold:])


class AnyOrderGenerated(AnyOrder):
    @initialize(definition=definitions())
    def choose(self, definition: Definition) -> None:
        assume(not findings(definition))
        self.definition = definition


TestShipped = AnyOrderShipped.TestCase
TestShipped.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestGenerated = AnyOrderGenerated.TestCase
TestGenerated.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
