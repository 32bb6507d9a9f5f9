"""The fit: standardised measurements, a few small networks averaged, Platt's calibration."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from models.training.samples import Kind, Samples, balanced_weights

STRONGEST = 4.0
"""Measurements are clipped at this many standard deviations: what lies beyond was never seen in training."""

HIDDEN = (128, 32)
NETWORKS = 3
"""Networks from different random beginnings, averaged: one alone varies by more than a per cent of AUC."""
WEIGHT_DECAY = 0.5
EPOCHS = 15
"""Fixed in advance: with 43 source videos of fights there is nothing to spare for stopping early."""

Layer = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Weights ``(in, out)`` and bias ``(out,)``."""


@dataclass(frozen=True, slots=True)
class Head:
    """From measurements to probability: scaled, clipped, through `networks` with ReLU, log-odds averaged and calibrated."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    networks: tuple[tuple[Layer, ...], ...]
    slope: float = 1.0
    offset: float = 0.0

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return calibrated log-odds, float64 ``(windows,)``."""
        scaled = np.clip((features - self.mean) / self.std, -STRONGEST, STRONGEST)
        total = np.zeros(len(features))
        for *hidden, (last_weights, last_bias) in self.networks:
            values = scaled
            for weights, bias in hidden:
                values = np.maximum(values @ weights + bias, 0)
            total += (values @ last_weights + last_bias)[:, 0]
        return np.asarray(total / len(self.networks) * self.slope + self.offset, np.float64)


def fit_head(samples: Samples, chosen: NDArray[np.bool_], seed: int) -> Head:
    """Fit to the `chosen` rows, balanced by clip and label."""
    features = samples.features[chosen].astype(np.float64)
    mean, std = features.mean(axis=0), features.std(axis=0) + 1e-6
    scaled = np.clip((features - mean) / std, -STRONGEST, STRONGEST).astype(np.float32)
    weights = balanced_weights(samples, chosen)[chosen]
    networks = []
    for number in range(NETWORKS):
        model = MLPClassifier(
            HIDDEN,
            alpha=WEIGHT_DECAY,
            batch_size=128,
            learning_rate_init=1e-3,
            max_iter=EPOCHS,
            random_state=seed + number,
        )
        with warnings.catch_warnings():
            # It is meant to end here, before it has converged.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(scaled, samples.violent[chosen], sample_weight=weights)
        networks.append(tuple(zip(model.coefs_, model.intercepts_, strict=True)))
    return Head(mean, std, tuple(networks))


def cross_validate(
    samples: Samples,
    fold: NDArray[np.int64],
    trainable: NDArray[np.bool_],
    seed: int,
) -> NDArray[np.float64]:
    """Return log-odds of plain and shaken windows, each by a head that saw nothing of its fold; NaN for other windows.

    Args:
        samples: The table.
        fold: int64, ``(windows,)``.
        trainable: bool, ``(windows,)``: rows that may be fitted to.
        seed: For the networks' beginnings.
    """
    logits = np.full(len(fold), np.nan)
    for held_out in track(sorted(set(fold.tolist())), description="cross-validating"):
        head = fit_head(samples, trainable & (fold != held_out), seed)
        scored = (fold == held_out) & np.isin(samples.kind, (Kind.PLAIN, Kind.SHAKEN))
        logits[scored] = head.logits(samples.features[scored])
    return logits


def calibration(
    logits: NDArray[np.float64], violent: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Return slope and offset that make cross-validated log-odds honest where both labels are equally likely."""
    model = LogisticRegression(C=1e6)
    model.fit(logits[:, None], violent, sample_weight=weights)
    return float(model.coef_[0, 0]), float(model.intercept_[0])
