"""Draws what an evaluation found: ranking, calibration, stitched streams, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from monitor.evaluation.evaluation import Evaluation
from monitor.evaluation.figures import clip_scores
from monitor.evaluation.judging import Judged
from monitor.evaluation.metrics import roc_curve
from monitor.evaluation.pictures import picture_of
from monitor.evaluation.stitching import LabelledTrack, StitchedStream
from monitor.vocabulary import Severity

_LINE, _OTHERS = "#1f5fa8", ("#8a4fa3", "#2b8a6e", "#8c6d1f", "#b0bec5")
_REVIEW, _ACT, _VIOLENCE = "#f2b544", "#d9534f", "#f6d9d8"
_STREAMS: Final = 4
_MISTAKES: Final = 6
"""Of each kind."""
_NAME_CHARACTERS: Final = 30


def draw(path: Path, found: Evaluation) -> None:
    """Write a PNG. Clips are opened again for their pictures; those labelled violent are blurred beyond recognition.

    Args:
        path: Where the PNG goes.
        found: What to draw.
    """
    figure = plt.figure(figsize=(15, 15))
    try:
        parts: Any = figure.subfigures(3, 1, height_ratios=[4.4, 5.4, 5.2])
        top, middle, bottom = parts
        ranking, calibration, spread = top.subplots(1, 3)
        # Fixed places: names of datasets and files are as long as they like, and are not to squeeze what is drawn.
        top.subplots_adjust(left=0.05, right=0.98, bottom=0.13, top=0.83, wspace=0.24)
        _draw_ranking(ranking, found)
        _draw_calibration(calibration, found)
        _draw_spread(spread, found)
        _draw_streams(middle, found)
        _draw_mistakes(bottom, found)
        figure.suptitle(
            f"{found.model}, {found.all.clips} clips, sampled {found.method.sampling.value}",
            fontsize=12,
            x=0.02,
            y=0.99,
            ha="left",
        )
        figure.savefig(path, dpi=100)
    finally:
        plt.close(figure)


def _draw_ranking(axis: Any, found: Evaluation) -> None:
    sets = {"all": found.clips} | {
        name: [clip for clip in found.clips if clip.dataset == name] for name in found.datasets
    }
    if len(found.datasets) == 1:
        del sets["all"]
    drawn = 0
    for name, clips in sets.items():
        violent = np.array([clip.violent for clip in clips])
        if violent.all() or not violent.any():
            continue
        alarms, hits = roc_curve(clip_scores(clips, found.method), violent)
        auc = (found.all if name == "all" else found.datasets[name]).auc
        interval = "" if auc.interval is None else f" ({auc.interval.low:.2f}-{auc.interval.high:.2f})"
        colour = _LINE if not drawn else _OTHERS[(drawn - 1) % len(_OTHERS)]
        axis.plot(alarms, hits, color=colour, lw=1.6 if not drawn else 1, label=f"{name}: {auc.value:.3f}{interval}")
        drawn += 1
    axis.plot([0, 1], [0, 1], color="#bbbbbb", lw=0.8, ls="--")
    for threshold, colour, word in _levels(found):
        at = _share_at(found, threshold)
        if at is not None:
            axis.plot(*at, "o", color=colour, ms=6, label=f"{word} at {threshold:g}")
    axis.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="share of normal clips", ylabel="share of violent clips")
    _finish(axis, "ROC of clip scores (mean of windows)")
    if drawn:
        axis.legend(frameon=False, fontsize=8, loc="lower right")
    else:
        _say(axis, "needs clips of both labels")


def _draw_calibration(axis: Any, found: Evaluation) -> None:
    bins = found.calibration
    axis.plot([0, 1], [0, 1], color="#bbbbbb", lw=0.8, ls="--")
    axis.plot([one.score for one in bins], [one.positive_share for one in bins], "-o", color=_LINE, ms=4)
    for one in bins:
        axis.annotate(
            f"{one.weight:.0f}", (one.score, one.positive_share), (4, -9), textcoords="offset points", fontsize=7
        )
    axis.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="clip score", ylabel="share that is violent")
    _finish(axis, f"Calibration, ECE {found.ece:.3f} (numbers: clips)")


def _draw_spread(axis: Any, found: Evaluation) -> None:
    scores = clip_scores(found.clips, found.method)
    names = list(found.datasets)
    random = np.random.default_rng(0)
    for row, name in enumerate(names):
        for violent, colour, offset in ((False, _LINE, 0.15), (True, _ACT, -0.15)):
            chosen = [clip.dataset == name and clip.violent is violent for clip in found.clips]
            values = scores[np.array(chosen)]
            axis.plot(
                values, row + offset + random.uniform(-0.1, 0.1, len(values)), ".", color=colour, ms=3.5, alpha=0.6
            )
    for threshold, colour, _ in _levels(found):
        axis.axvline(threshold, color=colour, lw=1, ls="--")
    axis.set(
        xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xlabel="clip score", yticks=range(len(names)), yticklabels=names
    )
    _finish(axis, "Every clip: violent (red), normal (blue)")


def _draw_streams(figure: Any, found: Evaluation) -> None:
    chosen = _worth_showing(found)
    axes = figure.subplots(max(1, len(chosen)), 1, squeeze=False)
    figure.subplots_adjust(left=0.05, right=0.98, bottom=0.1, top=0.92, hspace=0.45)
    if not chosen:
        _finish(axes[0][0], "Stitched streams")
        _say(axes[0][0], "too few clips of held-apart groups to stitch a stream")
        return
    for number, (axis, index) in enumerate(zip(axes[:, 0], chosen, strict=True)):
        stream, asked, cut = found.streams[index], found.asked[index], found.cut[index]
        _draw_stream(axis, stream, asked, cut, found)
        title = "Streams stitched from scores: normal, violence (shaded), normal" if not number else ""
        axis.set_title(title, loc="left", fontsize=10, pad=10)
    axes[-1][0].set_xlabel(
        "stream time in seconds; ▲ a responder is asked, ✖ the stream is cut; a dot for each window", fontsize=8
    )


def _draw_stream(axis: Any, stream: StitchedStream, asked: Judged, cut: Judged, found: Evaluation) -> None:
    axis.axvspan(stream.onset_s, stream.end_s, color=_VIOLENCE, lw=0)
    for threshold, colour, _ in _levels(found):
        axis.axhline(threshold, color=colour, lw=1, ls="--")
    times = [window.end_s for window, _ in asked.seen]
    axis.plot(times, [window.scores[found.method.label] for window, _ in asked.seen], "-o", color=_LINE, lw=1, ms=2)
    axis.plot(asked.reviews_s, [1.05] * len(asked.reviews_s), "^", color=_REVIEW, mec="#555555", ms=7, clip_on=False)
    axis.plot(cut.cuts_s, [1.05] * len(cut.cuts_s), "X", color=_ACT, mec="#555555", ms=7, clip_on=False)
    axis.set(xlim=(0, stream.track.length_s), ylim=(0, 1), ylabel="score")
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_mistakes(figure: Any, found: Evaluation) -> None:
    scores = clip_scores(found.clips, found.method)
    order = np.argsort(scores, kind="stable")
    missed = [int(index) for index in order if found.clips[index].violent][:_MISTAKES]
    alarming = [int(index) for index in order[::-1] if not found.clips[index].violent][:_MISTAKES]
    axes = figure.subplots(2, _MISTAKES)
    figure.subplots_adjust(left=0.05, right=0.98, bottom=0.02, top=0.84, wspace=0.08, hspace=0.3)
    figure.suptitle(
        "Worst mistakes. Above: normal clips that score highest. Below: violent clips that score lowest (blurred on purpose)",
        fontsize=10,
        x=0.02,
        ha="left",
    )
    for row, indices in zip(axes, (alarming, missed), strict=True):
        for axis in row:
            axis.set_axis_off()
        for axis, index in zip(row, indices, strict=False):
            _draw_clip(axis, found, found.clips[index], float(scores[index]))


def _draw_clip(axis: Any, found: Evaluation, clip: LabelledTrack, score: float) -> None:
    windows = clip.track.windows[found.method.sampling]
    # The moment that speaks loudest for the mistake: the highest score of a normal clip, the lowest of a violent one.
    extreme = (min if clip.violent else max)(windows, key=lambda window: window.scores[found.method.label])
    shown = picture_of(found.files[clip.name], (extreme.start_s + extreme.end_s) / 2, veiled=clip.violent)
    if shown is not None:
        axis.imshow(shown.picture)
    name = clip.name if len(clip.name) <= _NAME_CHARACTERS else f"…{clip.name[-_NAME_CHARACTERS:]}"
    axis.set_title(f"{score:.2f}  {clip.dataset}\n{name}", fontsize=7, loc="left")


def _worth_showing(found: Evaluation) -> list[int]:
    """Return up to four streams: spread evenly from the one noticed soonest to those that were missed."""

    def soonest(index: int) -> tuple[float, int]:
        stream = found.streams[index]
        rises_s = [
            change.at_s - stream.onset_s
            for change in found.asked[index].changes
            if change.severity > Severity.NONE and stream.onset_s <= change.at_s <= stream.end_s
        ]
        return min(rises_s, default=float("inf")), index

    order = sorted(range(len(found.streams)), key=soonest)
    if len(order) <= _STREAMS:
        return order
    return [order[round(place)] for place in np.linspace(0, len(order) - 1, _STREAMS)]


def _share_at(found: Evaluation, threshold: float) -> tuple[float, float] | None:
    recall, alarms = (
        (found.all.recall_review.value, found.all.false_review_share)
        if threshold == found.method.review
        else (found.all.recall_act.value, found.all.false_act_share)
    )
    return None if recall is None or alarms is None else (alarms, recall)


def _levels(found: Evaluation) -> Sequence[tuple[float, str, str]]:
    return ((found.method.review, _REVIEW, "review"), (found.method.act, _ACT, "act"))


def _say(axis: Any, text: str) -> None:
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", fontsize=9, color="#555555")


def _finish(axis: Any, title: str) -> None:
    axis.set_title(title, loc="left", fontsize=10)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
