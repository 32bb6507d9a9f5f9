"""The whole benchmark, from generated footage to results."""

from __future__ import annotations

import asyncio
import math
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from monitor.bench import footage, sampling, scaling
from monitor.bench.machine import cores, describe_machine, load_now
from monitor.bench.results import Results, Step
from monitor.classify.package import find_package, load_package
from monitor.errors import LivecordonError
from monitor.video.clip import ClipSpec
from monitor.watch.settings import WatchSettings

Progress = Callable[[str, int, int], None]
"""Takes what is being done, how much of it is done, and how much there is."""

_PACED_LENGTH_S: Final = 180
"""Longer than any number of streams is watched for."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured.

    Attributes:
        length_s: Of each recording that is sampled, by its recipe's name, in seconds.
        rounds: How often each is sampled.
        budget_s: Time for sampling in seconds, beyond which no further round is begun.
        plan: How many streams are watched in real time.
        until_s: When no further number of streams is begun, in seconds from the start; for files, and for RTMP.
    """

    length_s: dict[str, int]
    rounds: int
    budget_s: float
    plan: scaling.Plan
    until_s: dict[str, float]


QUICK: Final = Extent(
    length_s={"720p30": 8, "720p30 zerolatency": 4, "1080p30": 4},
    rounds=3,
    budget_s=32.0,
    plan=scaling.QUICK,
    until_s={"files": 62.0, "rtmp": 92.0},
)
THOROUGH: Final = Extent(
    length_s={"720p30": 30, "720p30 zerolatency": 30, "1080p30": 30},
    rounds=5,
    budget_s=400.0,
    plan=scaling.THOROUGH,
    until_s={"files": math.inf, "rtmp": math.inf},
)


def run_bench(*, quick: bool, model: str, progress: Progress) -> Results:
    """Measure everything; blocks for one and a half minutes or for about ten.

    Args:
        quick: Measure less, and less precisely.
        model: The model package whose clips are sampled and scored: a name or a folder.
        progress: Told all along.

    Raises:
        ModelPackageError: there is no such package, or it is damaged.
        LivecordonError: nothing could be measured at all.
    """
    extent = QUICK if quick else THOROUGH
    began_s = time.monotonic()
    package = load_package(find_package(model))
    results = Results(quick=quick, machine=describe_machine(), watchers=cores(), model=package.name)
    loops = footage.make_loops(
        footage.cache_dir(), footage.RECIPES, on_frame=lambda done, total: progress("generating footage", done, total)
    )
    with tempfile.TemporaryDirectory(prefix="livecordon-bench-") as name:
        folder = Path(name)
        recordings = [
            record(loops[recipe.name], folder, recipe.name, extent.length_s[recipe.name]) for recipe in footage.RECIPES
        ]
        _sample(results, recordings, package.clip_spec, extent, progress)
        paced = footage.repeat(loops[footage.RECIPES[0].name], folder / "paced.flv", _PACED_LENGTH_S)

        def plan(source: str) -> scaling.Plan:
            return replace(extent.plan, until_s=began_s + extent.until_s[source])

        # As the daemon runs them by default: a watcher per core, and the last minute of every stream kept on disk.
        spool = folder / "spool"
        spool.mkdir(mode=0o700)
        settings = WatchSettings(
            model=str(package.folder.resolve()), watchers=results.watchers, spool=spool, log_level="error"
        )
        _scale(
            results,
            "files",
            lambda on_step: scaling.scale_files(paced, settings, plan("files"), on_step),
            progress,
        )
        _scale(
            results,
            "rtmp",
            lambda on_step: scaling.scale_rtmp(loops[footage.RECIPES[0].name], settings, plan("rtmp"), on_step),
            progress,
        )
    _explain(results)
    results.machine["load_after"] = load_now()
    return results


def record(loop: Path, folder: Path, name: str, length_s: int, loop_s: int = footage.LOOP_S) -> sampling.Recording:
    """Write a recording of `length_s` seconds and its short companion into `folder`; `loop` is `loop_s` seconds long."""
    stem = name.replace(" ", "-")
    return sampling.Recording(
        name=name,
        file=footage.repeat(loop, folder / f"{stem}.flv", length_s, loop_s),
        warm_up_file=footage.repeat(loop, folder / f"{stem}-short.flv", footage.GOP_S, loop_s),
        length_s=length_s,
    )


def _sample(
    results: Results,
    recordings: Sequence[sampling.Recording],
    spec: ClipSpec,
    extent: Extent,
    progress: Progress,
) -> None:
    contenders: Sequence[sampling.Contender] = sampling.CONTENDERS
    if shutil.which("ffmpeg") is None:
        contenders = tuple(one for one in contenders if one.method != "ffmpeg")
        results.not_measured["ffmpeg"] = "the command ffmpeg is not installed"
    rows, failures = sampling.measure(
        recordings,
        spec,
        contenders=contenders,
        rounds=extent.rounds,
        budget_s=extent.budget_s,
        on_run=lambda done, total: progress("sampling", done, total),
    )
    results.rows = rows
    results.not_measured |= failures


def _scale(
    results: Results, source: str, work: Callable[[Callable[[Step], None]], Awaitable[None]], progress: Progress
) -> None:
    steps: list[Step] = results.scaling.setdefault(source, [])

    def on_step(step: Step) -> None:
        steps.append(step)
        progress(f"watching {step.streams} streams from {source}", len(steps), len(steps) + 1)

    async def run() -> None:
        await work(on_step)

    progress(f"watching streams from {source}", 0, 1)
    try:
        asyncio.run(run())
    except LivecordonError as error:
        # What was measured before is kept.
        results.not_measured[f"scaling.{source}"] = str(error)


def _explain(results: Results) -> None:
    """Say of each number that is null why it is."""
    for source in ("files", "rtmp"):
        if results.most_in_real_time(source) is None:
            steps = results.scaling.get(source)
            lost = "one stream alone was not watched in real time: the machine is too busy" if steps else "not run"
            why = results.not_measured.get(f"scaling.{source}", lost)
            results.not_measured[f"realtime_streams_per_core.{source}"] = why
            results.not_measured[f"with_inference.{source}"] = why
    if results.memory_mib_per_stream() is None:
        results.not_measured["memory_mib_per_stream"] = "fewer than two numbers of streams were watched"
    if results.latency_step() is None:
        results.not_measured["verdict_latency_ms"] = results.not_measured.get(
            "realtime_streams_per_core.rtmp", "no verdicts came"
        )
