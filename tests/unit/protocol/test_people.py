"""Two people for one decision: who counts, who does not, and what needs only one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monitor.errors import ProtocolDefinitionError
from monitor.protocol.decision import IncidentState, Reason
from monitor.protocol.definition import Definition, Effect, OnReview, State, Transition
from monitor.protocol.events import Reviewed
from monitor.protocol.loading import load_definitions
from monitor.protocol.step import step
from monitor.shipped import protocols_dir
from monitor.vocabulary import EffectKind, Posture, ReviewDecision

CONFIRM, DISMISS, ESCALATE = ReviewDecision.CONFIRM, ReviewDecision.DISMISS, ReviewDecision.ESCALATE

ASKING = Definition(
    "asking",
    1,
    "",
    "asked",
    {
        "asked": State(
            Posture.CLOSE,
            transitions=(
                Transition(OnReview(CONFIRM), None, "again", (Effect(EffectKind.CUT),)),
                Transition(OnReview(ESCALATE), None, "asked", (Effect(EffectKind.REQUEST_REVIEW, {"within_s": 9.0}),)),
                Transition(OnReview(DISMISS), None, "over"),
            ),
        ),
        "again": State(
            Posture.CLOSE,
            enter=(Effect(EffectKind.REQUEST_REVIEW, {"within_s": 9.0, "people": 3}),),
            transitions=(Transition(OnReview(CONFIRM), None, "over"),),
        ),
        "over": State(Posture.CALM, final=True),
    },
)


def asked(people: int = 2, state: str = "asked") -> IncidentState:
    return IncidentState(state, 0.0, people=people)


def confirmed(incident: IncidentState, *names: str) -> list[Reason]:
    reasons = []
    for name in names:
        decision = step(ASKING, incident, Reviewed(CONFIRM, name, "seen"), 1.0)
        reasons.append(decision.reason)
        incident = decision.after
    return reasons


def test_the_first_of_two_is_noted_and_the_second_counts() -> None:
    first = step(ASKING, asked(), Reviewed(CONFIRM, "ada", "seen"), 1.0)
    assert (first.reason, first.after.state, first.effects, first.transitioned) == (
        Reason.REVIEW_NOTED,
        "asked",
        (),
        False,
    )
    assert first.after.confirmed_by == ("ada",)
    second = step(ASKING, first.after, Reviewed(CONFIRM, "bob", "seen"), 2.0)
    assert second.reason is Reason.REVIEW_CONFIRMED
    assert [effect.kind for effect in second.effects] == [EffectKind.CUT, EffectKind.REQUEST_REVIEW]
    assert (second.after.confirmed_by, second.after.people) == ((), 3)


@pytest.mark.parametrize(
    "again", ["ada", "ADA", " ada ", "ada via root", "ada via phone", "eve via ada", "someone via Ada via root"]
)
def test_nobody_counts_twice_by_whatever_name(again: str) -> None:
    assert confirmed(asked(), "ada", again, "bob") == [
        Reason.REVIEW_NOTED,
        Reason.REVIEW_REPEATED,
        Reason.REVIEW_CONFIRMED,
    ]


def test_an_admin_is_not_two_people_by_writing_two_names() -> None:
    names = ("ada via root", "bob via root", "root", "cleo via desk")
    assert confirmed(asked(), *names) == [
        Reason.REVIEW_NOTED,
        Reason.REVIEW_REPEATED,
        Reason.REVIEW_REPEATED,
        Reason.REVIEW_CONFIRMED,
    ]


def test_three_people_are_three() -> None:
    assert confirmed(asked(3), "ada", "bob", "cleo") == [
        Reason.REVIEW_NOTED,
        Reason.REVIEW_NOTED,
        Reason.REVIEW_CONFIRMED,
    ]


def test_one_person_dismisses_and_escalates() -> None:
    first = step(ASKING, asked(), Reviewed(CONFIRM, "ada", "seen"), 1.0)
    dismissed = step(ASKING, first.after, Reviewed(DISMISS, "bob", "a game"), 2.0)
    assert (dismissed.reason, dismissed.after.state) == (Reason.REVIEW_DISMISSED, "over")
    escalated = step(ASKING, first.after, Reviewed(ESCALATE, "ada", "not sure"), 2.0)
    assert escalated.reason is Reason.REVIEW_ESCALATED
    assert (escalated.after.confirmed_by, escalated.after.people) == ((), 1), "a new request asks anew"


def test_a_confirmation_that_nothing_waits_for_is_not_noted() -> None:
    waiting = replace(ASKING.states["asked"], transitions=(Transition(OnReview(DISMISS), None, "over"),))
    deaf = replace(ASKING, states={**ASKING.states, "asked": waiting})
    assert step(deaf, asked(), Reviewed(CONFIRM, "ada", "seen"), 1.0).reason is Reason.NO_TRANSITION


def test_a_file_may_ask_for_several_people_and_not_for_none() -> None:
    text = (protocols_dir() / "assisted.yaml").read_bytes()
    before = b"request_review: {within: 10m}"
    assert before in text
    found = load_definitions({"assisted.yaml": text.replace(before, b"request_review: {within: 10m, people: 2}")})
    requests = [effect for effect in found["assisted"].states["under_review"].enter if "people" in effect.parameters]
    assert [effect.parameters["people"] for effect in requests] == [2]
    for wrong in (b"0", b"6", b"two", b"1.5", b"true"):
        with pytest.raises(ProtocolDefinitionError, match="no number of people"):
            load_definitions(
                {"assisted.yaml": text.replace(before, b"request_review: {within: 10m, people: " + wrong + b"}")}
            )
    assert Definition.from_json(found["assisted"].to_json()) == found["assisted"]
