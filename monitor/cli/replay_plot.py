"""Draws what `livecordon replay` found: scores and thresholds above, and below a band of states for each choice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from monitor.evaluation.replaying import Replayed
from monitor.evaluation.scoring import Track
from monitor.protocol.drawing.cards import Look, cards_of
from monitor.vocabulary import EffectKind, Posture

_LABEL_COLOURS: Final = ("#1f5fa8", "#8a4fa3", "#2b8a6e", "#8c6d1f")
_REVIEW, _ACT = "#f2b544", "#d9534f"
_DASHES: Final = ("--", ":", "-.", (0, (5, 1)))
_LOOKS: Final = {
    Look.INITIAL: ("#eef1f4", "nothing has happened"),
    Look.PLAIN: ("#bcd3e6", "people look"),
    Look.ACTING: ("#e88a7d", "being held or cut"),
    Look.SILENCED: ("#f5d0a9", "may be silenced"),
    Look.FINAL: ("#b9c1c8", "over"),
}
_MARKS: Final = {
    EffectKind.REQUEST_REVIEW: ("^", "#1f5fa8", "a person is asked"),
    EffectKind.HOLD: ("s", "#bf7432", "held"),
    EffectKind.CUT: ("X", "#b3392c", "cut"),
    EffectKind.UNBLOCK: ("o", "#2b7a4b", "let in again"),
}
_CHARACTER_SHARE: Final = 0.0068
"""Width of a letter in a band, as a share of the whole width."""


def draw(path: Path, source: str, track: Track, found: Sequence[Replayed], sampling: Posture) -> None:
    """Write a PNG.

    Args:
        path: Where it goes.
        source: What was replayed, for the title.
        track: Its scores; the closest posture that it has is drawn.
        found: What came of each choice.
        sampling: The posture that is certainly in the track.
    """
    height = 4.6 + 1.1 * len(found)
    figure, axes = plt.subplots(
        1 + len(found),
        1,
        figsize=(12, height),
        height_ratios=[3.2] + [0.8] * len(found),
        sharex=True,
        squeeze=False,
    )
    try:
        # Fixed places: names are as long as they like, and are not to squeeze what is drawn.
        figure.subplots_adjust(left=0.05, right=0.985, top=1 - 0.35 / height, bottom=1.15 / height, hspace=0.3)
        _draw_scores(axes[0][0], source, track, found, sampling)
        for axis, one in zip(axes[1:, 0], found, strict=True):
            _draw_band(axis, one, track.length_s)
        axes[-1][0].set_xlabel("stream time in seconds", fontsize=8)
        looks = [Patch(facecolor=colour, label=said) for colour, said in _LOOKS.values()]
        marks = [
            Line2D([], [], marker=mark, color=colour, ls="", ms=7, label=said) for mark, colour, said in _MARKS.values()
        ]
        silent = [Patch(facecolor="none", edgecolor="#555555", hatch="////", label="off the air")]
        figure.legend(handles=[*looks, *silent, *marks], loc="lower center", ncols=5, fontsize=8, frameon=False)
        figure.savefig(path, dpi=110)
    finally:
        plt.close(figure)


def _draw_scores(axis: Any, source: str, track: Track, found: Sequence[Replayed], sampling: Posture) -> None:
    posture = max(track.windows, key=lambda one: one.rank, default=sampling)
    windows = track.windows[posture]
    for number, label in enumerate(windows[0].scores):
        times = [window.end_s for window in windows]
        scores = [window.scores[label] for window in windows]
        axis.plot(times, scores, "-o", ms=2, lw=1, color=_LABEL_COLOURS[number % len(_LABEL_COLOURS)], label=label)
    drawn: dict[tuple[float, str], Any] = {}
    for one in found:
        for rule in one.choice.rules.values():
            for threshold, word, colour in (
                (rule.review.threshold, "review", _REVIEW),
                (rule.act.threshold, "act", _ACT),
            ):
                if (threshold, word) in drawn:
                    continue
                dash = _DASHES[sum(other == word for _, other in drawn) % len(_DASHES)]
                drawn[threshold, word] = dash
                axis.axhline(threshold, color=colour, lw=1, ls=dash, label=f"{word} {threshold:g}")
    axis.set(xlim=(0, track.length_s), ylim=(0, 1.02), ylabel="score")
    axis.set_title(source, loc="left", fontsize=10)
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=6, borderaxespad=0.2, fontsize=8, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_band(axis: Any, one: Replayed, length_s: float) -> None:
    cards = cards_of(one.choice.definition)
    for span in one.states:
        axis.axvspan(span.start_s, span.end_s, color=_LOOKS[cards[span.what].look][0], lw=0)
        axis.axvline(span.start_s, color="#ffffff", lw=1)
        said = span.what.replace("_", " ")
        if (span.end_s - span.start_s) / length_s > _CHARACTER_SHARE * (len(said) + 1):
            axis.text((span.start_s + span.end_s) / 2, 0.35, said, ha="center", va="center", fontsize=7.5)
    for span in one.off_air:
        axis.axvspan(span.start_s, span.end_s, ymax=0.14, facecolor="none", edgecolor="#555555", hatch="//////", lw=0)
    for kind, (mark, colour, _) in _MARKS.items():
        times = [r["t"] for r in one.records if r["type"] == "effect" and r["effect"] == kind.value]
        axis.plot(times, [0.8] * len(times), mark, color=colour, mec="#ffffff", ms=8, clip_on=False)
    axis.set(ylim=(0, 1), yticks=[])
    axis.set_title(one.choice.name, loc="left", fontsize=9, pad=3)
    axis.spines[["top", "right", "left"]].set_visible(False)
