from __future__ import annotations

import pytest

from monitor.errors import ProblemsError
from monitor.protocol.events import DetectionCleared, DetectionRaised, Reviewed, StreamEnded, ViewersChanged
from monitor.protocol.script import EVENTS, PlannedOutcome, Script, TimedEvent, load_script
from monitor.protocol.simulation import Moment, simulate
from monitor.vocabulary import EffectKind, EffectOutcome, ReviewDecision, ReviewReason, Severity
from tests.fakes.protocols import shipped


def played(name: str, *events: TimedEvent, **more: object) -> list[Moment]:
    return list(simulate(shipped()[name], Script(events, **more)))  # type: ignore[arg-type] # the fields of Script


def states(moments: list[Moment]) -> list[tuple[float, str]]:
    return [(moment.at_s, moment.after) for moment in moments if moment.before != moment.after]


ATTACK = TimedEvent(10.0, DetectionRaised("violence", Severity.ACT, 0.9))


def test_a_script_says_what_happens_and_how_effects_end() -> None:
    script = load_script(
        """
summary: An evening.
viewers: 12
until: 1h
outcomes:
  cut: [failed, {outcome: unverified, after: 3s}]
  hold: never
events:
  - {at: 0s, detection: act, label: fight, score: 1}
  - {at: 5s, detection: eased, label: fight}
  - {at: 1m, review: dismiss, by: ada, why: a film, reason: staged_or_game}
  - {at: 1m, stream: ended}
  - {at: 2m, viewers: 900}
""",
        "evening.yaml",
    )

    assert script == Script(
        (
            TimedEvent(0.0, DetectionRaised("fight", Severity.ACT, 1.0)),
            TimedEvent(5.0, DetectionCleared("fight", Severity.REVIEW)),
            TimedEvent(60.0, Reviewed(ReviewDecision.DISMISS, "ada", "a film", ReviewReason.STAGED_OR_GAME)),
            TimedEvent(60.0, StreamEnded()),
            TimedEvent(120.0, ViewersChanged(900)),
        ),
        {
            EffectKind.CUT: (PlannedOutcome(EffectOutcome.FAILED), PlannedOutcome(EffectOutcome.UNVERIFIED, 3.0)),
            EffectKind.HOLD: (PlannedOutcome(None),),
        },
        "An evening.",
        viewers=12,
        until_s=3600.0,
    )


def test_every_mistake_of_a_script_is_told_with_its_line() -> None:
    text = """summary: s
viewer: 3
outcomes:
  cutt: failed
  cut: [failed, perhaps]
events:
  - {at: 5s, detection: atc}
  - {at: 4x, review: confirm}
  - {review: confirm}
  - {at: 9s, detection: act, score: 2}
  - {at: 8s, detection: act, stream: ended}
  - {at: 8s, strem: ended}
  - {at: 9s, viewers: many}
  - {at: 1s, stream: ended, by: ada}
  - {at: 2s, stream: ended}
  - {at: 1s, stream: ended}
"""
    with pytest.raises(ProblemsError) as caught:
        load_script(text, "s.yaml")

    assert [str(problem) for problem in caught.value.problems] == [
        "s.yaml:2: viewer: unknown key 'viewer': did you mean 'viewers'?",
        "s.yaml:4: outcomes.cutt: unknown key 'cutt': did you mean 'cut'?",
        "s.yaml:5: outcomes.cut[1]: unknown word 'perhaps': use one of: succeeded, failed, unverified, unsupported, never",
        "s.yaml:7: events[0].detection: unknown word 'atc': did you mean 'act'?",
        "s.yaml:8: events[1].at: '4x' is no duration: write a number and its unit, such as 5s",
        "s.yaml:9: events[2]: it is not said when this happens: add at: 5s",
        "s.yaml:10: events[3].score: this is no score: write a number from 0 to 1",
        f"s.yaml:11: events[4]: an event needs exactly one thing that happens: use exactly one of: {', '.join(EVENTS)}",
        "s.yaml:12: events[5]: an event needs exactly one thing that happens: did you mean 'stream'?",
        "s.yaml:13: events[6].viewers: this is no whole number from 0: write one, without quotes",
        "s.yaml:14: events[7].by: unknown key 'by': use one of: at, stream",
        "s.yaml:16: events[9]: this happens before what stands above it: put events in order of time",
    ]


@pytest.mark.parametrize("text", ["", "events: []", "- a", "events: {at: 5s}"])
def test_what_is_no_script_is_refused(text: str) -> None:
    with pytest.raises(ProblemsError, match="this is no script"):
        load_script(text, "s.yaml")


def test_deadlines_fire_by_themselves_and_effects_succeed() -> None:
    moments = played("immediate", ATTACK)

    assert states(moments) == [
        (10.0, "containing"),
        (10.5, "contained"),
        (10.5 + 86_400, "releasing"),
        (11.0 + 86_400, "released"),
    ]
    assert moments[-1].closed
    assert [moment.after for moment in moments if moment.at_s == 10.5 + 1800] == ["contained"], (
        "a reminder, which stays"
    )


def test_effects_end_as_planned_one_request_after_the_other() -> None:
    outcomes = {EffectKind.CUT: (PlannedOutcome(EffectOutcome.FAILED, 2.0), PlannedOutcome(None))}

    moments = played("immediate", ATTACK, outcomes=outcomes, until_s=600.0)

    assert states(moments) == [
        (10.0, "containing"),
        (12.0, "cut_failed"),
        (312.0, "containing"),
        (432.0, "cut_failed"),
    ]


def test_what_happens_at_a_deadlines_moment_goes_first() -> None:
    dismissal = TimedEvent(70.0, Reviewed(ReviewDecision.DISMISS, "ada", ""))

    assert states(played("assisted", ATTACK, dismissal))[:2] == [(10.0, "urgent"), (70.0, "dismissed")]


def test_after_an_incident_the_next_one_begins_and_old_outcomes_are_nobodys() -> None:
    outcomes = {EffectKind.PRESERVE: (PlannedOutcome(EffectOutcome.FAILED, 30.0),)}
    dismissal = TimedEvent(20.0, Reviewed(ReviewDecision.DISMISS, "ada", ""))
    ended = TimedEvent(25.0, StreamEnded())
    again = TimedEvent(35.0, DetectionRaised("violence", Severity.REVIEW, 0.7))

    moments = played("assisted", ATTACK, dismissal, ended, again, outcomes=outcomes, until_s=60.0)

    assert [(moment.at_s, moment.incident) for moment in moments if moment.transitioned] == [(10, 1), (20, 1), (35, 2)]
    assert [moment.incident for moment in moments if moment.at_s == 25.0] == [0]
    assert 40.0 not in [moment.at_s for moment in moments], "the first incident's evidence is no news to the second"
