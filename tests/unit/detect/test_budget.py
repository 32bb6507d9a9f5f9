from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detect.budget import (
    DRIFT,
    FEWEST_EPISODES,
    FIRST_FALL,
    FIRST_RISE,
    PER_DAY,
    Standing,
    Tally,
    choose,
    hours_counted,
    hours_needed,
    is_fall,
    move,
)
from monitor.detect.ladder import LADDER, RUNGS, log_odds_of, rung_log_odds

DAY_S = 86400.0
TWENTY = 20 / 1000

hours = st.floats(0, 20000)
budgets = st.floats(1 / 10000, 2.0)
counts = st.builds(
    lambda seed, most: np.random.default_rng(seed).uniform(0, most, RUNGS), st.integers(0, 2**32), st.floats(0, 500)
)
tallies = st.builds(Tally, hours, counts, counts)


def falling(hours: float, per_hour_at_zero: float, fall: float = 1.5) -> Tally:
    """A rate that falls by e for so much log-odds."""
    rates = per_hour_at_zero * np.exp(-fall * (np.arange(RUNGS) * 0.1 - 4))
    return Tally(hours, hours * rates, np.zeros(RUNGS))


@given(tallies, tallies, tallies)
def test_tallies_add_up_in_any_order(one: Tally, two: Tally, three: Tally) -> None:
    left, right = (one + two) + three, one + (three + two)
    assert left.hours == pytest.approx(right.hours)
    assert np.allclose(left.episodes, right.episodes)
    assert np.allclose(left.doubtful, right.doubtful)


@given(tallies)
def test_a_tally_outlives_a_restart(tally: Tally) -> None:
    again = Tally.from_dict(json.loads(json.dumps(tally.to_dict())))
    assert again is not None
    assert again.hours == pytest.approx(tally.hours, abs=1e-5)
    assert np.allclose(again.episodes, tally.episodes, atol=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"hours": -1},
        {"hours": "x"},
        {"hours": float("nan")},
        {"step": 0.2},
        {"episodes": [1.0]},
        {"episodes": [-1.0] * RUNGS},
        {"episodes": None},
    ],
)
def test_what_is_no_tally_is_not_taken_for_one(change: dict[str, object]) -> None:
    assert Tally.from_dict(Tally.empty().to_dict() | change) is None
    assert Tally.from_dict({}) is None


def test_what_was_seen_two_weeks_ago_counts_half() -> None:
    tally = falling(100, 1).faded(14)
    assert tally.hours == 50
    assert tally.rate_at(0.5) == pytest.approx(1)


@given(tallies, budgets)
def test_no_rung_above_the_chosen_threshold_breaks_the_budget(tally: Tally, budget: float) -> None:
    choice = choose(tally, budget)
    if choice is None:
        assert tally.hours < hours_needed(budget)
        return
    above = [count for rung, count in enumerate(tally.episodes) if rung_log_odds(rung) >= choice.log_odds]
    assert all(count <= budget * tally.hours + 1e-6 for count in above[:-1])


@given(tallies, budgets, st.floats(1, 10))
def test_a_larger_budget_never_asks_for_a_higher_threshold(tally: Tally, budget: float, times: float) -> None:
    tight, loose = choose(tally, budget), choose(tally, budget * times)
    if tight is not None:
        assert loose is not None
        assert loose.log_odds <= tight.log_odds + 1e-9


def test_a_budget_is_met_where_the_rate_is_known() -> None:
    tally = falling(1000, 1)
    choice = choose(tally, TWENTY)
    assert choice is not None
    assert not choice.extrapolated
    assert choice.log_odds == pytest.approx(np.log(1 / TWENTY) / 1.5, abs=0.11)


def test_beyond_the_hours_seen_it_reckons_four_times_as_far_and_no_further() -> None:
    assert hours_counted(TWENTY) == pytest.approx(250)
    assert hours_needed(TWENTY) == pytest.approx(62.5)
    assert choose(falling(62, 1), TWENTY) is None
    choice = choose(falling(63, 1), TWENTY)
    assert choice is not None
    assert choice.extrapolated
    assert choice.log_odds == pytest.approx(np.log(1 / TWENTY) / 1.5, abs=0.4)


def test_one_loud_tail_is_not_reckoned_to_the_end_of_the_world() -> None:
    flat = Tally(63.0, np.full(RUNGS, FEWEST_EPISODES), np.zeros(RUNGS))
    flat.episodes[60:] = 0
    choice = choose(flat, TWENTY)
    assert choice is not None
    assert choice.log_odds == pytest.approx(rung_log_odds(60), abs=1.4)


def test_the_first_threshold_comes_at_once_where_it_is_higher_and_within_bounds() -> None:
    default = 0.5
    learnt = move(Standing(log_odds_of(default)), falling(1000, 1), TWENTY, default, 10.0)
    assert learnt.first == learnt.log_odds == pytest.approx(2.6, abs=0.11)
    assert not learnt.frozen
    far = move(Standing(log_odds_of(default)), falling(1000, 1e6), TWENTY, default, 10.0)
    assert far.log_odds == pytest.approx(FIRST_RISE)
    assert far.frozen


