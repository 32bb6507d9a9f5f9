"""Protocol definitions for tests: the shipped ones, and strategies for others that pass every check."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from monitor.incidents.library import load_protocols
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
from monitor.shipped import protocols_dir
from monitor.vocabulary import (
    EffectKind,
    EffectOutcome,
    Freshness,
    PartnerSignal,
    Posture,
    ReviewDecision,
    Severity,
)

LABELS = ("fight", "weapon")
ALL_OUTCOMES = (EffectOutcome.SUCCEEDED, EffectOutcome.FAILED, EffectOutcome.UNVERIFIED)
ANSWERED = (EffectKind.PRESERVE, EffectKind.ALERT, EffectKind.BLOCK, EffectKind.CUT, EffectKind.HOLD)
CATEGORIES = ("violence", "self-harm")
CROWDS = (10, 1000)
SEVERITIES = (Severity.REVIEW, Severity.ACT)


@cache
def shipped() -> dict[str, Definition]:
    return load_protocols(protocols_dir())


def alert(event: str = "updated", priority: str = "normal") -> Effect:
    return Effect(EffectKind.ALERT, {"event": event, "priority": priority})


GUARDS: st.SearchStrategy[Guard] = st.recursive(
    st.builds(SeverityAtLeast, st.sampled_from(SEVERITIES))
    | st.builds(MaxSeverityAtLeast, st.sampled_from(SEVERITIES))
    | st.builds(LabelDetected, st.sampled_from(LABELS))
    | st.builds(StrikesAtLeast, st.integers(1, 3))
    | st.builds(ViewersAtLeast, st.sampled_from(CROWDS))
    | st.builds(ReportsAtLeast, st.integers(1, 3)),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(AllOf, st.lists(inner, min_size=1, max_size=2).map(tuple))
        | st.builds(AnyOf, st.lists(inner, min_size=1, max_size=2).map(tuple))
    ),
    max_leaves=3,
)

EFFECTS: st.SearchStrategy[Effect] = st.sampled_from(
    [
        Effect(EffectKind.PRESERVE),
        alert(),
        Effect(EffectKind.REQUEST_REVIEW, {"within_s": 1.0}),
        Effect(EffectKind.BLOCK, {"for_s": 60.0}),
        Effect(EffectKind.CUT),
        Effect(EffectKind.HOLD),
    ]
)

TRIGGERS: st.SearchStrategy[Trigger] = (
    st.builds(OnDetection, st.sampled_from(Severity), st.sampled_from([None, *LABELS]))
    | st.builds(OnEased, st.sampled_from([None, *LABELS]))
    | st.builds(OnReport, st.sampled_from([None, *CATEGORIES]))
    | st.builds(OnPartner, st.sampled_from(PartnerSignal))
    | st.builds(OnKnownContent, st.sampled_from([None, "ours"]))
    | st.builds(OnViewers, st.sampled_from(CROWDS))
    | st.builds(OnStrikes, st.integers(1, 3))
    | st.builds(OnReview, st.sampled_from(ReviewDecision))
    | st.builds(
        OnEffect,
        st.sampled_from(ANSWERED),
        st.lists(st.sampled_from(ALL_OUTCOMES), min_size=1, unique=True).map(tuple),
        late=st.booleans(),
    )
    | st.builds(OnStream, st.sampled_from(StreamChange))
    | st.builds(OnWatched, st.sampled_from(Freshness))
    | st.builds(After, st.floats(6, 100))
)


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    """Definitions with up to five working states, guarded transitions between them and a safe way out of each."""
    middle = [f"s{number}" for number in range(draw(st.integers(1, 5)))]
    everything = (alert("raised"), Effect(EffectKind.PRESERVE), Effect(EffectKind.BLOCK, {"for_s": 60.0}))
    states = {
        "calm": State(
            Posture.CALM,
            transitions=(Transition(OnDetection(Severity.REVIEW), None, "s0", (*everything, Effect(EffectKind.CUT))),),
        )
    }
    for number, name in enumerate(middle):
        later = middle[number + 1] if number + 1 < len(middle) else "closed"
        targets = st.sampled_from([*middle, "closed"])
        guarded = draw(st.lists(st.tuples(TRIGGERS, GUARDS), max_size=4, unique_by=str))
        transitions = [
            Transition(trigger, guard, draw(targets), draw(st.lists(EFFECTS, max_size=2).map(tuple)))
            if isinstance(trigger, After) or draw(st.booleans())
            else Transition(trigger, guard, None, (draw(EFFECTS),))
            for trigger, guard in guarded
        ]
        transitions += [
            Transition(OnReview(ReviewDecision.CONFIRM), None, draw(targets)),
            Transition(OnReview(ReviewDecision.DISMISS), None, "releasing"),
            Transition(OnEffect(EffectKind.CUT, ALL_OUTCOMES), None, None, (Effect(EffectKind.PRESERVE),)),
            Transition(OnEffect(EffectKind.HOLD, tuple(EffectOutcome)), None, None, (Effect(EffectKind.PRESERVE),)),
            Transition(After(50.0), None, None, (alert(),)),
            Transition(After(100.0), None, later),
        ]
        enter = draw(st.lists(EFFECTS, max_size=2).map(tuple))
        states[name] = State(draw(st.sampled_from(Posture)), enter=enter, transitions=tuple(transitions))
    states["releasing"] = State(
        Posture.CALM,
        enter=(Effect(EffectKind.UNBLOCK), Effect(EffectKind.RELEASE)),
        transitions=(
            Transition(OnEffect(EffectKind.UNBLOCK, ALL_OUTCOMES), None, None, (Effect(EffectKind.PRESERVE),)),
            Transition(OnEffect(EffectKind.RELEASE, ALL_OUTCOMES), None, "closed"),
            Transition(After(60.0), None, "closed"),
        ),
    )
    states["closed"] = State(Posture.CALM, final=True, enter=(alert("closed"),))
    definition = Definition("generated", 1, "Generated.", "calm", states)
    return _asking_nothing_of_final_states(definition)


def _asking_nothing_of_final_states(definition: Definition) -> Definition:
    """A transition into a final state may not ask for what only a later state could answer."""

    def mended(transition: Transition) -> Transition:
        if transition.to != "closed":
            return transition
        kept = tuple(e for e in transition.effects if e.kind in (EffectKind.PRESERVE, EffectKind.ALERT))
        return Transition(transition.trigger, transition.guard, transition.to, kept)

    states = {
        name: State(state.posture, state.final, state.enter, tuple(mended(t) for t in state.transitions), state.summary)
        for name, state in definition.states.items()
    }
    return Definition(definition.name, definition.version, definition.summary, definition.initial, states)


EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(DetectionRaised, st.sampled_from(LABELS), st.sampled_from(SEVERITIES), st.floats(0, 1)),
    st.builds(DetectionCleared, st.sampled_from(LABELS), st.sampled_from([Severity.NONE, Severity.REVIEW])),
    st.builds(Reviewed, st.sampled_from(ReviewDecision), st.just("ada"), st.just("")),
    st.builds(EffectFinished, st.just("1.0.cut"), st.sampled_from(EffectKind), st.sampled_from(EffectOutcome)),
    st.just(StreamEnded()),
    st.just(StreamReturned()),
    st.builds(WatchChanged, st.sampled_from(Freshness)),
    st.builds(UserReported, st.sampled_from(CATEGORIES)),
    st.builds(PartnerAlerted, st.just("acme"), st.sampled_from(PartnerSignal)),
    st.builds(KnownContentMatched, st.just("ours")),
    st.builds(ViewersChanged, st.integers(0, 2000)),
    st.builds(StrikesChanged, st.integers(0, 4)),
)
