"""How good scores are, and how sure that is: ranking, calibration, and intervals from resampled groups.

Clips of one source show the same people and the same room, so they say less than as many independent ones. Resampling
whole groups, instead of clips, makes intervals as wide as that calls for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

RESAMPLES = 2000
_FEWEST_VALID = 0.5
_TAIL = 0.025
_POISSON_UPPER_AT_ZERO = -math.log(_TAIL)
"""Upper end of the exact two-sided 95 % interval of a Poisson mean of which nothing was seen."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


def roc_auc(scores: Floats, positive: Bools, weights: Floats | None = None) -> float | None:
    """Return the chance that a positive scores above a negative, ties counting half; None if either kind is missing.

    Args:
        scores: Shape ``(n,)``.
        positive: Shape ``(n,)``.
        weights: Shape ``(n,)``, not negative; 1 each by default.
    """
    hits, alarms = _by_falling_score(scores, positive, weights)
    hit, alarm = hits.sum(), alarms.sum()
    if hit <= 0 or alarm <= 0:
        return None
    # For each distinct score: positives strictly above it, and half of those at it.
    above = np.cumsum(hits) - hits
    return float((alarms * (above + hits / 2)).sum() / (hit * alarm))


def average_precision(scores: Floats, positive: Bools, weights: Floats | None = None) -> float | None:
    """Return the precision at each distinct score, averaged over the recall that it adds; None if either kind is missing.

    Args are those of `roc_auc`. Without negatives the measure says nothing (it is 1), hence None there, too.
    """
    hits, alarms = _by_falling_score(scores, positive, weights)
    hit, alarm = hits.sum(), alarms.sum()
    if hit <= 0 or alarm <= 0:
        return None
    all_so_far = np.cumsum(hits + alarms)
    # Scores of rows that weigh nothing add nothing, whatever precision is there.
    precision = np.divide(np.cumsum(hits), all_so_far, out=np.zeros_like(all_so_far), where=all_so_far > 0)
    return float((hits * precision).sum() / hit)


def roc_curve(scores: Floats, positive: Bools) -> tuple[Floats, Floats]:
    """Return false-positive rates and recalls, each from 0 to 1, as the threshold falls; both kinds must be there."""
    hits, alarms = _by_falling_score(scores, positive, None)
    return (
        np.concatenate([[0.0], np.cumsum(alarms) / alarms.sum()]),
        np.concatenate([[0.0], np.cumsum(hits) / hits.sum()]),
    )


