"""The whole evaluation: from a list of clips to figures, and the figures as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monitor import __version__
from monitor.errors import LivecordonError
from monitor.evaluation.figures import Figures, Measured, Method, clip_scores, figures
from monitor.evaluation.judging import Judged, Onsets, judge, onsets_of_cut, onsets_of_detection
from monitor.evaluation.listing import ClipRow, Skipped
from monitor.evaluation.metrics import ReliabilityBin, expected_calibration_error, reliability
from monitor.evaluation.scoring import Cost, ScoredFile
from monitor.evaluation.scoring_rows import ModelChoice, score_rows
from monitor.evaluation.stitching import LabelledTrack, StitchedStream, stitch
from monitor.vocabulary import Posture, Severity

POSTURES: Mapping[Posture, tuple[Posture, ...]] = {
    Posture.CALM: (Posture.CALM, Posture.CLOSE),
    Posture.CLOSE: (Posture.CLOSE,),
}
"""In which postures clips are scored for each sampling: a calm stream is looked at closely once it is suspected."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model does on labelled clips.

    Attributes:
        model: ``name@version``.
        method: How it was judged.
        clips: The clips that were scored.
        files: Where each of them lies, by name.
        datasets: Per dataset, in the order of the list.
        all: All clips together.
        calibration: Of clip scores, every clip weighing the same.
        ece_balanced: Calibration error where violent and normal clips weigh the same in all.
        streams: Normal, violent, normal.
        asked, cut: What came of each of `streams`, under `method.asking` and `method.cutting`.
        costs: Per posture, over all clips.
        skipped: Rows that were not evaluated, in order.
    """

    model: str
    method: Method
    clips: tuple[LabelledTrack, ...]
    files: Mapping[str, Path]
    datasets: Mapping[str, Figures]
    all: Figures
    calibration: tuple[ReliabilityBin, ...]
    ece_balanced: float | None
    streams: tuple[StitchedStream, ...]
    asked: tuple[Judged, ...]
    cut: tuple[Judged, ...]
    costs: Mapping[Posture, Cost]
    skipped: tuple[Skipped, ...]

    @property
    def ece(self) -> float | None:
        """Mean distance between score and share of violent clips."""
        return expected_calibration_error(self.calibration)

    @property
    def onsets(self) -> dict[str, Onsets]:
        """How soon a responder was asked, and how soon the stream was cut."""
        label = self.method.label
        return {
            "review": onsets_of_detection(self.streams, self.asked, label, Severity.REVIEW),
            "cut": onsets_of_cut(self.streams, self.cut),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON's types; docs/evaluating.md explains every field."""
        method = self.method
        cost = self.costs[method.sampling]
        decode_ms, classify_ms = (1000 * seconds / cost.windows for seconds in (cost.decode_cpu_s, cost.classify_cpu_s))
        return {
            "livecordon": __version__,
            "model": self.model,
            "label": method.label,
            "sampling": method.sampling.value,
            "clip_score": "mean",
            "resamples": method.resamples,
            "seed": method.seed,
            "rules": _rules(method),
            "protocols": {"reviews": method.asking.name, "cuts": method.cutting.name},
            "datasets": {name: _figures(found) for name, found in self.datasets.items()},
            "all": _figures(self.all),
            "ece": self.ece,
            "ece_balanced": self.ece_balanced,
            "reliability": [
                {"low": one.low, "high": one.high, "clips": int(one.weight), "score": one.score}
                | {"violent_share": one.positive_share}
                for one in self.calibration
            ],
            "onset": {"streams": len(self.streams)} | {name: _onset(found) for name, found in self.onsets.items()},
            "cpu_ms_per_clip": decode_ms + classify_ms,
            "cpu_ms_per_clip_decode": decode_ms,
            "cpu_ms_per_clip_classify": classify_ms,
            "skipped": [
                {"line": one.line, "path": one.path, "dataset": one.dataset, "reason": one.reason, "what": one.what}
                for one in self.skipped
            ],
        }


def evaluate(
    rows: Sequence[ClipRow],
    skipped: Sequence[Skipped],
    model: ModelChoice,
    *,
    name: str,
    method: Method,
    jobs: int,
    on_done: Callable[[int], None] = lambda _done: None,
) -> Evaluation:
    """Score and judge all clips; the same clips, model and method give the same figures, costs aside.

    Args:
        rows: The clips.
        skipped: Rows that were left out already; only passed on.
        model: What scores them.
        name: What to call it, ``name@version``.
        method: How to judge; `sampling` is ``calm`` or ``close``.
        jobs: Processes at work.
        on_done: Called with how many clips have been scored.

    Raises:
        LivecordonError: not one clip could be scored (`reason` ``nothing_to_evaluate``), or the model failed.
    """
    scored, failed = score_rows(rows, model, POSTURES[method.sampling], jobs=jobs, on_done=on_done)
    left_out = tuple(sorted((*skipped, *failed), key=lambda one: one.line))
    if not scored:
        because = "".join(f"\n  line {one.line}: {one.path}: {one.what}" for one in left_out[:10])
        raise LivecordonError(f"not one clip could be scored{because}", reason="nothing_to_evaluate")
    return summarise(scored, left_out, model=name, method=method)


