from __future__ import annotations

from dataclasses import replace

import pytest

from monitor.protocol.decision import Decision, IncidentState, Reason
from monitor.protocol.definition import (
    After,
    AllOf,
    AnyOf,
    Definition,
    Effect,
    Guard,
    LabelDetected,
    MaxSeverityAtLeast,
    Not,
    OnDetection,
    OnEased,
    OnEffect,
    OnKnownContent,
    OnPartner,
    OnReport,
    OnReview,
    OnStream,
    OnStrikes,
    OnViewers,
    OnWatched,
    ReportsAtLeast,
    SeverityAtLeast,
    State,
    StreamChange,
    StrikesAtLeast,
    Transition,
    Trigger,
    ViewersAtLeast,
)
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
from monitor.protocol.step import begin, step
from monitor.vocabulary import (
    EffectKind,
    EffectOutcome,
    Freshness,
    PartnerSignal,
    Posture,
    ReviewDecision,
    Severity,
)
from tests.fakes.protocols import alert

REVIEW, ACT, NONE = Severity.REVIEW, Severity.ACT, Severity.NONE
PRESERVE = Effect(EffectKind.PRESERVE)


def protocol(*transitions: Transition, enter: tuple[Effect, ...] = ()) -> Definition:
    """A protocol whose state `here` has these transitions; `calm` leads there on any detection."""
    return Definition(
        "test",
        1,
        "For tests.",
        "calm",
        {
            "calm": State(Posture.CALM, transitions=(Transition(OnDetection(REVIEW), None, "here"),)),
            "here": State(Posture.FULL, enter=enter, transitions=transitions),
            "there": State(Posture.CLOSE, transitions=(Transition(After(5.0), None, "closed"),)),
            "closed": State(Posture.CALM, final=True),
        },
    )


def raised(severity: Severity = ACT, label: str = "fight") -> DetectionRaised:
    return DetectionRaised(label, severity, 0.9)


def here(definition: Definition, severity: Severity = REVIEW, now: float = 100.0) -> IncidentState:
    return step(definition, None, raised(severity), now).after


def test_the_first_event_begins_in_the_initial_state_without_entering_it() -> None:
    definition = protocol(enter=(PRESERVE,))

    decision = step(definition, None, StreamEnded(), 7.0)

    assert decision.reason is Reason.NO_TRANSITION
    assert decision.after == IncidentState("calm", 7.0)
    assert decision.posture is Posture.CALM
    assert not decision.closed


def test_a_transition_enters_the_state_with_its_posture_effects_and_deadlines() -> None:
    definition = protocol(
        Transition(OnStream(StreamChange.ENDED), None, "closed"),
        Transition(After(60.0), None, "closed"),
        enter=(alert("raised", "crisis"), PRESERVE),
    )

    decision = step(definition, None, raised(), 100.0)

    assert decision.reason is Reason.DETECTION_RAISED
    assert decision.before == "calm"
    assert decision.after == IncidentState(
        "here",
        100.0,
        1,
        {"fight": ACT},
        ACT,
        deadlines={"1:here:1": 160.0},
        asked={EffectKind.ALERT: 1, EffectKind.PRESERVE: 1},
    )
    assert [request.key for request in decision.effects] == ["1.0.alert", "1.1.preserve"]
    assert decision.effects[0].parameters == {"event": "raised", "priority": "crisis"}
    assert decision.posture is Posture.FULL


def test_effects_of_the_transition_come_before_those_of_the_new_state() -> None:
    definition = protocol(
        Transition(OnReview(ReviewDecision.CONFIRM), None, "here", (alert("updated"),)), enter=(PRESERVE,)
    )

    decision = step(definition, here(definition), Reviewed(ReviewDecision.CONFIRM, "ada", ""), 101.0)

    assert [request.key for request in decision.effects] == ["2.0.alert", "2.1.preserve"]


