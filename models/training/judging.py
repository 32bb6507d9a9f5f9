"""Every number that manifest and card state, from scores of models that saw nothing of the clips they score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from models.training.clips import Labelled
from models.training.conditions import NAMES
from models.training.evaluation import (
    Estimate,
    Scored,
    auc,
    by_video,
    calibration_error,
    estimate,
    labels_equal,
    share_at_or_above,
    threshold_at,
)
from models.training.fitting import HeldOut, calibration
from models.training.samples import EVALUATION_ONLY, Kind, Samples

FALSE_ALARMS = {"review": 0.10, "act": 0.02}
"""Operating points: the share of cross-validated normal clips that reach them."""

FIGHTS = "fights (scfd)"
KINDS = {
    "ordinary surveillance (scfd)": "scfd",
    "ordinary life (benign)": "benign",
    "sport, dance, games (active)": "active",
    "sport, gym, everyday motion, never trained on (active-eval)": "active-eval",
}


@dataclass(frozen=True, slots=True)
class CrossValidated:
    """Scores by models that saw nothing of what they score.

    Attributes:
        logits: float64, ``(rows of the samples, repeats)``: log-odds; NaN for rows that are not scored.
        folds: int64, ``(clips, repeats)``.
        held_out: What each model saw nothing of, repeat by repeat and fold by fold.
    """

    logits: NDArray[np.float64]
    folds: NDArray[np.int64]
    held_out: tuple[HeldOut, ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """An operating point and the shares of windows that reach it."""

    threshold: float
    rates: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Robustness:
    """How it fares under one condition: AUC of single windows, and shares that reach `review`."""

    auc: Estimate
    recall: float
    false_alarms: float


@dataclass(frozen=True, slots=True)
class Mistake:
    """A clip on the wrong side: its mean score."""

    path: str
    score: float


@dataclass(frozen=True, slots=True)
class Results:
    """All there is to state.

    Attributes:
        auc: By what was compared.
        worst_fold: The lowest AUC of a fold, whole clips, averaged over repeats.
        calibration: Expected calibration error by what was compared, calibrated without the fold that is judged.
        points: By name.
        robustness: By condition; the first row is no condition.
        misses, alarms: The worst clips of either label, worst first.
    """

    auc: dict[str, Estimate]
    worst_fold: float
    calibration: dict[str, float]
    points: dict[str, Point]
    robustness: dict[str, Robustness]
    misses: list[Mistake]
    alarms: list[Mistake]


def scored(clips: Sequence[Labelled], samples: Samples, logits: NDArray[np.float64], kind: int) -> Scored:
    """Return the windows of a kind with their log-odds; windows of one clip share its weight."""
    rows = np.flatnonzero(samples.kind == kind)
    video = samples.video[rows]
    return Scored(
        score=logits[rows],
        violent=samples.violent[rows],
        weight=1 / np.bincount(video, minlength=len(clips))[video],
        group=np.array([clips[index].group for index in video]),
        dataset=np.array([clips[index].dataset for index in video]),
        video=video,
    )


def platt(known: Scored) -> tuple[float, float]:
    """Return slope and offset that make log-odds probabilities where both labels are equally likely."""
    repeats = known.score.shape[1]
    weights = np.repeat(labels_equal(known), repeats)
    return calibration(known.score.ravel(), np.repeat(known.violent, repeats), weights)


def judge(
    clips: Sequence[Labelled],
    samples: Samples,
    result: CrossValidated,
    without_active: CrossValidated,
    seed: int,
) -> Results:
    """Return the results.

    Args:
        clips: As listed.
        samples: The table.
        result: Scores under cross-validation.
        without_active: The same, by models that were fitted to no clip of ``active``.
        seed: For resampling.
    """
    plain = scored(clips, samples, result.logits, Kind.PLAIN)
    trainable = ~np.isin(plain.dataset, sorted(EVALUATION_ONLY))
    line = platt(plain.only(trainable))
    plain = _probable(plain, line)
    known = plain.only(trainable)
    points = {name: _point(plain, known, share, seed) for name, share in FALSE_ALARMS.items()}
    videos = by_video(known)
    unseen = by_video(scored(clips, samples, without_active.logits, Kind.PLAIN))
    unseen = unseen.only(unseen.violent | np.isin(unseen.dataset, ["active", "active-eval"]))
    everything = by_video(plain)
    return Results(
        auc={
            "whole clips, all normal clips as negatives": estimate(videos, auc, seed),
            "whole clips, surveillance only": estimate(videos.only(videos.dataset == "scfd"), auc, seed),
            "whole clips, fights against `active`": estimate(_against(everything, "active"), auc, seed),
            "whole clips, fights against `active-eval`": estimate(_against(everything, "active-eval"), auc, seed),
            "whole clips, fights against `active` and `active-eval`, fitted without either": estimate(
                unseen, auc, seed
            ),
            "half-second windows, all normal clips as negatives": estimate(known, auc, seed),
        },
        worst_fold=_worst_fold(videos, result.folds),
        calibration=_calibration(clips, samples, result),
        points=points,
        robustness=_robustness(partial(scored, clips, samples, result.logits), line, points["review"].threshold, seed),
        misses=_worst(clips, everything.only(everything.violent), lowest=True),
        alarms=_worst(clips, everything.only(~everything.violent), lowest=False),
    )


def _probable(logits: Scored, line: tuple[float, float]) -> Scored:
    return replace(logits, score=1 / (1 + np.exp(-(line[0] * logits.score + line[1]))))


def _against(plain: Scored, dataset: str) -> Scored:
    return plain.only(plain.violent | (plain.dataset == dataset))


def _point(plain: Scored, known: Scored, share: float, seed: int) -> Point:
    normal = known.only(~known.violent)
    threshold = round(threshold_at(normal, share), 3)
    parts = {"all normal clips": normal, FIGHTS: known.only(known.violent)}
    parts |= {kind: plain.only(~plain.violent & (plain.dataset == dataset)) for kind, dataset in KINDS.items()}
    measure = partial(share_at_or_above, threshold=threshold)
    return Point(threshold, {kind: estimate(part, measure, seed) for kind, part in parts.items() if len(part.score)})


def _worst_fold(videos: Scored, folds: NDArray[np.int64]) -> float:
    worst = []
    for repeat, fold_of_clip in enumerate(folds.T):
        fold = fold_of_clip[videos.video]
        one = replace(videos, score=videos.score[:, [repeat]])
        worst.append(min(auc(one.only(fold == number)) for number in range(int(fold.max()) + 1)))
    return float(np.mean(worst))


def _calibration(clips: Sequence[Labelled], samples: Samples, result: CrossValidated) -> dict[str, float]:
    plain = scored(clips, samples, result.logits, Kind.PLAIN)
    plain = plain.only(~np.isin(plain.dataset, sorted(EVALUATION_ONLY)))
    score = np.full_like(plain.score, np.nan)
    for repeat, fold_of_clip in enumerate(result.folds.T):
        one, fold = replace(plain, score=plain.score[:, [repeat]]), fold_of_clip[plain.video]
        for number in range(int(fold.max()) + 1):
            line = platt(one.only(fold != number))
            score[fold == number, repeat] = _probable(one.only(fold == number), line).score[:, 0]
    plain = replace(plain, score=score)
    parts = {
        "all": plain,
        "surveillance": plain.only(plain.dataset == "scfd"),
        "fights and `benign`": _against(plain, "benign"),
        "fights and `active`": _against(plain, "active"),
    }
    return {name: calibration_error(part) for name, part in parts.items()}


def _robustness(
    windows_of: Callable[[int], Scored], line: tuple[float, float], review: float, seed: int
) -> dict[str, Robustness]:
    kinds = {"undisturbed": int(Kind.PLAIN)} | {name: Kind.CONDITION + number for number, name in enumerate(NAMES)}
    found = {}
    for name, kind in kinds.items():
        part = _probable(windows_of(kind), line)
        part = part.only(~np.isin(part.dataset, sorted(EVALUATION_ONLY)))
        shares = [share_at_or_above(part.only(part.violent == label), review) for label in (True, False)]
        found[name] = Robustness(estimate(part, auc, seed), *shares)
    return found


def _worst(clips: Sequence[Labelled], videos: Scored, *, lowest: bool, most: int = 12) -> list[Mistake]:
    score = videos.score.mean(axis=1)
    order = np.argsort(score if lowest else -score)[:most]
    return [Mistake(clips[int(videos.video[row])].path, float(score[row])) for row in order]
