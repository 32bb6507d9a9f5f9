"""The fit: standardised measurements, logistic regression, Platt's calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from sklearn.linear_model import LogisticRegression

from models.training.samples import Kind, Samples, balanced_weights

STRONGEST = 4.0
"""Measurements are clipped at this many standard deviations: what lies beyond was never seen in training."""

REGULARISATION = 3.0
"""Inverse strength, as scikit-learn has it."""


@dataclass(frozen=True, slots=True)
class Head:
    """Measurements to probability: ``sigmoid(clip((x - mean) / std) @ weights + bias)``."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: float

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return log-odds, float64 ``(windows,)``."""
        scaled = np.clip((features - self.mean) / self.std, -STRONGEST, STRONGEST)
        return np.asarray(scaled @ self.weights + self.bias, np.float64)

    def calibrated(self, slope: float, offset: float) -> Head:
        """Return the head whose log-odds are ``slope * logits + offset``."""
        return Head(self.mean, self.std, self.weights * slope, self.bias * slope + offset)


def fit_head(samples: Samples, chosen: NDArray[np.bool_]) -> Head:
    """Fit to the `chosen` rows, balanced by clip and label."""
    features = samples.features[chosen].astype(np.float64)
    mean, std = features.mean(axis=0), features.std(axis=0) + 1e-6
    scaled = np.clip((features - mean) / std, -STRONGEST, STRONGEST)
    model = LogisticRegression(C=REGULARISATION, max_iter=5000)
    model.fit(scaled, samples.violent[chosen], sample_weight=balanced_weights(samples, chosen)[chosen])
    return Head(mean, std, model.coef_[0], float(model.intercept_[0]))


def cross_validate(
    samples: Samples,
    fold: NDArray[np.int64],
    trainable: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return log-odds of the plain windows, each by a head that saw nothing of its fold; NaN for other windows.

    Args:
        samples: The table.
        fold: int64, ``(windows,)``.
        trainable: bool, ``(windows,)``: rows that may be fitted to.
    """
    logits = np.full(len(fold), np.nan)
    for held_out in track(sorted(set(fold.tolist())), description="cross-validating"):
        head = fit_head(samples, trainable & (fold != held_out))
        scored = (fold == held_out) & (samples.kind == Kind.PLAIN)
        logits[scored] = head.logits(samples.features[scored])
    return logits


def calibration(
    logits: NDArray[np.float64], violent: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Return slope and offset that make cross-validated log-odds honest where both labels are equally likely."""
    model = LogisticRegression(C=1e6)
    model.fit(logits[:, None], violent, sample_weight=weights)
    return float(model.coef_[0, 0]), float(model.intercept_[0])