@pytest.mark.parametrize(
    ("trigger", "event", "reason"),
    [
        (OnDetection(REVIEW), raised(REVIEW), Reason.DETECTION_RAISED),
        (OnDetection(REVIEW), raised(ACT), Reason.DETECTION_RAISED),
        (OnDetection(ACT), raised(ACT), Reason.DETECTION_RAISED),
        (OnDetection(ACT), raised(REVIEW), None),
        (OnDetection(NONE), DetectionCleared("fight", NONE), Reason.DETECTION_CLEARED),
        (OnDetection(NONE), DetectionCleared("fight", REVIEW), None),
        (OnDetection(NONE), DetectionCleared("weapon", NONE), None),
        (OnDetection(NONE), raised(REVIEW), None),
        (OnDetection(REVIEW), DetectionCleared("fight", REVIEW), None),
        (OnReview(ReviewDecision.CONFIRM), Reviewed(ReviewDecision.CONFIRM, "a", ""), Reason.REVIEW_CONFIRMED),
        (OnReview(ReviewDecision.DISMISS), Reviewed(ReviewDecision.DISMISS, "a", ""), Reason.REVIEW_DISMISSED),
        (OnReview(ReviewDecision.CONFIRM), Reviewed(ReviewDecision.DISMISS, "a", ""), None),
        (OnStream(StreamChange.ENDED), StreamEnded(), Reason.STREAM_ENDED),
        (OnStream(StreamChange.RETURNED), StreamReturned(), Reason.STREAM_RETURNED),
        (OnStream(StreamChange.ENDED), StreamReturned(), None),
        (OnWatched(Freshness.LATE), WatchChanged(Freshness.LATE), Reason.WATCHED_LATE),
        (OnWatched(Freshness.BLIND), WatchChanged(Freshness.BLIND), Reason.WATCHED_BLIND),
        (OnWatched(Freshness.FRESH), WatchChanged(Freshness.FRESH), Reason.WATCHED_FRESH),
        (OnWatched(Freshness.LATE), WatchChanged(Freshness.BLIND), None),
        (OnWatched(Freshness.BLIND), StreamEnded(), None),
        (OnDetection(REVIEW, "weapon"), raised(ACT, "weapon"), Reason.DETECTION_RAISED),
        (OnDetection(REVIEW, "weapon"), raised(ACT, "fight"), None),
        (OnDetection(NONE, "fight"), DetectionCleared("fight", NONE), Reason.DETECTION_CLEARED),
        (OnDetection(NONE, "weapon"), DetectionCleared("fight", NONE), None),
        (OnEased(), DetectionCleared("fight", NONE), None),
        (OnReview(ReviewDecision.ESCALATE), Reviewed(ReviewDecision.ESCALATE, "a", ""), Reason.REVIEW_ESCALATED),
        (OnReview(ReviewDecision.RELEASE), Reviewed(ReviewDecision.RELEASE, "a", ""), Reason.REVIEW_RELEASED),
        (OnReport(), UserReported("violence"), Reason.USER_REPORTED),
        (OnReport("violence"), UserReported("violence"), Reason.USER_REPORTED),
        (OnReport("self-harm"), UserReported("violence"), None),
        (OnPartner(PartnerSignal.RAISED), PartnerAlerted("acme", PartnerSignal.RAISED), Reason.PARTNER_ALERTED),
        (OnPartner(PartnerSignal.RAISED), PartnerAlerted("acme", PartnerSignal.WITHDRAWN), None),
        (OnPartner(PartnerSignal.WITHDRAWN), PartnerAlerted("acme", PartnerSignal.WITHDRAWN), Reason.PARTNER_WITHDREW),
        (OnKnownContent(), KnownContentMatched("ours"), Reason.KNOWN_CONTENT_MATCHED),
        (OnKnownContent("ours"), KnownContentMatched("ours"), Reason.KNOWN_CONTENT_MATCHED),
        (OnKnownContent("theirs"), KnownContentMatched("ours"), None),
        (OnViewers(100), ViewersChanged(100), Reason.VIEWERS_ROSE),
        (OnViewers(100), ViewersChanged(99), None),
    ],
)
def test_what_pulls_a_trigger(trigger: Trigger, event: Event, reason: Reason | None) -> None:
    definition = protocol(Transition(trigger, None, "there"), Transition(After(60.0), None, "closed"))

    decision = step(definition, here(definition), event, 101.0)

    assert decision.reason is (reason or Reason.NO_TRANSITION)
    assert decision.after.state == ("there" if reason else "here")


