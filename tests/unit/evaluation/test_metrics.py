from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitor.evaluation.metrics import (
    GroupBootstrap,
    average_precision,
    expected_calibration_error,
    reliability,
    roc_auc,
    roc_curve,
    share,
)

# Few distinct scores, so that ties are common.
ROWS = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=1, max_size=25)


def columns(rows: list[tuple[int, bool, int]]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    scores, positive, weights = zip(*rows, strict=True)
    return np.array(scores, float) / 6, np.array(positive, bool), np.array(weights, float)


@given(ROWS)
def test_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool, int]]) -> None:
    scores, positive, weights = columns(rows)
    pairs = [
        (weights[i] * weights[j], 1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0)
        for i in np.flatnonzero(positive)
        for j in np.flatnonzero(~positive)
    ]
    total = sum(weight for weight, _ in pairs)
    found = roc_auc(scores, positive, weights)
    if not total:
        assert found is None
    else:
        assert found == pytest.approx(sum(weight * right for weight, right in pairs) / total)


@given(ROWS)
def test_average_precision_is_the_sum_of_precision_times_recall_gained(rows: list[tuple[int, bool, int]]) -> None:
    scores, positive, weights = columns(rows)
    found = average_precision(scores, positive, weights)
    hits = weights[positive].sum()
    if not hits or not weights[~positive].sum():
        assert found is None
        return
    wanted = recall_before = 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        at = scores >= threshold
        recall = weights[at & positive].sum() / hits
        if weights[at].sum():
            wanted += (recall - recall_before) * weights[at & positive].sum() / weights[at].sum()
        recall_before = recall
    assert found == pytest.approx(wanted)


@given(ROWS)
def test_weights_are_as_good_as_repeated_rows(rows: list[tuple[int, bool, int]]) -> None:
    scores, positive, weights = columns(rows)
    times = weights.astype(int)
    repeated = np.repeat(scores, times), np.repeat(positive, times)
    for measure in (roc_auc, average_precision):
        weighed = measure(scores, positive, weights)
        assert measure(*repeated) == (None if weighed is None else pytest.approx(weighed))


def test_known_values() -> None:
    # The example of scikit-learn's documentation of both functions.
    scores, positive = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    assert roc_auc(scores, positive) == pytest.approx(0.75)
    assert average_precision(scores, positive) == pytest.approx(0.8333333)
    alarms, hits = roc_curve(scores, positive)
    assert list(zip(alarms, hits, strict=True)) == [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]


def test_a_perfectly_calibrated_score_has_no_error_and_an_inflated_one_has() -> None:
    scores = np.repeat([0.05, 0.55, 1.0], [20, 20, 4])
    positive = np.concatenate([np.arange(20) < 1, np.arange(20) < 11, np.ones(4, bool)])
    bins = reliability(scores, positive)
    assert [(one.low, one.weight, one.positive_share) for one in bins] == [
        (0.0, 20, pytest.approx(0.05)),
        (0.5, 20, pytest.approx(0.55)),
        (0.9, 4, 1.0),
    ]
    assert expected_calibration_error(bins) == pytest.approx(0)
    assert expected_calibration_error(reliability(np.full(10, 0.9), np.zeros(10, bool))) == pytest.approx(0.9)
    assert expected_calibration_error(()) is None


def test_a_share_is_of_those_meant() -> None:
    chosen, among = np.array([True, True, False]), np.array([True, False, True])
    assert share(chosen, among) == 0.5
    assert share(chosen, among, np.array([3.0, 9.0, 1.0])) == 0.75
    assert share(chosen, np.zeros(3, bool)) is None


def test_intervals_are_the_same_each_time_and_hold_the_value() -> None:
    random = np.random.default_rng(5)
    positive = np.arange(200) % 2 == 0
    scores = np.clip(random.normal(0.4 + 0.2 * positive, 0.2), 0, 1)
    groups = [f"g{number // 4}" for number in range(200)]

    def interval(seed: int) -> tuple[float, float]:
        found = GroupBootstrap(groups, resamples=300, seed=seed).interval(lambda w: roc_auc(scores, positive, w))
        assert found is not None
        return found.low, found.high

    assert interval(1) == interval(1) != interval(2)
    low, high = interval(1)
    assert low < (roc_auc(scores, positive) or 0) < high
    assert 0.05 < high - low < 0.3


def test_copies_of_a_clip_in_its_group_make_no_interval_narrower() -> None:
    random = np.random.default_rng(6)
    positive = np.arange(40) % 2 == 0
    scores = np.clip(random.normal(0.4 + 0.2 * positive, 0.2), 0, 1)
    groups = [f"g{number // 2}" for number in range(40)]
    widths = []
    for copies in (1, 10):
        tenfold, labels = np.repeat(scores, copies), np.repeat(positive, copies)
        bootstrap = GroupBootstrap(list(np.repeat(groups, copies)), resamples=200)
        found = bootstrap.interval(lambda w, s=tenfold, p=labels: roc_auc(s, p, w))  # type: ignore[misc] # defaults bind
        assert found is not None
        widths.append(found.high - found.low)
    assert widths[0] == pytest.approx(widths[1])


def test_where_nothing_can_be_said_there_is_no_interval() -> None:
    scores, positive = np.array([0.2, 0.8, 0.4]), np.array([True, False, False])
    assert GroupBootstrap(["a", "a", "a"]).interval(lambda w: roc_auc(scores, positive, w)) is None
    only_normal = np.zeros(3, bool)
    assert GroupBootstrap(["a", "b", "c"]).interval(lambda w: roc_auc(scores, only_normal, w)) is None
    assert GroupBootstrap([]).interval(lambda w: 0.0) is None


def test_one_miss_in_no_few_clips_does_not_prove_that_there_never_is_one() -> None:
    bootstrap = GroupBootstrap([f"g{number % 5}" for number in range(50)])
    everyone, nobody, some = np.ones(50, bool), np.zeros(50, bool), np.arange(50) % 5 < 2
    none, all_of_them, part = (bootstrap.share_interval(chosen, everyone) for chosen in (nobody, everyone, some))
    # Clopper and Pearson's interval of 0 of 5, for there are five groups, however many clips.
    assert none is not None
    assert (none.low, round(none.high, 4)) == (0.0, 0.5218)
    assert all_of_them is not None
    assert (round(all_of_them.low, 4), all_of_them.high) == (0.4782, 1.0)
    assert part is not None
    assert 0 <= part.low < 0.4 < part.high <= 1
    assert bootstrap.share_interval(everyone, nobody) is None
    assert bootstrap.share_interval(everyone, np.arange(50) % 5 == 0) is None


def test_no_alarm_in_two_hours_does_not_prove_that_there_never_is_one() -> None:
    bootstrap = GroupBootstrap(["a", "b", "c"])
    hours = np.array([0.5, 0.5, 1.0])
    quiet = bootstrap.rate_interval(np.zeros(3), hours)
    assert quiet is not None
    assert quiet.low == 0.0
    assert quiet.high == pytest.approx(1.8445, abs=1e-3)
    some = bootstrap.rate_interval(np.array([0.0, 0.0, 3.0]), hours)
    assert some is not None
    assert some.low == 0.0
    assert some.high == pytest.approx(3.0)
    assert bootstrap.rate_interval(np.zeros(3), np.zeros(3)) is None
