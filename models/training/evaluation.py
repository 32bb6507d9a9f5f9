"""How good it is, and how sure that is: rates with intervals from resampled groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

RESAMPLINGS = 500
BINS = 10
"""Of equal width, for the calibration error."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % confidence interval, from resampling whole groups."""

    value: float
    low: float
    high: float

    @override
    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.2f}-{self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores to judge: of windows, or of clips by their mean.

    Attributes:
        score: float64, ``(n, repeats)``: by models that saw nothing of the row's group, folds dealt anew each time.
        violent: bool, ``(n,)``.
        weight: float64, ``(n,)``: windows of one clip share its weight.
        group: ``(n,)``: what is resampled as a whole.
        dataset: ``(n,)``.
        video: int64, ``(n,)``: index of the clip.
    """

    score: NDArray[np.float64]
    violent: NDArray[np.bool_]
    weight: NDArray[np.float64]
    group: NDArray[np.str_]
    dataset: NDArray[np.str_]
    video: NDArray[np.int64]

    def only(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Scored:
        """Return the chosen rows."""
        return Scored(
            self.score[chosen],
            self.violent[chosen],
            self.weight[chosen],
            self.group[chosen],
            self.dataset[chosen],
            self.video[chosen],
        )


def auc(scored: Scored) -> float:
    """Return the area under the ROC curve, averaged over repeats; NaN where one label is missing."""
    return float(np.mean([_area(column, scored.violent, scored.weight) for column in scored.score.T]))


def _area(score: NDArray[np.float64], violent: NDArray[np.bool_], weight: NDArray[np.float64]) -> float:
    """Return the share of pairs in which the violent one scores higher; ties count half."""
    _, rank = np.unique(score, return_inverse=True)
    fights, normal = np.bincount(rank, weight * violent), np.bincount(rank, weight * ~violent)
    pairs = fights.sum() * normal.sum()
    return float((fights * (np.cumsum(normal) - normal / 2)).sum() / pairs) if pairs else float("nan")


def share_at_or_above(scored: Scored, threshold: float) -> float:
    """Return the weighted share of scores that reach `threshold`."""
    return float(np.average((scored.score >= threshold).mean(axis=1), weights=scored.weight))


def threshold_at(scored: Scored, share: float) -> float:
    """Return the score that this weighted share reaches or exceeds."""
    repeats = scored.score.shape[1]
    scores, weights = scored.score.ravel(), np.repeat(scored.weight, repeats)
    order = np.argsort(-scores)
    reached = np.cumsum(weights[order]) / weights.sum()
    return float(scores[order][min(int(np.searchsorted(reached, share)), len(order) - 1)])


def calibration_error(scored: Scored) -> float:
    """Return the expected calibration error, averaged over repeats, both labels taken as equally likely."""
    weights = labels_equal(scored)
    errors = []
    for column in scored.score.T:
        bins = np.minimum((column * BINS).astype(int), BINS - 1)
        gap = np.bincount(bins, weights * (column - scored.violent), BINS)
        errors.append(np.abs(gap).sum() / weights.sum())
    return float(np.mean(errors))


def labels_equal(scored: Scored) -> NDArray[np.float64]:
    """Return the rows' weights such that fights and normal clips weigh the same."""
    weights = scored.weight.copy()
    if scored.violent.any():
        weights[scored.violent] *= weights[~scored.violent].sum() / weights[scored.violent].sum()
    return weights


def estimate(scored: Scored, measure: Callable[[Scored], float], seed: int) -> Estimate:
    """Return `measure` with its interval: groups are drawn with replacement, `RESAMPLINGS` times."""
    rng = np.random.default_rng(seed)
    names, group = np.unique(scored.group, return_inverse=True)
    values = []
    for _ in range(RESAMPLINGS):
        drawn = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        # A group that is drawn twice weighs twice: the same as copying its rows, and cheaper.
        values.append(measure(replace(scored, weight=scored.weight * drawn[group])))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Estimate(measure(scored), float(low), float(high))


def by_video(scored: Scored) -> Scored:
    """Return one row per clip: the mean of its windows."""
    _, first, clip = np.unique(scored.video, return_index=True, return_inverse=True)
    counts = np.bincount(clip)[:, None]
    means = np.stack([np.bincount(clip, column) for column in scored.score.T], axis=1) / counts
    return replace(scored.only(first), score=means, weight=np.ones(len(first)))