@pytest.mark.parametrize("outcome", EffectOutcome)
@pytest.mark.parametrize("kind", [EffectKind.CUT, EffectKind.BLOCK])
def test_an_effect_triggers_by_kind_and_outcome(kind: EffectKind, outcome: EffectOutcome) -> None:
    trigger = OnEffect(EffectKind.CUT, (EffectOutcome.FAILED, EffectOutcome.UNVERIFIED))
    definition = protocol(Transition(trigger, None, "there"), Transition(After(60.0), None, "closed"))

    decision = step(definition, here(definition), EffectFinished("1.0.x", kind, outcome), 101.0)

    expected = {
        (EffectKind.CUT, EffectOutcome.FAILED): Reason.EFFECT_FAILED,
        (EffectKind.CUT, EffectOutcome.UNVERIFIED): Reason.EFFECT_UNVERIFIED,
    }
    assert decision.reason is expected.get((kind, outcome), Reason.NO_TRANSITION)


@pytest.mark.parametrize("label", [None, "fight"])
def test_eased_is_the_step_down_from_act_and_nothing_else(label: str | None) -> None:
    definition = protocol(Transition(OnEased(label), None, "there"), Transition(After(60.0), None, "closed"))
    incident = here(definition, ACT)

    other = step(definition, incident, DetectionCleared("weapon", NONE), 101.0)
    eased = step(definition, other.after, DetectionCleared("fight", REVIEW), 102.0)

    assert other.reason is Reason.NO_TRANSITION
    assert eased.reason is Reason.DETECTION_EASED


def test_eased_waits_for_the_last_label_at_act() -> None:
    definition = protocol(Transition(OnEased(), None, "there"), Transition(After(60.0), None, "closed"))
    incident = step(definition, here(definition, ACT), raised(ACT, "weapon"), 101.0).after

    first = step(definition, incident, DetectionCleared("fight", NONE), 102.0)
    last = step(definition, first.after, DetectionCleared("weapon", REVIEW), 103.0)

    assert first.reason is Reason.NO_TRANSITION
    assert last.reason is Reason.DETECTION_EASED


def test_viewers_rise_once_and_again_after_a_fall() -> None:
    definition = protocol(Transition(OnViewers(100), None, None, (PRESERVE,)), Transition(After(60.0), None, "closed"))
    incident = here(definition)
    reasons = []
    for viewers in (50, 150, 200, 99, 100):
        decision = step(definition, incident, ViewersChanged(viewers), 101.0)
        incident = decision.after
        reasons.append(decision.transitioned)

    assert reasons == [False, True, False, False, True]
    assert incident.viewers == 100


def test_somebody_with_strikes_who_goes_live_begins_an_incident_and_so_does_no_one_with_fewer() -> None:
    definition = protocol(Transition(OnStrikes(2), None, None, (PRESERVE,)), Transition(After(60.0), None, "closed"))
    calm = State(Posture.CALM, transitions=(Transition(OnStrikes(2), None, "here"),))
    definition = replace(definition, states={**definition.states, "calm": calm})

    def lives_with(strikes: int) -> Decision:
        event = StrikesChanged(strikes)
        return step(definition, begin(definition, 100.0, strikes=strikes, event=event), event, 100.0)

    assert lives_with(1).reason is Reason.NO_TRANSITION
    begun = lives_with(2)
    assert (begun.reason, begun.after.state, begun.after.strikes) == (Reason.STRIKES_ROSE, "here", 2)
    assert step(definition, begun.after, StrikesChanged(3), 101.0).reason is Reason.NO_TRANSITION
    fallen = step(definition, begun.after, StrikesChanged(0), 102.0).after
    assert step(definition, fallen, StrikesChanged(2), 103.0).reason is Reason.STRIKES_ROSE


