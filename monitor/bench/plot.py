"""Draws what the benchmark found."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

from monitor.bench.results import REAL_TIME, Results, Row, machine_summary

_OURS, _THEIRS, _LOST = "#1f5fa8", "#b0bec5", "#d9534f"
_OURSELVES: Final = ("calm", "close", "full", "keyframe")


def draw(path: Path, results: Results) -> None:
    """Write a PNG: what each way of sampling costs, and how many streams are watched in real time.

    Args:
        path: Where the PNG goes.
        results: As `monitor.bench.running.run_bench` returns them.
    """
    streams = list(dict.fromkeys(row.stream for row in results.rows))
    figure, axes = plt.subplots(
        1, max(1, len(streams)) + 1, figsize=(5 * (len(streams) + 1), 4.6), layout="constrained"
    )
    try:
        for axis, stream in zip(axes, streams, strict=False):
            _draw_costs(axis, stream, [row for row in results.rows if row.stream == stream])
        _draw_scaling(axes[-1], results)
        quick = ", quick" if results.quick else ""
        figure.suptitle(f"{machine_summary(results.machine)}{quick}", fontsize=9)
        figure.savefig(path, dpi=110)
    finally:
        plt.close(figure)


def _draw_costs(axis: Any, stream: str, rows: list[Row]) -> None:
    names = [row.what for row in rows]
    values = [row.cpu_s_per_stream_s * 1000 for row in rows]
    errors = [
        [(row.cpu_s_per_stream_s - row.lowest_cpu_s) * 1000 for row in rows],
        [(row.highest_cpu_s - row.cpu_s_per_stream_s) * 1000 for row in rows],
    ]
    colours = [_OURS if row.method in _OURSELVES else _THEIRS for row in rows]
    bars = axis.barh(names, values, xerr=errors, color=colours, ecolor="#555555", capsize=2)
    axis.bar_label(bars, fmt="%.1f", fontsize=8, padding=6)
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.set_title(stream, loc="left", fontsize=10)
    axis.set_xlabel("core ms for one second of stream", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_scaling(axis: Any, results: Results) -> None:
    for source, marker in (("files", "o"), ("rtmp", "s")):
        steps = sorted(results.scaling.get(source, []), key=lambda step: step.streams)
        numbers = [step.streams for step in steps]
        axis.plot(numbers, [step.real_time_share for step in steps], marker=marker, ms=4, label=source)
        lost = [step for step in steps if not step.in_real_time]
        axis.plot(
            [step.streams for step in lost], [step.real_time_share for step in lost], "x", color=_LOST, ms=9, mew=2
        )
    axis.axhline(REAL_TIME, color="#999999", lw=0.8, ls="--")
    axis.set(ylim=(0, 1.05), xlabel="720p30 streams at once", ylabel="clips scored in time")
    axis.set_title(f"{results.watchers} watchers, model included", loc="left", fontsize=10)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8, loc="lower left")
