"""The tables of docs/performance.md from a run's JSON: ``python benchmarks/performance_tables.py results.json``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")
"""The run that the page shows."""


def tables(results: dict[str, Any]) -> str:
    """Return everything between the page's markers, as Markdown."""
    return "\n".join([*_machine(results), "", *_costs(results), "", *_scaling(results), "", *_summary(results)])


def _machine(results: dict[str, Any]) -> Iterator[str]:
    machine = results["machine"]
    yield (
        f"Measured {results['began_at'][:10]} on {machine['processor']}, {machine['cores']} cores, {machine['system']}; "
        f"Python {machine['python']}, PyAV {machine['pyav']} (libavcodec {machine['libavcodec']}), "
        f"ffmpeg {machine['ffmpeg'] or 'missing'}, OpenCV {machine['opencv']}, ONNX Runtime {machine['onnxruntime']}; "
        f"model `{results['model']}`. The machine's load was {machine['load_before']} when the run began."
    )


def _costs(results: dict[str, Any]) -> Iterator[str]:
    yield "| stream | way of sampling | frames/s | core ms per s | lowest to highest | streams/core | ffmpeg costs | OpenCV costs |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in results["rows"]:
        cells = (
            row["stream"],
            f"{'≈ ' if row['like_for_like'] else ''}{row['what']}",
            f"{row['sampled_fps']:.1f}",
            f"{row['cpu_s_per_stream_s'] * 1000:.1f}",
            f"{row['lowest_cpu_s'] * 1000:.1f} to {row['highest_cpu_s'] * 1000:.1f}",
            f"{row['streams_per_core']:.0f}",
            _times(row["times_cheaper_than_ffmpeg"]),
            _times(row["times_cheaper_than_opencv"]),
        )
        yield f"| {' | '.join(cells)} |"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} x"


def _scaling(results: dict[str, Any]) -> Iterator[str]:
    yield "| from | streams | scored in time | late p95 ms | core ms per stream | verdict p50 / p95 ms | memory MiB |"
    yield "|---|---|---|---|---|---|---|"
    for source, steps in results["scaling"].items():
        for step in sorted(steps, key=lambda one: int(one["streams"])):
            verdicts = step["verdict_latency_ms"] if source == "rtmp" else None
            cost = step["cpu_s_per_stream_s"]
            cells = (
                "files" if source == "files" else "nginx-rtmp",
                str(step["streams"]),
                f"{step['real_time_share']:.0%}{'' if step['in_real_time'] else ', lost'}",
                f"{step['late_p95_ms']:.0f}",
                "" if cost is None else f"{cost * 1000:.1f}",
                f"{verdicts['p50']:.0f} / {verdicts['p95']:.0f}" if verdicts else "",
                f"{step['resident_bytes'] / 2**20:.0f}",
            )
            yield f"| {' | '.join(cells)} |"


def _summary(results: dict[str, Any]) -> Iterator[str]:
    per_core, latency = results["realtime_streams_per_core"], results["verdict_latency_ms"]
    yield "| | |"
    yield "|---|---|"
    for source, name in (("files", "files"), ("rtmp", "nginx-rtmp on the same cores")):
        if per_core[source] is not None:
            yield f"| streams per core in real time, model included, from {name} | {per_core[source]:g} |"
    if results["memory_mib_per_stream"] is not None:
        yield f"| memory per stream | {results['memory_mib_per_stream']:.1f} MiB |"
    if latency["p50"] is not None:
        streams = results["verdict_latency_streams"]
        yield (
            f"| last frame's arrival to verdict, {streams} streams from nginx-rtmp "
            f"| p50 {latency['p50']:.0f} ms, p95 {latency['p95']:.0f} ms |"
        )


if __name__ == "__main__":
    print(tables(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
