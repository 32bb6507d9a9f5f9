"""Draws what `livecordon watch` saw: scores over time, thresholds, detections, protocol states and effects."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

from monitor.detect.persistence import DetectionRule
from monitor.evaluation.stream_time import Record
from monitor.protocol.definition import Definition

_DOTS = 300
_TITLE_WIDTH = 100
_STORY_WIDTH, _STORY_LINES = 190, 4
_LABEL_COLOURS = ("#1f5fa8", "#8a4fa3", "#2b8a6e", "#8c6d1f")
_SEVERITY_COLOURS = {"none": "#cfd8dc", "review": "#f2b544", "act": "#d9534f"}
_STATE_COLOURS = ("#dfe7ec", "#bcd3e6", "#f5d9a8", "#efb7b0", "#c9e4ca", "#d9cce8", "#f0e3b2", "#c4d7d1")


def draw(
    path: Path,
    watched: Sequence[tuple[str, Sequence[Record]]],
    *,
    rules: Mapping[str, DetectionRule],
    definition: Definition,
) -> None:
    """Write a PNG with one panel of scores and one strip of states for each source.

    Args:
        path: Where the PNG goes.
        watched: Each source's name and its records, in order.
        rules: Thresholds to draw, per label.
        definition: The protocol that the states belong to.
    """
    figure, axes = plt.subplots(
        2 * len(watched),
        1,
        figsize=(11, 3.4 * len(watched)),
        height_ratios=[5, 1] * len(watched),
        squeeze=False,
        layout="constrained",
    )
    try:
        for number, (source, records) in enumerate(watched):
            length_s = max(float(records[-1].get("duration_s", 0.0)), 0.1)
            _draw_scores(axes[2 * number][0], source, records, rules, length_s)
            _draw_states(axes[2 * number + 1][0], records, definition, length_s)
        figure.savefig(path, dpi=110)
    finally:
        plt.close(figure)


def _draw_scores(
    axis: Any, source: str, records: Sequence[Record], rules: Mapping[str, DetectionRule], length_s: float
) -> None:
    scored = [record for record in records if record["type"] == "score"]
    for number, (label, rule) in enumerate(rules.items()):
        colour = _LABEL_COLOURS[number % len(_LABEL_COLOURS)]
        times = [record["t"] for record in scored]
        scores = [record["scores"][label] for record in scored]
        # Single clips are worth a dot as long as dots do not run into each other.
        axis.plot(times, scores, "-o" if len(scored) <= _DOTS else "-", color=colour, ms=2.5, lw=1, label=label)
        for name, level in (("review", rule.review), ("act", rule.act)):
            axis.axhline(level.threshold, color=_SEVERITY_COLOURS[name], lw=1, ls="--")
            axis.annotate(name, (length_s, level.threshold), fontsize=7, va="bottom", ha="right", color="#555555")
    for start_s, end_s, severity in _spans(records, length_s):
        axis.axvspan(start_s, end_s, color=_SEVERITY_COLOURS[severity], alpha=0.22, lw=0)
    axis.set(xlim=(0, length_s), ylim=(0, 1.02), ylabel="score")
    axis.set_title(source if len(source) <= _TITLE_WIDTH else f"… {source[-_TITLE_WIDTH:]}", loc="left", fontsize=10)
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderaxespad=0.2, fontsize=8, frameon=False)
    axis.tick_params(labelbottom=False)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_states(axis: Any, records: Sequence[Record], definition: Definition, length_s: float) -> None:
    names = list(definition.states)
    entered = [(0.0, definition.initial)]
    entered += [(record["t"], record["to"]) for record in records if record["type"] == "transition"]
    ends = [at for at, _ in entered[1:]] + [length_s]
    for (start_s, state), end_s in zip(entered, ends, strict=True):
        axis.axvspan(start_s, end_s, color=_STATE_COLOURS[names.index(state) % len(_STATE_COLOURS)], lw=0)
        if end_s - start_s > length_s / 12:
            axis.text((start_s + end_s) / 2, 0.5, state.replace("_", " "), ha="center", va="center", fontsize=7)
    for at in {record["t"] for record in records if record["type"] == "effect"}:
        axis.axvline(at, color="#333333", lw=0.8)
    axis.set(xlim=(0, length_s), ylim=(0, 1), yticks=[])
    axis.set_xlabel("\n".join(("stream time in seconds", *_story(records))), fontsize=7, loc="left")
    axis.spines[["top", "right", "left"]].set_visible(False)


def _story(records: Sequence[Record]) -> list[str]:
    """Return what happened as wrapped lines: each transition with the effects that came of it."""
    told: list[str] = []
    for record in records:
        if record["type"] == "transition":
            told.append(f"{record['t']:.1f} s {record['to']}")
        elif record["type"] == "effect":
            told.append(f"would {record['effect']}")
    lines = textwrap.wrap("; ".join(told).replace("_", " "), _STORY_WIDTH)
    return lines if len(lines) <= _STORY_LINES else [*lines[: _STORY_LINES - 1], f"{lines[_STORY_LINES - 1]} …"]


def _spans(records: Sequence[Record], length_s: float) -> list[tuple[float, float, str]]:
    """Return when the stream was at which severity, over all labels."""
    order = ("none", "review", "act")
    severities: dict[str, str] = {}
    spans: list[tuple[float, float, str]] = []
    since_s, current = 0.0, "none"
    for record in records:
        if record["type"] != "detection":
            continue
        severities[record["label"]] = record["severity"]
        worst = max(severities.values(), key=order.index)
        if worst != current:
            spans.append((since_s, record["t"], current))
            since_s, current = record["t"], worst
    spans.append((since_s, length_s, current))
    return [span for span in spans if span[2] != "none"]