def summarise(
    scored: Sequence[tuple[ClipRow, ScoredFile]], skipped: Sequence[Skipped], *, model: str, method: Method
) -> Evaluation:
    """Judge clips that have been scored, at least one."""
    clips = tuple(LabelledTrack(row.path, row.dataset, row.group, row.violent, found.track) for row, found in scored)
    alone: dict[str, int] = {}
    for row, _ in scored:
        alone[row.dataset] = alone.get(row.dataset, 0) + (not row.grouped)
    streams = stitch(clips, seed=method.seed)
    violent = np.array([clip.violent for clip in clips])
    scores = clip_scores(clips, method)
    return Evaluation(
        model=model,
        method=method,
        clips=clips,
        files={row.path: row.file for row, _ in scored},
        datasets={
            name: figures([clip for clip in clips if clip.dataset == name], method, ungrouped=ungrouped)
            for name, ungrouped in alone.items()
        },
        all=figures(clips, method, ungrouped=sum(alone.values())),
        calibration=reliability(scores, violent),
        ece_balanced=_balanced_error(scores, violent),
        streams=streams,
        asked=tuple(
            judge(one.track, method.asking, method.rules, sampling=method.sampling, dismiss_reviews=True)
            for one in streams
        ),
        cut=tuple(
            judge(one.track, method.cutting, method.rules, sampling=method.sampling, dismiss_reviews=False)
            for one in streams
        ),
        costs={posture: _sum([found.costs[posture] for _, found in scored]) for posture in POSTURES[method.sampling]},
        skipped=tuple(skipped),
    )


def _balanced_error(scores: np.ndarray[Any, np.dtype[np.float64]], violent: np.ndarray[Any, Any]) -> float | None:
    if violent.all() or not violent.any():
        return None
    weights = np.where(violent, 0.5 / violent.sum(), 0.5 / (~violent).sum())
    return expected_calibration_error(reliability(scores, violent, weights=weights))


def _sum(costs: Sequence[Cost]) -> Cost:
    return Cost(
        decode_cpu_s=sum(cost.decode_cpu_s for cost in costs),
        classify_cpu_s=sum(cost.classify_cpu_s for cost in costs),
        windows=sum(cost.windows for cost in costs),
    )


def _rules(method: Method) -> dict[str, Any]:
    return {
        label: {
            **{
                name: {"threshold": level.threshold, "hits": level.hits, "of": level.of}
                for name, level in (("review", rule.review), ("act", rule.act))
            },
            "clear_ratio": rule.clear_ratio,
            "clear_after_s": rule.clear_after_s,
        }
        for label, rule in method.rules.items()
    }


def _figures(found: Figures) -> dict[str, Any]:
    return {
        "clips": found.clips,
        "violent_clips": found.violent,
        "normal_clips": found.clips - found.violent,
        "groups": found.groups,
        "clips_without_group": found.ungrouped,
        "windows": found.windows,
        "normal_hours": found.normal_hours,
        "normal_streams": found.normal_streams,
        "short_streams": found.short_streams,
        **_measured("auc", found.auc),
        **_measured("average_precision", found.average_precision),
        **_measured("auc_of_max", found.auc_of_max),
        **_measured("recall_review", found.recall_review),
        **_measured("recall_act", found.recall_act),
        "false_review_share": found.false_review_share,
        "false_act_share": found.false_act_share,
        "windows_at_review": {"violence": found.windows_review[0], "normal": found.windows_review[1]},
        "windows_at_act": {"violence": found.windows_act[0], "normal": found.windows_act[1]},
        "false_reviews": found.false_reviews,
        "false_cuts": found.false_cuts,
        **_measured("false_reviews_per_hour", found.false_reviews_per_hour),
        **_measured("false_cuts_per_hour", found.false_cuts_per_hour),
    }


def _measured(name: str, found: Measured) -> dict[str, Any]:
    interval = found.interval
    return {name: found.value, f"{name}_ci95": None if interval is None else [interval.low, interval.high]}


def _onset(found: Onsets) -> dict[str, Any]:
    delays_s = sorted(found.delays_s)
    return {
        "noticed": len(delays_s),
        "before": found.before,
        "missed": found.missed,
        "median_s": float(np.median(delays_s)) if delays_s else None,
        "p90_s": float(np.percentile(delays_s, 90)) if delays_s else None,
        "delays_s": [round(delay_s, 3) for delay_s in delays_s],
    }
