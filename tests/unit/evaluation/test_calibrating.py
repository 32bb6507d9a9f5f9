from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detect.budget import Tally
from monitor.detect.ladder import RUNGS
from monitor.detect.learning import Key
from monitor.detect.persistence import DetectionRule, LevelRule
from monitor.evaluation.calibrating import count_files, poisson_rate, suggest, suggest_learnt
from monitor.evaluation.scoring import join
from monitor.incidents.records import begin_record
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import Posture, Severity
from tests.fakes.incidents import context
from tests.fakes.scored_tracks import steady, track

REVIEW, ACT = Severity.REVIEW, Severity.ACT
RULES = {"violence": DetectionRule(LevelRule(0.5, 3, 5), LevelRule(0.9, 4, 6), 0.8, 10.0)}
BUDGET = 0.02


def falling(hours: float) -> Tally:
    return Tally(hours, hours * np.exp(-1.5 * (np.arange(RUNGS) * 0.1 - 4)), np.zeros(RUNGS))


def incident(score: float, decision: str | None, app: str = "live") -> IncidentRecord:
    begun = begin_record("i", context(), now=0.0)
    return replace(begun, app=app, label="violence", score=score, review_decision=decision)


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.39), (1000, 938.97, 1063.96)]
)
def test_intervals_are_the_exact_ones(count: int, low: float, high: float) -> None:
    rate = poisson_rate(count, 1000.0)
    assert rate.value == count
    assert rate.low == pytest.approx(low, rel=1e-3)
    assert rate.high == pytest.approx(high, rel=1e-3)


@given(st.floats(0, 300), st.floats(0.1, 1e5))
def test_an_interval_holds_its_rate(count: float, hours: float) -> None:
    rate = poisson_rate(float(round(count)), hours)
    assert 0 <= rate.low <= rate.value <= rate.high


def test_two_hours_show_nothing_about_twenty_in_a_thousand() -> None:
    found = suggest(((), "violence", REVIEW), Tally(2.0, np.zeros(RUNGS), np.zeros(RUNGS)), BUDGET, RULES["violence"])
    assert found.threshold is None
    assert found.rate is None
    assert found.current_rate is not None
    assert found.current_rate.high == pytest.approx(3688.9 / 2, rel=1e-3)
    assert (found.hours_needed, found.hours_counted) == (62.5, 250)


def test_enough_hours_show_a_threshold_and_the_rate_behind_it() -> None:
    found = suggest(((), "violence", REVIEW), falling(1000), BUDGET, RULES["violence"])
    assert found.threshold is not None
    assert found.rate is not None
    assert 0.9 < found.threshold < 0.95
    assert found.rate.value <= 20
    assert found.rate.low < 20 < found.rate.high
    assert found.to_dict()["per_1000_h"]["value"] == found.rate.value


def test_quiet_material_does_not_lead_to_a_threshold_that_stands_all_the_time() -> None:
    silent = Tally(1000.0, np.zeros(RUNGS), np.zeros(RUNGS))
    found = suggest(((), "violence", REVIEW), silent, BUDGET, RULES["violence"])
    assert found.threshold == pytest.approx(1 / (1 + np.e**2), abs=1e-3)


def test_each_file_is_a_stream_of_its_own() -> None:
    burst = join([steady(20, 0.1), steady(4, 0.8), steady(20, 0.1)])
    counted = count_files([burst, burst, track([0.1] * 10, [0.1] * 40)], RULES, Posture.CLOSE)
    assert set(counted) == {("violence", REVIEW), ("violence", ACT)}
    tally = counted["violence", REVIEW]
    assert tally.hours == pytest.approx(108 / 3600)
    assert tally.rate_at(0.5) == pytest.approx(2 / tally.hours)
    assert tally.rate_at(0.85) == 0


def test_what_people_decided_says_what_a_suggestion_would_risk() -> None:
    known = [
        *(incident(score, "confirm") for score in (0.8, 0.99)),
        incident(0.6, "dismiss"),
        incident(0.6, None),
        incident(0.6, "confirm", app="news"),
    ]
    tallies = {Key(("edge", "*"), "violence", severity): falling(1000) for severity in (REVIEW, ACT)}
    (found,) = suggest_learnt(tallies, {REVIEW: BUDGET}, RULES, known, applications={"edge": ("news",)}, in_force={})
    assert (found.confirmed, found.confirmed_below, found.dismissed) == (2, 1, 1)
    assert found.group == ("edge", "*")