def test_only_the_newest_request_of_a_kind_counts_unless_late_ones_are_wanted() -> None:
    def asking_twice(*, late: bool) -> tuple[Reason, Reason]:
        definition = protocol(
            Transition(OnStream(StreamChange.RETURNED), None, "here"),
            Transition(OnEffect(EffectKind.CUT, tuple(EffectOutcome), late=late), None, "there"),
            Transition(After(60.0), None, "closed"),
            enter=(Effect(EffectKind.CUT),),
        )
        first = step(definition, None, raised(), 100.0)
        second = step(definition, first.after, StreamReturned(), 101.0)
        stale, newest = (
            step(definition, second.after, EffectFinished(key, EffectKind.CUT, EffectOutcome.FAILED), 102.0).reason
            for key in (first.effects[0].key, second.effects[0].key)
        )
        return stale, newest

    assert asking_twice(late=False) == (Reason.NO_TRANSITION, Reason.EFFECT_FAILED)
    assert asking_twice(late=True) == (Reason.EFFECT_FAILED, Reason.EFFECT_FAILED)


def test_an_outcome_that_comes_after_its_state_was_left_still_counts() -> None:
    definition = protocol(
        Transition(OnEffect(EffectKind.CUT, (EffectOutcome.SUCCEEDED,)), None, "there"),
        Transition(After(60.0), None, "closed"),
    )
    calm = replace(
        definition.states["calm"],
        transitions=(Transition(OnDetection(REVIEW), None, "here", (Effect(EffectKind.CUT),)),),
    )
    definition = replace(definition, states={**definition.states, "calm": calm})
    cutting = step(definition, None, raised(), 100.0)
    moved = step(definition, cutting.after, raised(ACT, "weapon"), 101.0)

    done = EffectFinished(cutting.effects[0].key, EffectKind.CUT, EffectOutcome.SUCCEEDED)

    assert step(definition, moved.after, done, 500.0).reason is Reason.EFFECT_SUCCEEDED


def test_what_is_known_of_a_stream_counts_from_its_first_event() -> None:
    definition = protocol(Transition(After(60.0), None, "closed"))
    calm = replace(definition.states["calm"], transitions=(Transition(OnDetection(REVIEW), StrikesAtLeast(2), "here"),))
    definition = replace(definition, states={**definition.states, "calm": calm})

    assert not step(definition, begin(definition, 100.0, strikes=1), raised(), 100.0).transitioned
    assert step(definition, begin(definition, 100.0, strikes=2, viewers=7), raised(), 100.0).after.viewers == 7


@pytest.mark.parametrize(
    ("guard", "event"),
    [
        (StrikesAtLeast(1), StrikesChanged(1)),
        (ViewersAtLeast(500), ViewersChanged(500)),
        (ReportsAtLeast(1), UserReported("violence")),
    ],
)
def test_a_guard_on_what_is_told_of_the_stream(guard: Guard, event: Event) -> None:
    definition = protocol(
        Transition(OnStream(StreamChange.ENDED), guard, "there"), Transition(After(60.0), None, "closed")
    )
    before = here(definition)
    after = step(definition, before, event, 101.0).after

    assert not step(definition, before, StreamEnded(), 102.0).transitioned
    assert step(definition, after, StreamEnded(), 102.0).transitioned


