"""The shipped protocols, played through: what an operator relies on when they choose one."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from monitor.protocol.binding import bound
from monitor.protocol.checks import findings
from monitor.protocol.decision import Decision, EffectRequest, IncidentState
from monitor.protocol.definition import Definition, OnReview
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
    UserReported,
    ViewersChanged,
    WatchChanged,
)
from monitor.protocol.step import step
from monitor.vocabulary import EffectKind, EffectOutcome, Freshness, PartnerSignal, Posture, ReviewDecision, Severity
from tests.fakes.protocols import shipped

DAY_S = 86400.0
CONFIRM = Reviewed(ReviewDecision.CONFIRM, "ada", "seen")
DISMISS = Reviewed(ReviewDecision.DISMISS, "ada", "a film")
ACT = DetectionRaised("fight", Severity.ACT, 0.95)
REVIEW = DetectionRaised("fight", Severity.REVIEW, 0.7)
CLEARED = DetectionCleared("fight", Severity.NONE)

Outcome = Callable[[EffectRequest], EffectOutcome | None]


def all_done(request: EffectRequest) -> EffectOutcome | None:
    return EffectOutcome.SUCCEEDED


def nothing_ends(request: EffectRequest) -> EffectOutcome | None:
    return None


def cut_fails(request: EffectRequest) -> EffectOutcome | None:
    return EffectOutcome.FAILED if request.kind is EffectKind.CUT else EffectOutcome.SUCCEEDED


@dataclass
class Play:
    """An incident whose effects end at once, as `outcome` says, and whose deadlines fire on time."""

    definition: Definition
    outcome: Outcome = all_done
    now: float = 0.0
    incident: IncidentState | None = None
    decisions: list[Decision] = field(default_factory=list)
    effects: list[tuple[float, EffectRequest]] = field(default_factory=list)

    def happens(self, *events: Event) -> Play:
        waiting = deque(events)
        while waiting:
            decision = step(self.definition, self.incident, waiting.popleft(), self.now)
            self.incident = decision.after
            self.decisions.append(decision)
            for request in decision.effects:
                self.effects.append((self.now, request))
                if (outcome := self.outcome(request)) is not None:
                    waiting.append(EffectFinished(request.key, request.kind, outcome))
        return self

    def wait(self, delay_s: float) -> Play:
        until = self.now + delay_s
        while self.incident is not None and self.incident.deadlines:
            key, due = min(self.incident.deadlines.items(), key=lambda item: item[1])
            if due > until:
                break
            self.now = due
            self.happens(DeadlinePassed(key))
        self.now = until
        return self

    @property
    def state(self) -> str:
        assert self.incident is not None
        return self.incident.state

    @property
    def closed(self) -> bool:
        return self.decisions[-1].closed

    def kinds(self) -> list[str]:
        """What was asked for, alerts by their event, in order."""
        return [str(request.parameters.get("event", request.kind.value)) for _, request in self.effects]

    def times_of(self, word: str) -> list[float]:
        return [at for (at, _), kind in zip(self.effects, self.kinds(), strict=True) if kind == word]

    def priorities_of(self, event: str) -> list[object]:
        return [r.parameters["priority"] for _, r in self.effects if r.parameters.get("event") == event]


def play(name: str, outcome: Outcome = all_done, *, can_hold: bool = False) -> Play:
    return Play(bound(shipped()[name], can_hold=can_hold), outcome)


def given_back(run: Play) -> list[str]:
    """The last things that were done, but for showing again what was never held."""
    return [kind for kind in run.kinds() if kind != "release"][-3:]


@pytest.mark.parametrize("name", ["observe", "assisted", "immediate"])
def test_shipped_protocols_pass_their_checks(name: str) -> None:
    assert findings(shipped()[name]) == []
    assert shipped()[name].summary


def test_only_these_are_shipped() -> None:
    assert sorted(shipped()) == ["assisted", "immediate", "observe"]


@pytest.mark.parametrize("name", ["assisted", "immediate"])
def test_a_person_can_dismiss_wherever_somebody_may_be_shut_out(name: str) -> None:
    for state_name, state in shipped()[name].states.items():
        dismissable = any(t.trigger == OnReview(ReviewDecision.DISMISS) and t.guard is None for t in state.transitions)
        over = state.final or state_name in ("calm", "releasing", "showing", "release_failed")
        assert dismissable is not over, state_name


@pytest.mark.parametrize(
    ("name", "outcome", "state"),
    [
        ("observe", nothing_ends, "grave"),
        ("assisted", nothing_ends, "urgent"),
        ("immediate", cut_fails, "cut_failed"),
    ],
)
def test_people_are_told_when_a_stream_at_act_is_not_seen_any_more(name: str, outcome: Outcome, state: str) -> None:
    run = play(name, outcome).happens(ACT)
    assert run.state == state
    before = len(run.effects)

    run.happens(WatchChanged(Freshness.LATE))
    assert len(run.effects) == before
    run.happens(WatchChanged(Freshness.BLIND))

    assert run.state == state
    assert [request.parameters for _, request in run.effects[before:]] == [{"event": "updated", "priority": "crisis"}]


@pytest.mark.parametrize("name", ["observe", "assisted", "immediate"])
def test_nobody_is_woken_for_a_stream_that_is_not_seen_and_was_not_grave(name: str) -> None:
    run = play(name, nothing_ends).happens(REVIEW)
    before = len(run.effects)
    assert len(run.happens(WatchChanged(Freshness.BLIND)).effects) == before


# ---- immediate -------------------------------------------------------------------------------------------------------


def test_immediate_contains_at_once_and_says_so_when_it_is_verified() -> None:
    run = play("immediate").happens(ACT)

    assert run.state == "contained"
    assert run.kinds() == ["raised", "preserve", "block", "cut", "contained", "preserve", "request_review"]
    assert run.priorities_of("raised") == ["crisis"]
    assert run.effects[2][1].parameters == {"for_s": 30 * DAY_S}


def test_immediate_only_asks_at_review() -> None:
    run = play("immediate").happens(REVIEW)

    assert run.state == "under_review"
    assert run.kinds() == ["raised", "preserve", "request_review"]


def test_immediate_confirmed_closes_with_the_block_in_force() -> None:
    run = play("immediate").happens(ACT, CONFIRM)

    assert run.closed
    assert "unblock" not in run.kinds()
    assert run.kinds()[-1] == "closed"


@pytest.mark.parametrize("name", ["assisted", "immediate"])
def test_confirmed_while_the_cut_runs_asks_nobody_again(name: str) -> None:
    run = play(name, nothing_ends).happens(ACT).wait(60)
    assert run.state == "containing"
    cut = next(request for _, request in run.effects if request.kind is EffectKind.CUT)
    asked = run.kinds().count("request_review")

    run.happens(CONFIRM, EffectFinished(cut.key, cut.kind, EffectOutcome.SUCCEEDED))

    assert run.kinds().count("request_review") == asked
    assert run.kinds().count("cut") == 1
    assert run.kinds().count("contained") == 1


@pytest.mark.parametrize("name", ["assisted", "immediate"])
def test_a_stream_that_is_dismissed_after_its_cut_is_given_back(name: str) -> None:
    run = play(name).happens(ACT).wait(60)
    assert run.state == "contained"

    run.happens(DISMISS)

    assert run.closed
    assert given_back(run) == ["dismissed", "unblock", "released"]


@pytest.mark.parametrize("name", ["assisted", "immediate"])
def test_what_nobody_confirms_in_a_day_is_given_back(name: str) -> None:
    run = play(name).happens(ACT).wait(60 + 30 * 60)
    assert run.kinds()[-1] == "updated"  # the reminder
    assert run.state == "contained"

    run.wait(DAY_S)

    assert run.closed
    assert given_back(run)[-2:] == ["unblock", "released"]


@pytest.mark.parametrize("name", ["assisted", "immediate"])
def test_an_encoder_that_returns_is_cut_again(name: str) -> None:
    run = play(name).happens(ACT).wait(60).happens(StreamEnded(), StreamReturned())

    assert run.state == "contained"
    assert run.kinds().count("cut") == 2
    assert run.kinds().count("contained") == 2


@pytest.mark.parametrize("name", ["assisted", "immediate"])
@pytest.mark.parametrize("outcome", [EffectOutcome.FAILED, EffectOutcome.UNVERIFIED, None])
def test_a_cut_that_is_not_verified_wakes_people_and_is_tried_again(name: str, outcome: EffectOutcome | None) -> None:
    run = play(name, lambda request: outcome if request.kind is EffectKind.CUT else EffectOutcome.SUCCEEDED)
    run.happens(ACT).wait(60 + 3600)

    cuts = run.times_of("cut")
    asked = run.times_of("request_review")
    assert len(cuts) >= 5
    assert all(later - earlier <= 8 * 60 for earlier, later in itertools.pairwise(cuts))
    assert all(any(cut <= at <= cut + 120 for at in asked) for cut in cuts[:-1])
    assert set(run.priorities_of("updated")) == {"crisis"}
    assert "contained" not in run.kinds()


@pytest.mark.parametrize("name", ["assisted", "immediate"])
def test_a_cut_that_failed_while_the_attack_ended_takes_the_block_back(name: str) -> None:
    run = play(name, lambda request: None if request.kind is EffectKind.CUT else EffectOutcome.SUCCEEDED)
    run.happens(ACT).wait(60).happens(CLEARED).wait(DAY_S)

    assert run.closed
    assert run.kinds().count("cut") == 1
    assert given_back(run)[-2:] == ["unblock", "released"]


@pytest.mark.parametrize("name", ["assisted", "immediate"])
def test_a_block_that_failed_wakes_people(name: str) -> None:
    run = play(
        name, lambda request: EffectOutcome.FAILED if request.kind is EffectKind.BLOCK else EffectOutcome.SUCCEEDED
    )
    run.happens(ACT).wait(60)

    assert run.priorities_of("updated") == ["crisis"]
    assert run.state == "contained"


@pytest.mark.parametrize("name", ["assisted", "immediate"])
def test_a_block_that_cannot_be_lifted_wakes_people_until_it_is(name: str) -> None:
    stubborn = 3

    def outcome(request: EffectRequest) -> EffectOutcome | None:
        nonlocal stubborn
        if request.kind is EffectKind.UNBLOCK:
            stubborn -= 1
            return EffectOutcome.SUCCEEDED if stubborn == 0 else EffectOutcome.FAILED
        return EffectOutcome.SUCCEEDED

    run = play(name, outcome).happens(ACT).wait(60).happens(DISMISS)
    assert run.state == "release_failed"
    run.wait(600)

    assert run.closed
    assert run.priorities_of("updated") == ["crisis", "crisis"]
    assert run.kinds().count("released") == 1


# ---- assisted --------------------------------------------------------------------------------------------------------


def test_assisted_gives_people_a_minute_and_then_contains() -> None:
    run = play("assisted", can_hold=True).happens(ACT)
    assert run.kinds() == ["raised", "preserve", "request_review"]
    assert run.effects[-1][1].parameters == {"within_s": 60.0}
    assert run.decisions[0].posture is Posture.FULL

    run.wait(59)
    assert "cut" not in run.kinds()
    run.wait(1)

    assert run.kinds()[3:] == ["hold", "contained", "preserve", "request_review"]
    assert run.state == "held"
    run.wait(5 * 60)

    assert run.state == "contained"
    assert run.kinds()[7:] == ["updated", "block", "cut", "contained", "preserve", "request_review"]


@pytest.mark.parametrize("outcome", [EffectOutcome.UNSUPPORTED, EffectOutcome.FAILED, EffectOutcome.UNVERIFIED, None])
def test_assisted_cuts_at_once_what_cannot_be_held(outcome: EffectOutcome | None) -> None:
    run = play(
        "assisted",
        lambda request: outcome if request.kind is EffectKind.HOLD else EffectOutcome.SUCCEEDED,
        can_hold=True,
    )
    run.happens(ACT).wait(60 + 20)

    assert run.state == "contained"
    assert run.kinds()[3:] == ["hold", "block", "cut", "contained", "preserve", "request_review"]


@pytest.mark.parametrize("decision", [ReviewDecision.DISMISS, ReviewDecision.RELEASE])
def test_assisted_shows_a_held_stream_again(decision: ReviewDecision) -> None:
    run = play("assisted", can_hold=True).happens(ACT).wait(60).happens(Reviewed(decision, "ada", "a film"))

    assert run.closed
    assert run.kinds()[-3:] == ["unblock", "release", "released"]
    assert "cut" not in run.kinds()


def test_assisted_looks_at_once_at_what_others_noticed_and_cuts_nothing_for_it() -> None:
    for event in (UserReported("spam"), PartnerAlerted("acme", PartnerSignal.RAISED), KnownContentMatched("ours")):
        run = play("assisted").happens(event)
        assert run.state == "under_review"
        run.wait(2 * DAY_S)
        assert run.closed
        assert {"hold", "cut", "block"}.isdisjoint(run.kinds())


def test_assisted_wakes_people_when_a_crowd_watches_something_suspicious() -> None:
    run = play("assisted").happens(REVIEW, ViewersChanged(999))
    assert "updated" not in run.kinds()

    assert run.happens(ViewersChanged(1000)).priorities_of("updated") == ["crisis"]


def test_assisted_never_contains_below_act() -> None:
    run = play("assisted").happens(REVIEW).wait(2 * DAY_S)

    assert run.closed
    assert "cut" not in run.kinds()
    assert run.kinds().count("updated") == 1


def test_assisted_contains_when_act_comes_back_after_the_minute() -> None:
    run = play("assisted").happens(ACT).wait(30).happens(DetectionCleared("fight", Severity.REVIEW)).wait(90)
    assert run.state == "urgent"

    run.happens(ACT)

    assert run.state == "contained"


def test_assisted_leaves_alone_what_became_quiet() -> None:
    run = play("assisted").happens(ACT).wait(30).happens(CLEARED).wait(DAY_S)

    assert run.closed
    assert "cut" not in run.kinds()


@pytest.mark.parametrize("first", [REVIEW, ACT])
def test_assisted_confirmed_cuts_now_and_keeps_the_door_for_a_day(first: Event) -> None:
    run = play("assisted").happens(first, CONFIRM)
    assert run.state == "upheld"
    assert run.kinds()[-3:] == ["block", "cut", "contained"]

    run.wait(3600).happens(StreamReturned())
    assert run.state == "upheld"
    assert run.kinds().count("cut") == 2
    run.wait(DAY_S)

    assert run.closed
    assert "unblock" not in run.kinds()
    assert run.kinds().count("request_review") == 1


def test_assisted_confirmed_can_be_taken_back() -> None:
    run = play("assisted").happens(ACT, CONFIRM).wait(3600).happens(DISMISS)

    assert run.closed
    assert given_back(run) == ["dismissed", "unblock", "released"]


@pytest.mark.parametrize("name", ["assisted", "immediate"])
def test_dismissed_before_any_cut_only_withdraws(name: str) -> None:
    run = play(name).happens(REVIEW, DISMISS)

    assert run.closed
    assert run.kinds() == ["raised", "preserve", "request_review", "dismissed"]


# ---- observe ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [REVIEW, ACT])
def test_observe_tells_and_keeps_and_asks(first: Event) -> None:
    run = play("observe").happens(first)

    assert run.kinds() == ["raised", "preserve", "request_review"]
    assert run.priorities_of("raised") == ["crisis" if first is ACT else "normal"]


def test_observe_says_when_it_becomes_graver() -> None:
    run = play("observe").happens(REVIEW, ACT)

    assert run.state == "grave"
    assert run.priorities_of("updated") == ["crisis"]


def test_observe_withdraws_what_was_a_mistake() -> None:
    assert play("observe").happens(REVIEW, DISMISS).kinds()[-1] == "dismissed"


# ---- all -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["observe", "assisted", "immediate"])
@pytest.mark.parametrize("first", [REVIEW, ACT])
@pytest.mark.parametrize("then", [(), (StreamEnded(),), (CLEARED,), (CONFIRM,), (DISMISS,), (CONFIRM, StreamEnded())])
def test_an_incident_that_everybody_forgets_ends_within_two_days(
    name: str, first: Event, then: tuple[Event, ...]
) -> None:
    run = play(name).happens(first, *then).wait(2.5 * DAY_S)

    assert run.closed
    assert len(run.kinds()) < 25
    assert len(run.decisions) < 40
