"""Results of a benchmark that nobody ran."""

from __future__ import annotations

from typing import Any

from monitor.bench.results import Results, Row, Step

MACHINE: dict[str, Any] = {"processor": "P", "cores": 2, "system": "S", "load_before": 0.1, "load_after": 0.2}


def row(method: str, cpu_s: float, *, like_for_like: bool = False, stream: str = "720p30") -> Row:
    return Row(
        method=method,
        stream=stream,
        what=f"{method} in words",
        sampled_fps=2.0,
        cpu_s_per_stream_s=cpu_s,
        lowest_cpu_s=cpu_s * 0.9,
        highest_cpu_s=cpu_s * 1.2,
        rounds=3,
        like_for_like=like_for_like,
    )


def step(streams: int, *, share: float = 1.0, late_ms: float = 5.0, verdicts_ms: tuple[float, ...] = ()) -> Step:
    return Step(
        streams=streams,
        real_time_share=share,
        late_p95_ms=late_ms,
        dropped=0,
        cpu_s_per_stream_s=0.02,
        decode_share=0.8,
        resident_bytes=(200 + 12 * streams) * 2**20,
        verdicts_ms=verdicts_ms,
    )


def results(**fields: Any) -> Results:
    return Results(quick=True, machine=MACHINE, watchers=2, model="m@1", **fields)