def share(chosen: Bools, among: Bools, weights: Floats | None = None) -> float | None:
    """Return which share of `among` is `chosen`, by weight; None where there is nothing to choose from."""
    weighed = among.astype(np.float64) if weights is None else among * weights
    total = weighed.sum()
    return float((weighed * chosen).sum() / total) if total > 0 else None


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows whose score lies in [low, high), or up to and including 1 in the last one.

    Attributes:
        weight: Their weight in all.
        score: Their mean score; NaN-free: the bin is left out where it is empty.
        positive_share: The share of positives among them.
    """

    low: float
    high: float
    weight: float
    score: float
    positive_share: float


def reliability(
    scores: Floats, positive: Bools, *, bins: int = 10, weights: Floats | None = None
) -> tuple[ReliabilityBin, ...]:
    """Return the reliability curve in `bins` equally wide steps of score, empty ones left out.

    Args:
        scores: Shape ``(n,)``, in [0, 1].
        positive: Shape ``(n,)``.
        bins: How many.
        weights: Shape ``(n,)``; 1 each by default.
    """
    weighed = np.ones(len(scores)) if weights is None else weights
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    edges = np.linspace(0, 1, bins + 1)
    found = []
    for number, (low, high) in enumerate(pairwise(edges.tolist())):
        inside = place == number
        weight = float(weighed[inside].sum())
        if weight > 0:
            found.append(
                ReliabilityBin(
                    low=low,
                    high=high,
                    weight=weight,
                    score=float(np.average(scores[inside], weights=weighed[inside])),
                    positive_share=float(np.average(positive[inside], weights=weighed[inside])),
                )
            )
    return tuple(found)


def expected_calibration_error(bins: Sequence[ReliabilityBin]) -> float | None:
    """Return the mean distance in [0, 1] between score and share of positives, by weight; None without any bin."""
    total = sum(one.weight for one in bins)
    if not total:
        return None
    return sum(one.weight * abs(one.score - one.positive_share) for one in bins) / total


class GroupBootstrap:
    """Intervals by drawing groups with replacement; deterministic: the same groups and seed give the same draws.

    Args:
        groups: The group of each row.
        resamples: How many draws.
        seed: Where randomness comes from.
    """

    def __init__(self, groups: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0) -> None:
        names, self._group_of = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
        self.groups = len(names)
        self._resamples = resamples
        self._seed = seed

    def draws(self) -> Iterator[Floats]:
        """Yield, per resample, how often each row was drawn: float64, shape ``(rows,)``."""
        random = np.random.default_rng(self._seed)
        for _ in range(self._resamples if self.groups else 0):
            times = np.bincount(random.integers(self.groups, size=self.groups), minlength=self.groups)
            yield times[self._group_of].astype(np.float64)

    def interval(self, measure: Callable[[Floats], float | None]) -> Interval | None:
        """Return the 2.5th and 97.5th percentile of `measure` over the draws.

        Args:
            measure: Takes the rows' weights; None where it says nothing of a draw, such as one without any positive.

        Returns:
            None for fewer than two groups, or where less than half of the draws could be measured.
        """
        if self.groups < 2:
            return None
        values = [value for weights in self.draws() if (value := measure(weights)) is not None]
        if len(values) < _FEWEST_VALID * self._resamples:
            return None
        low, high = np.percentile(values, [2.5, 97.5])
        return Interval(float(low), float(high))

    def share_interval(self, chosen: Bools, among: Bools) -> Interval | None:
        """Return the interval of which share of `among` is `chosen`; shape ``(rows,)`` both.

        Where it is none or all of them, resampling would call that certain; then the other end is the exact binomial
        one, with as many tries as there are groups.
        """
        value = share(chosen, among)
        tries = len(np.unique(self._group_of[among]))
        if value is None or tries < 2:
            return None
        if value in (0.0, 1.0):
            edge = _TAIL ** (1 / tries)
            return Interval(edge, 1.0) if value else Interval(0.0, 1 - edge)
        return self.interval(lambda weights: share(chosen, among, weights))

    def rate_interval(self, counts: Floats, exposures: Floats) -> Interval | None:
        """Return the interval of ``counts / exposures``, such as false alarms per hour.

        Where nothing was counted, resampling would call that certain; then the upper end is that of a Poisson process.
        Without two groups that were exposed, or any exposure, there is none.
        """
        exposed = float(exposures.sum())
        if exposed <= 0:
            return None
        if not counts.any():
            return Interval(0.0, _POISSON_UPPER_AT_ZERO / exposed)

        def rate(weights: Floats) -> float | None:
            drawn = float((weights * exposures).sum())
            return float((weights * counts).sum()) / drawn if drawn > 0 else None

        return self.interval(rate)


def _by_falling_score(scores: Floats, positive: Bools, weights: Floats | None) -> tuple[Floats, Floats]:
    """Return the weight of positives and of negatives at each distinct score, highest first."""
    weighed = np.ones(len(scores)) if weights is None else weights
    distinct, place = np.unique(-scores, return_inverse=True)
    hits = np.bincount(place, weights=weighed * positive, minlength=len(distinct))
    alarms = np.bincount(place, weights=weighed * ~positive, minlength=len(distinct))
    return np.asarray(hits, np.float64), np.asarray(alarms, np.float64)
