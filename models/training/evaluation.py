"""How good it is, and how sure that is: rates with intervals from resampled groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from typing_extensions import override

RESAMPLINGS = 1000


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
        score: float64, ``(n,)``.
        violent: bool, ``(n,)``.
        weight: float64, ``(n,)``: windows of one clip share its weight.
        group: ``(n,)``: what is resampled as a whole.
        dataset: ``(n,)``.
    """

    score: NDArray[np.float64]
    violent: NDArray[np.bool_]
    weight: NDArray[np.float64]
    group: NDArray[np.str_]
    dataset: NDArray[np.str_]

    def only(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Scored:
        """Return the chosen rows."""
        return Scored(
            self.score[chosen], self.violent[chosen], self.weight[chosen], self.group[chosen], self.dataset[chosen]
        )


def auc(scored: Scored) -> float:
    """Return the area under the ROC curve."""
    return float(roc_auc_score(scored.violent, scored.score, sample_weight=scored.weight))


def share_at_or_above(scored: Scored, threshold: float) -> float:
    """Return the weighted share of scores that reach `threshold`."""
    return float(np.average(scored.score >= threshold, weights=scored.weight))


def threshold_at(scored: Scored, share: float) -> float:
    """Return the score that this weighted share reaches or exceeds."""
    order = np.argsort(-scored.score)
    reached = np.cumsum(scored.weight[order]) / scored.weight.sum()
    return float(scored.score[order][min(int(np.searchsorted(reached, share)), len(order) - 1)])


def estimate(scored: Scored, measure: Callable[[Scored], float], seed: int) -> Estimate:
    """Return `measure` with its interval: groups are drawn with replacement, `RESAMPLINGS` times."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(scored.group == group) for group in np.unique(scored.group)]
    values = []
    for _ in range(RESAMPLINGS):
        drawn = scored.only(np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))]))
        if measure is auc and (drawn.violent.all() or not drawn.violent.any()):
            continue
        values.append(measure(drawn))
    low, high = np.percentile(values, [2.5, 97.5])
    return Estimate(measure(scored), float(low), float(high))


def by_video(scored: Scored, video: NDArray[np.int64]) -> Scored:
    """Return one row per clip: the mean of its windows."""
    first = np.unique(video, return_index=True)[1]
    score = np.array([scored.score[video == video[row]].mean() for row in first])
    merged = scored.only(first)
    return Scored(score, merged.violent, np.ones(len(first)), merged.group, merged.dataset)