@pytest.mark.parametrize(
    ("guard", "holds"),
    [
        (SeverityAtLeast(REVIEW), True),
        (SeverityAtLeast(ACT), False),
        (MaxSeverityAtLeast(ACT), True),
        (LabelDetected("fight"), True),
        (LabelDetected("weapon"), False),
        (Not(LabelDetected("weapon")), True),
        (AllOf((SeverityAtLeast(REVIEW), MaxSeverityAtLeast(ACT))), True),
        (AllOf((SeverityAtLeast(REVIEW), SeverityAtLeast(ACT))), False),
        (AnyOf((SeverityAtLeast(ACT), LabelDetected("fight"))), True),
        (AnyOf((SeverityAtLeast(ACT), LabelDetected("weapon"))), False),
    ],
)
def test_guards_at_review_after_act(guard: Guard, holds: bool) -> None:
    definition = protocol(
        Transition(OnStream(StreamChange.ENDED), guard, "there"), Transition(After(60.0), None, "closed")
    )
    incident = step(definition, here(definition, ACT), DetectionCleared("fight", REVIEW), 101.0).after

    assert step(definition, incident, StreamEnded(), 102.0).transitioned is holds


def test_the_first_in_file_order_wins() -> None:
    definition = protocol(
        Transition(OnStream(StreamChange.ENDED), SeverityAtLeast(ACT), "there"),
        Transition(OnStream(StreamChange.ENDED), None, "closed"),
        Transition(After(60.0), None, "closed"),
    )

    assert step(definition, here(definition, REVIEW), StreamEnded(), 101.0).after.state == "closed"
    assert step(definition, here(definition, ACT), StreamEnded(), 101.0).after.state == "there"


def test_severities_are_remembered_also_when_nothing_else_happens() -> None:
    definition = protocol(Transition(After(60.0), None, "closed"))
    incident = here(definition, ACT)

    both = step(definition, incident, raised(REVIEW, "weapon"), 101.0)
    one = step(definition, both.after, DetectionCleared("fight", NONE), 102.0)

    assert both.reason is one.reason is Reason.NO_TRANSITION
    assert both.after.severities == {"fight": ACT, "weapon": REVIEW}
    assert one.after.severities == {"weapon": REVIEW}
    assert one.after.max_severity is ACT
    assert one.after.sequence == 1


def test_cleared_waits_for_the_last_label() -> None:
    definition = protocol(Transition(OnDetection(NONE), None, "closed"), Transition(After(60.0), None, "closed"))
    incident = step(definition, here(definition), raised(REVIEW, "weapon"), 101.0).after

    first = step(definition, incident, DetectionCleared("fight", NONE), 102.0)
    last = step(definition, first.after, DetectionCleared("weapon", NONE), 103.0)

    assert first.reason is Reason.NO_TRANSITION
    assert last.closed


def test_deadlines_of_a_state_that_was_left_are_gone_and_stale() -> None:
    definition = protocol(
        Transition(OnStream(StreamChange.ENDED), None, "there"), Transition(After(60.0), None, "closed")
    )
    incident = here(definition)

    decision = step(definition, incident, StreamEnded(), 130.0)
    stale = step(definition, decision.after, DeadlinePassed("1:here:1"), 160.0)

    assert decision.after.deadlines == {"2:there:0": 135.0}
    assert stale.reason is Reason.STALE_DEADLINE
    assert stale.after is decision.after


def test_entering_a_state_again_begins_its_deadlines_anew() -> None:
    definition = protocol(
        Transition(OnStream(StreamChange.RETURNED), None, "here"), Transition(After(60.0), None, "closed")
    )

    decision = step(definition, here(definition), StreamReturned(), 150.0)

    assert decision.after.deadlines == {"2:here:1": 210.0}
    assert decision.after.entered_at == 150.0


def test_staying_keeps_deadlines_and_the_time_of_entry() -> None:
    definition = protocol(
        Transition(OnStream(StreamChange.ENDED), None, None, (PRESERVE,)), Transition(After(60.0), None, "closed")
    )

    decision = step(definition, here(definition), StreamEnded(), 150.0)

    assert decision.after.deadlines == {"1:here:1": 160.0}
    assert decision.after.entered_at == 100.0
    assert [request.key for request in decision.effects] == ["2.0.preserve"]


