"""The results for people: one table of costs, one of streams at once, and what they come to."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from monitor.bench.results import Results, Row, Step, machine_summary, percentiles


def print_results(results: Results, console: Console) -> None:
    """Print everything to `console`."""
    console.print()
    console.print(Text(machine_summary(results.machine), style="bold"))
    load = f"load {results.machine['load_before']} before, {results.machine['load_after']} after"
    console.print(f"{results.model}, {results.watchers} watchers, {load}{'  (quick)' if results.quick else ''}")
    for part in _parts(results):
        console.print()
        console.print(part)


def _parts(results: Results) -> Iterator[RenderableType]:
    if results.rows:
        yield _costs(results)
    for source, steps in results.scaling.items():
        if steps:
            yield _scaling(source, steps)
    yield _summary(results)
    if results.not_measured:
        yield Text("\n".join(f"not measured: {what}: {why}" for what, why in results.not_measured.items()))


def _costs(results: Results) -> Table:
    table = Table(
        title="Processor time for one second of one stream, median of rounds in turns",
        caption="≈ takes the same samples as the other rows with this sign, and can be compared one to one",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("way of sampling", min_width=42)
    for heading in ("frames/s", "core ms", "lowest-highest", "streams/core", "ffmpeg costs", "OpenCV costs"):
        table.add_column(heading, justify="right")
    for stream in dict.fromkeys(row.stream for row in results.rows):
        rows = [row for row in results.rows if row.stream == stream]
        rounds = min(row.rounds for row in rows)
        table.add_section()
        table.add_row(Text(f"{stream}, {rounds} round{'s' if rounds > 1 else ''}", style="bold"))
        for row in rows:
            table.add_row(*_cost(results, row))
    return table


def _cost(results: Results, row: Row) -> tuple[str, ...]:
    return (
        f"{'≈' if row.like_for_like else ' '} {row.what}",
        f"{row.sampled_fps:.1f}",
        f"{row.cpu_s_per_stream_s * 1000:.1f}",
        f"{row.lowest_cpu_s * 1000:.1f}-{row.highest_cpu_s * 1000:.1f}",
        f"{row.streams_per_core:.0f}",
        _times(results.times_cheaper(row, "ffmpeg")),
        _times(results.times_cheaper(row, "opencv")),
    )


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} x"


def _scaling(source: str, steps: list[Step]) -> Table:
    where = "recorded files" if source == "files" else "a real nginx-rtmp on the same cores"
    table = Table(title=f"720p30 streams watched at once in calm posture, from {where}", title_justify="left")
    for heading in (
        "streams",
        "scored in time",
        "late p95 ms",
        "given up",
        "core ms/stream",
        "of it decoding",
        "verdict p50 / p95 ms",
        "memory MiB",
    ):
        table.add_column(heading, justify="right")
    for step in sorted(steps, key=lambda step: step.streams):
        verdicts = percentiles(step.verdicts_ms)
        table.add_row(
            str(step.streams),
            f"{step.real_time_share:.0%}{'' if step.in_real_time else '  lost'}",
            f"{step.late_p95_ms:.0f}",
            str(step.dropped),
            "" if step.cpu_s_per_stream_s is None else f"{step.cpu_s_per_stream_s * 1000:.1f}",
            "" if step.decode_share is None else f"{step.decode_share:.0%}",
            f"{verdicts['p50']:.0f} / {verdicts['p95']:.0f}" if verdicts and source == "rtmp" else "",
            f"{step.resident_bytes / 2**20:.0f}",
        )
    return table


def _summary(results: Results) -> Table:
    shown = results.to_dict()
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(style="bold")
    for source in ("files", "rtmp"):
        per_core = shown["realtime_streams_per_core"][source]
        if per_core is not None:
            most = "" if results.limit_was_found(source) else "at least "
            table.add_row(f"streams per core in real time, inference included, {source}", f"{most}{per_core:g}")
    if shown["memory_mib_per_stream"] is not None:
        table.add_row("memory per stream", f"{shown['memory_mib_per_stream']:.1f} MiB")
    latency = shown["verdict_latency_ms"]
    if latency["p50"] is not None:
        table.add_row(
            f"last frame's arrival to verdict, {shown['verdict_latency_streams']} streams over RTMP",
            f"p50 {latency['p50']:.0f} ms, p95 {latency['p95']:.0f} ms",
        )
    return table
