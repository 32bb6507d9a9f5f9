from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.detect.budget import Standing, Tally
from monitor.detect.ladder import LADDER, RUNGS, log_odds_of
from monitor.detect.learning import BEFORE_S, MOST_PER_HOUR, Ending, Key, ThresholdLearning
from monitor.detect.persistence import DetectionRule, LevelRule
from monitor.vocabulary import Severity

REVIEW, ACT = Severity.REVIEW, Severity.ACT
GROUP = ("edge", "*")
KEY = Key(GROUP, "fight", REVIEW)
RULES = {"fight": DetectionRule(LevelRule(0.6, 2, 3), LevelRule(0.9, 2, 3), 0.8, 5.0)}
SETTLED_S = BEFORE_S + 200


def learning(**budgets: float) -> ThresholdLearning:
    return ThresholdLearning(
        RULES, {Severity.from_word(name): rate for name, rate in (budgets or {"review": 0.02}).items()}
    )


def school_tally(per_hour_at_zero: float) -> Tally:
    """1,000 hours in which the rate falls by e for every two thirds of log-odds."""
    rates = per_hour_at_zero * np.exp(-1.5 * (np.arange(RUNGS) * 0.1 - 4))
    return Tally(1000.0, 1000.0 * rates, np.zeros(RUNGS))


def play(
    school: ThresholdLearning, scores: list[float], *, stream: str = "a", at: float = 0.0, every_s: float = 1.0
) -> float:
    for score in scores:
        school.observe(stream, GROUP, at, {"fight": score})
        at += every_s
    return at


def episodes(school: ThresholdLearning, threshold: float = 0.7, key: Key = KEY) -> float:
    school.settle(1e9)
    _, tally = school.states[key]
    return float(tally.episodes[int(np.searchsorted(LADDER, threshold))])


def burst(level: float) -> list[float]:
    return [0.1] * 10 + [level] * 3 + [0.1] * 20


def test_hours_and_detections_are_counted_once_they_lie_back() -> None:
    school = learning()
    at = play(school, burst(0.8))
    school.settle(at)
    assert school.states == {}
    school.settle(at + SETTLED_S)
    standing, tally = school.states[KEY]
    assert tally.hours == pytest.approx(32 / 3600)
    assert standing == Standing(log_odds_of(0.6))
    assert episodes(school) == 1
    assert episodes(school, 0.85) == 0


@pytest.mark.parametrize(
    ("ending", "counted", "doubtful"), [(Ending.ORDINARY, 1, 0), (Ending.ATTACK, 0, 0), (Ending.DOUBTFUL, 0, 1)]
)
def test_an_attack_teaches_nothing_not_even_what_led_to_it(ending: Ending, counted: int, doubtful: int) -> None:
    school = learning()
    at = play(school, [0.1] * int(BEFORE_S * 3))
    at = play(school, [*burst(0.8)], at=at)
    school.opened("a", at)
    at = play(school, burst(0.99) * 3, at=at)
    school.settle(at + SETTLED_S)
    before = school.states[KEY][1]
    rung = int(np.searchsorted(LADDER, 0.7))
    assert before.episodes[rung] == 0
    assert 0 < before.hours < BEFORE_S * 2.3 / 3600
    school.closed("a", ending)
    tally = school.states[KEY][1]
    assert (tally.episodes[rung] > 0, tally.doubtful[rung] > 0) == (bool(counted), bool(doubtful))
    assert (tally.hours > before.hours) == (ending is Ending.ORDINARY)


def test_a_stream_that_comes_with_an_open_incident_is_held_from_its_first_clip() -> None:
    school = learning()
    for at in range(60):
        school.observe("a", GROUP, float(at), {"fight": 0.9}, incident=True)
    school.settle(1e9)
    assert school.states == {}
    school.closed("a", Ending.ATTACK)
    assert school.states == {}


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.sampled_from([0.7, 0.95, 1.0]))
def test_one_stream_teaches_so_much_an_hour_however_loud_it_is(bursts: int, level: float) -> None:
    school = learning()
    play(school, burst(level) * bursts)
    assert episodes(school, 0.65) == min(bursts, MOST_PER_HOUR)


def test_a_gap_is_not_watched_time() -> None:
    school = learning()
    at = play(school, [0.1] * 10)
    play(school, [0.1] * 10, at=at + 3600)
    school.settle(1e9)
    assert school.states[KEY][1].hours == pytest.approx(18 / 3600)


def test_streams_that_are_gone_are_forgotten_once_they_have_taught() -> None:
    school = learning()
    at = play(school, burst(0.8))
    school.gone("a")
    school.settle(at)
    assert len(school._streams) == 1
    school.settle(at + SETTLED_S)
    assert school._streams == {}
    assert episodes(school) == 1


def test_thresholds_come_into_force_for_their_group_alone_and_act_never_falls_below_review() -> None:
    school = learning()
    school.restore(KEY, Standing(0.4), school_tally(2.0), 1000.0)
    (change,) = school.reckon(1000.0)
    assert change.before.first is None
    assert change.after.first == change.after.log_odds
    rule = school.rules_for(GROUP)["fight"]
    assert rule.review.threshold == pytest.approx(change.after.threshold)
    assert rule.act.threshold == max(0.9, rule.review.threshold) > 0.9
    assert school.rules_for(("edge", "other")) == RULES


def test_after_a_fall_counting_begins_anew() -> None:
    school = learning()
    school.restore(KEY, Standing(log_odds_of(0.6)), school_tally(1e-6), 1000.0)
    (change,) = school.reckon(1000.0)
    assert change.after.log_odds == pytest.approx(log_odds_of(0.6) - 0.25)
    assert change.hours == 1000
    standing, tally = school.states[KEY]
    assert standing == change.after
    assert (tally.hours, tally.episodes.sum()) == (0, 0)
    assert school.reckon(2000.0) == []


def test_a_restart_goes_on_where_it_stopped_and_forgets_what_is_not_asked_for() -> None:
    first = learning()
    first.restore(KEY, Standing(0.4), school_tally(1.0), 0.0)
    first.reckon(0.0)
    second = learning()
    for key, (standing, tally) in first.states.items():
        second.restore(key, standing, tally, 0.0)
    assert second.rules_for(GROUP) == first.rules_for(GROUP)
    assert second.reckon(10.0) == []
    other = learning(act=0.001)
    other.restore(KEY, *first.states[KEY], 0.0)
    assert other.rules_for(GROUP) == RULES