def test_a_deadline_that_stays_happens_once() -> None:
    definition = protocol(Transition(After(30.0), None, None, (PRESERVE,)), Transition(After(60.0), None, "closed"))

    first = step(definition, here(definition), DeadlinePassed("1:here:0"), 130.0)
    again = step(definition, first.after, DeadlinePassed("1:here:0"), 131.0)
    later = step(definition, first.after, StreamEnded(), 132.0)

    assert [request.kind for request in first.effects] == [EffectKind.PRESERVE]
    assert first.after.deadlines == {"1:here:1": 160.0}
    assert again.reason is Reason.STALE_DEADLINE
    assert later.reason is Reason.NO_TRANSITION


def test_a_deadline_whose_guard_is_false_fires_when_it_becomes_true() -> None:
    definition = protocol(
        Transition(After(60.0), SeverityAtLeast(ACT), "there"), Transition(After(600.0), None, "closed")
    )

    passed = step(definition, here(definition, REVIEW), DeadlinePassed("1:here:0"), 160.0)
    unrelated = step(definition, passed.after, StreamEnded(), 170.0)
    risen = step(definition, unrelated.after, raised(ACT), 180.0)

    assert passed.reason is unrelated.reason is Reason.NO_TRANSITION
    assert passed.after.deadlines == {"1:here:1": 700.0}
    assert risen.reason is Reason.DEADLINE_PASSED
    assert risen.after.state == "there"


def test_before_its_deadline_a_rise_changes_nothing() -> None:
    definition = protocol(
        Transition(After(60.0), SeverityAtLeast(ACT), "there"), Transition(After(600.0), None, "closed")
    )

    assert step(definition, here(definition, REVIEW), raised(ACT), 159.0).reason is Reason.NO_TRANSITION


def test_what_just_happened_comes_before_a_deadline_that_is_overdue() -> None:
    definition = protocol(
        Transition(After(60.0), SeverityAtLeast(ACT), "there"),
        Transition(OnDetection(ACT), None, "closed"),
        Transition(After(600.0), None, "closed"),
    )
    passed = step(definition, here(definition, REVIEW), DeadlinePassed("1:here:0"), 160.0)

    assert step(definition, passed.after, raised(ACT), 180.0).after.state == "closed"


@pytest.mark.parametrize("key", ["1:here:0", "1:here:1"])
def test_file_order_decides_between_deadlines_due_at_once(key: str) -> None:
    definition = protocol(
        Transition(After(60.0), SeverityAtLeast(ACT), "there"), Transition(After(60.0), None, "closed")
    )

    assert step(definition, here(definition, ACT), DeadlinePassed(key), 160.0).after.state == "there"
    assert step(definition, here(definition, REVIEW), DeadlinePassed("1:here:1"), 160.0).after.state == "closed"


def test_a_daemon_that_slept_through_two_deadlines_takes_the_earlier_first() -> None:
    definition = protocol(Transition(After(60.0), None, None, (PRESERVE,)), Transition(After(90.0), None, "closed"))

    first = step(definition, here(definition), DeadlinePassed("1:here:1"), 500.0)
    second = step(definition, first.after, DeadlinePassed("1:here:1"), 500.0)

    assert [request.kind for request in first.effects] == [EffectKind.PRESERVE]
    assert first.after.deadlines == {"1:here:1": 190.0}
    assert second.closed


def test_a_closed_incident_stays_as_it_is() -> None:
    definition = protocol(
        Transition(OnStream(StreamChange.ENDED), None, "closed"), Transition(After(60.0), None, "closed")
    )
    closed = step(definition, here(definition), StreamEnded(), 101.0)

    late = step(definition, closed.after, Reviewed(ReviewDecision.DISMISS, "ada", "too late"), 102.0)

    assert closed.closed
    assert closed.after.deadlines == {}
    assert late.reason is Reason.ALREADY_CLOSED
    assert late.closed
    assert late.after is closed.after


def test_a_state_that_the_definition_does_not_have_is_an_error() -> None:
    with pytest.raises(ValueError, match="no state 'elsewhere'"):
        step(protocol(), IncidentState("elsewhere", 0.0), StreamEnded(), 1.0)