def test_it_comes_down_from_the_default_step_by_step_and_so_far() -> None:
    default, now = 0.9, 100 * DAY_S
    begin = log_odds_of(default)
    standing, quiet = Standing(begin), falling(1000, 1e-9)
    lay = []
    for _ in range(20):
        before, standing = standing, move(standing, quiet, TWENTY, default, now)
        assert is_fall(before, standing) == (before.log_odds > standing.log_odds)
        assert standing.first == standing.log_odds
        # No second step within the day.
        assert move(standing, quiet, TWENTY, default, now + 60).log_odds == standing.log_odds
        lay.append(round(begin - standing.log_odds, 6))
        now += DAY_S
    assert lay[:8] == [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]
    assert set(lay[8:]) == {FIRST_FALL}
    assert standing.frozen
    # Up again as far as the default, which nobody had to teach, although that lies further off than later ones may.
    for _ in range(20):
        standing = move(standing, falling(1000, 0.45), TWENTY, default, now)
        now += DAY_S
    assert standing.log_odds == pytest.approx(begin, abs=PER_DAY)
    assert not standing.frozen
    assert move(standing, falling(1000, 200.0), TWENTY, default, now).frozen


def test_it_does_not_come_down_by_what_was_only_reckoned() -> None:
    default = 0.9
    standing = Standing(log_odds_of(default))
    assert move(standing, falling(249, 0.01), TWENTY, default, DAY_S) == standing
    assert move(standing, falling(251, 0.01), TWENTY, default, DAY_S).log_odds < standing.log_odds


def test_nothing_moves_before_enough_was_seen() -> None:
    standing = Standing(log_odds_of(0.7))
    assert move(standing, falling(62, 100), TWENTY, 0.7, 0.0) == standing


@given(st.lists(st.tuples(st.floats(0.001, 1e4), st.floats(0, 20)), max_size=40))
def test_no_drift_however_long_leads_further_than_its_bounds(days: list[tuple[float, float]]) -> None:
    default, now = 0.7, 0.0
    standing = move(Standing(log_odds_of(default)), falling(1000, 1), TWENTY, default, now)
    first = standing.log_odds
    for per_hour, days_later in days:
        now += days_later * DAY_S
        before = standing
        standing = move(before, falling(1000, per_hour), TWENTY, default, now)
        assert abs(standing.log_odds - before.log_odds) <= PER_DAY + 1e-9
        assert abs(standing.log_odds - first) <= PER_DAY * now / DAY_S + 1e-9
        assert abs(standing.log_odds - first) <= DRIFT + 1e-9
        assert standing.first == first
        assert log_odds_of(default) <= first <= log_odds_of(default) + FIRST_RISE


@given(st.lists(st.tuples(st.floats(1e-6, 1e4), st.floats(0, 20)), max_size=40))
def test_below_the_default_no_drift_leads_out_of_its_bounds(days: list[tuple[float, float]]) -> None:
    default, now = 0.9, 100 * DAY_S
    begin = log_odds_of(default)
    standing = move(Standing(begin), falling(1000, 1e-6), TWENTY, default, now)
    for per_hour, days_later in days:
        now += days_later * DAY_S
        before, standing = standing, move(standing, falling(1000, per_hour), TWENTY, default, now)
        assert abs(standing.log_odds - before.log_odds) <= PER_DAY + 1e-9
        assert standing.first is not None
        assert before.first is not None
        assert begin - FIRST_FALL - 1e-9 <= standing.first <= before.first < begin
        assert standing.first - 1e-9 <= standing.log_odds <= max(begin, standing.first + DRIFT) + 1e-9


def test_it_freezes_outside_and_thaws_when_the_world_is_as_it_was() -> None:
    standing = move(Standing(0.5), falling(1000, 1), TWENTY, 0.6, 0.0)
    frozen = move(standing, falling(1000, 100), TWENTY, 0.6, 5 * DAY_S)
    assert frozen.frozen
    assert frozen.log_odds == standing.log_odds
    assert not move(frozen, falling(1000, 1.2), TWENTY, 0.6, 6 * DAY_S).frozen


def test_doubt_keeps_a_threshold_from_falling_and_never_raises_it() -> None:
    standing = move(Standing(0.5), falling(1000, 1), TWENTY, 0.6, 0.0)
    calm = falling(1000, 0.4)
    doubtful = Tally(calm.hours, calm.episodes, falling(1000, 5).episodes)
    assert move(standing, calm, TWENTY, 0.6, DAY_S).log_odds < standing.log_odds
    assert move(standing, doubtful, TWENTY, 0.6, DAY_S).log_odds == standing.log_odds


def test_rates_are_those_of_the_rung_below() -> None:
    tally = falling(10, 1)
    assert tally.rate_at(float(LADDER[40])) == pytest.approx(1)
    assert tally.rate_at(0.0001) == pytest.approx(tally.episodes[0] / 10)
    assert Tally.empty().rate_at(0.5) is None
