"""The recipe's numbers: what they are on cases that can be counted by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training.evaluation import (
    Scored,
    auc,
    by_video,
    calibration_error,
    estimate,
    labels_equal,
    share_at_or_above,
    threshold_at,
)


def scored(scores: list[float], violent: list[bool], groups: list[str] | None = None) -> Scored:
    count = len(scores)
    group = np.array(groups if groups is not None else [str(number) for number in range(count)])
    column = np.array(scores)[:, None]
    return Scored(column, np.array(violent, bool), np.ones(count), group, group, np.arange(count))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    found = auc(scored([float(score) for score, _ in rows], [violent for _, violent in rows]))
    fights, normal = ([score for score, violent in rows if violent is label] for label in (True, False))
    wins = [(a > b) + (a == b) / 2 for a, b in product(fights, normal)]
    assert found == pytest.approx(np.mean(wins)) if wins else np.isnan(found)


def test_a_row_of_twice_the_weight_counts_as_two() -> None:
    three = scored([0.1, 0.4, 0.4, 0.3], [False, True, True, False])
    weighed = replace(scored([0.1, 0.4, 0.3], [False, True, False]), weight=np.array([1.0, 2.0, 1.0]))
    assert auc(weighed) == pytest.approx(auc(three))
    assert share_at_or_above(weighed, 0.35) == pytest.approx(share_at_or_above(three, 0.35)) == pytest.approx(0.5)


def test_repeats_are_averaged() -> None:
    one, two = scored([0.1, 0.9], [False, True]), scored([0.9, 0.1], [False, True])
    both = replace(one, score=np.hstack([one.score, two.score]))
    assert auc(both) == 0.5


@given(share=st.floats(0.01, 1.0))
def test_the_threshold_is_reached_by_the_share_asked_for(share: float) -> None:
    many = scored(np.linspace(0, 1, 200).tolist(), [False] * 200)
    assert share_at_or_above(many, threshold_at(many, share)) == pytest.approx(share, abs=1 / 200)


def test_clips_of_one_source_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    violent = np.repeat([True, False] * 10, 10)
    scores = (rng.normal(0, 1, 20)[:, None] + np.zeros((20, 10))).ravel() + violent
    alone = estimate(scored(scores.tolist(), violent.tolist()), auc, 0)
    together = estimate(scored(scores.tolist(), violent.tolist(), [str(i // 10) for i in range(200)]), auc, 0)
    assert alone.value == together.value
    assert together.low <= together.value <= together.high
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_probabilities_that_are_right_have_no_calibration_error() -> None:
    right = scored([0.25] * 4 + [0.75] * 4, [True, False, False, False, True, True, True, False])
    assert calibration_error(right) == pytest.approx(0.0)
    wrong = scored([0.95] * 4, [True, False, True, False])
    assert calibration_error(wrong) == pytest.approx(0.45)


def test_both_labels_weigh_the_same() -> None:
    few = scored([0.1] * 9 + [0.9], [False] * 9 + [True])
    weights = labels_equal(few)
    assert weights[few.violent].sum() == pytest.approx(weights[~few.violent].sum())


def test_a_clip_scores_the_mean_of_its_windows() -> None:
    windows = replace(scored([0.2, 0.4, 0.9], [False, False, True]), video=np.array([7, 7, 3]))
    clips = by_video(windows)
    assert clips.video.tolist() == [3, 7]
    np.testing.assert_allclose(clips.score[:, 0], [0.9, 0.3])
    assert clips.violent.tolist() == [True, False]
