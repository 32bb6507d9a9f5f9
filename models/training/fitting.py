"""The fit: standardised measurements, small networks and a line averaged, Platt's calibration."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from models.training.mixing import Rows, with_mixtures
from models.training.samples import Kind, Samples, balanced_weights
from models.training.workshop import Arrays

STRONGEST = 4.0
"""Measurements are clipped at this many standard deviations: what lies beyond was never seen in training."""

HIDDEN = (64, 32)
NETWORKS = 3
"""Networks from different random beginnings, averaged: one alone varies by more than a per cent of AUC."""
WEIGHT_DECAY = 0.5
EPOCHS = 15
"""Fixed in advance: with 43 source videos of fights there is nothing to spare for stopping early."""
LINE_SHARE = 0.5
"""Weight of the logistic regression beside the networks: it bends to no oddity of the training videos."""
LINE_STRENGTH = 0.02

Layer = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Weights ``(in, out)`` and bias ``(out,)``."""


@dataclass(frozen=True, slots=True)
class Member:
    """One network with ReLU between its layers, or with one layer a line; `share` of the averaged log-odds are its."""

    layers: tuple[Layer, ...]
    share: float


@dataclass(frozen=True, slots=True)
class Head:
    """From measurements to probability: scaled, clipped, through all members, averaged and calibrated."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    members: tuple[Member, ...]
    slope: float = 1.0
    offset: float = 0.0

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return calibrated log-odds, float64 ``(windows,)``."""
        scaled = np.clip((features - self.mean) / self.std, -STRONGEST, STRONGEST)
        total = np.zeros(len(features))
        for member in self.members:
            *hidden, (last_weights, last_bias) = member.layers
            values = scaled
            for weights, bias in hidden:
                values = np.maximum(values @ weights + bias, 0)
            total += member.share * (values @ last_weights + last_bias)[:, 0]
        return np.asarray(total * self.slope + self.offset, np.float64)

    @property
    def parameters(self) -> int:
        """Numbers that were fitted."""
        return sum(weights.size + bias.size for member in self.members for weights, bias in member.layers)


def fit_head(samples: Samples, chosen: NDArray[np.bool_], seed: int, mixup: float = 0.0) -> Head:
    """Fit to the `chosen` rows, balanced by clip and label; with `mixup` above 0 also `with_mixtures` of that spread."""
    features = samples.features[chosen].astype(np.float64)
    mean, std = features.mean(axis=0), features.std(axis=0) + 1e-6
    scaled = np.clip((features - mean) / std, -STRONGEST, STRONGEST).astype(np.float32)
    rows = Rows(scaled, samples.violent[chosen], balanced_weights(samples, chosen)[chosen])
    if mixup > 0:
        rows = with_mixtures(rows, mixup, seed)
    line = LogisticRegression(C=LINE_STRENGTH, max_iter=500).fit(
        rows.features, rows.violent, sample_weight=rows.weights
    )
    members = [Member(((line.coef_.T.astype(np.float64), line.intercept_.astype(np.float64)),), LINE_SHARE)]
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
            model.fit(rows.features, rows.violent, sample_weight=rows.weights)
        layers = tuple(zip(model.coefs_, model.intercepts_, strict=True))
        members.append(Member(layers, (1 - LINE_SHARE) / NETWORKS))
    return Head(mean, std, tuple(members))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One fold that a head sees nothing of.

    Attributes:
        samples_file: As `Samples.save` wrote it.
        fold_of_video: int64, by clip.
        fold: The fold.
        unseen: Clips that no head is fitted to, whatever their fold.
        seed: For the networks' beginnings.
        mixup: As `fit_head` takes it.
    """

    samples_file: Path
    fold_of_video: NDArray[np.int64]
    fold: int
    unseen: tuple[int, ...]
    seed: int
    mixup: float = 0.0

    @property
    def words(self) -> str:
        """What tells it from other tasks, wherever its file lies."""
        return repr(
            (self.samples_file.name, self.fold_of_video.tolist(), self.fold, self.unseen, self.seed, self.mixup)
        )


def fit_without(held_out: HeldOut) -> tuple[Head, Samples]:
    """Fit to rows that show nothing of the held-out fold's clips or of unseen ones; return the table too."""
    samples = Samples.load(held_out.samples_file)
    clips = np.stack([samples.video, samples.other])
    shown = ((held_out.fold_of_video[clips] == held_out.fold) | np.isin(clips, held_out.unseen)).any(axis=0)
    chosen = (samples.kind < Kind.CONDITION) & ~shown
    return fit_head(samples, chosen, held_out.seed, held_out.mixup), samples


def score_held_out(held_out: HeldOut) -> Arrays:
    """Return log-odds of the held-out fold's windows, by a head that saw nothing of the fold; NaN for other rows."""
    head, samples = fit_without(held_out)
    judged = (samples.kind == Kind.PLAIN) | (samples.kind >= Kind.CONDITION)
    scored = judged & (held_out.fold_of_video[samples.video] == held_out.fold)
    logits = np.full(len(scored), np.nan)
    logits[scored] = head.logits(samples.features[scored])
    return {"logits": logits}


def calibration(
    logits: NDArray[np.float64], violent: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Return slope and offset that make `logits` probabilities (Platt)."""
    fit = LogisticRegression(C=1e6).fit(logits[:, None], violent, sample_weight=weights)
    return float(fit.coef_[0, 0]), float(fit.intercept_[0])
