"""Mixup: rows between two rows, so that a head does not jump from one label to the other where no window was seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Rows:
    """What is fitted to: scaled measurements ``(rows, measurements)``, labels and weights ``(rows,)``."""

    features: NDArray[np.float32]
    violent: NDArray[np.bool_]
    weights: NDArray[np.float64]


def with_mixtures(rows: Rows, spread: float, seed: int) -> Rows:
    """Return `rows` and as many mixtures of two of them (mixup), which together weigh as much.

    Measurements are mixed, not pictures: between two pictures laid over each other there is no motion to be found. A mixture
    of different labels stands there twice, once with either label, weighing by its shares: the loss is that of a label between.

    Args:
        rows: Rows are drawn by their weight, so that clips and labels stay balanced.
        spread: Both parameters of the beta distribution that shares are drawn from: near 0 one of the two rows prevails, at 1
            all shares are equally likely. Above 0.
        seed: For the draws.
    """
    rng = np.random.default_rng(seed)
    count, chances = len(rows.violent), rows.weights / rows.weights.sum()
    first, second = rng.choice(count, (2, count), p=chances)
    share = rng.beta(spread, spread, count)
    mixed = (share[:, None] * rows.features[first] + (1 - share)[:, None] * rows.features[second]).astype(np.float32)
    each = rows.weights.mean()
    return Rows(
        np.concatenate([rows.features, mixed, mixed]),
        np.concatenate([rows.violent, rows.violent[first], rows.violent[second]]),
        np.concatenate([rows.weights, each * share, each * (1 - share)]),
    )
