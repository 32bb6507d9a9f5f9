"""More and more streams until real time is lost: read from files, and from a real nginx with its RTMP module."""

from __future__ import annotations

import asyncio
import math
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monitor.bench.footage import LOOP_S
from monitor.bench.realtime import WatchersFailed, watch_streams
from monitor.bench.results import Step
from monitor.demo.nginx import RealNginx, find_nginx
from monitor.watch.settings import WatchSettings

PUBLICATIONS: Final = 8
"""So many encoders publish; more readers than that share them, for what a media server does for encoders is no part of this."""

_MOST_STREAMS: Final = 400
"""nginx is configured for so many connections."""
_UNDER_WAY_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How far to go.

    Attributes:
        first: The number of streams to begin with.
        shares: Numbers to try after that, as shares of what the cost of the streams so far promises.
        halvings: How often to halve the gap between the most that were kept and the fewest that were lost.
        measure_s: How long each number is measured, in seconds.
        until_s: When no further number is begun, on the monotonic clock.
    """

    first: int
    shares: tuple[float, ...]
    halvings: int
    measure_s: float
    until_s: float = math.inf


QUICK: Final = Plan(first=8, shares=(0.5, 0.85), halvings=1, measure_s=4)
THOROUGH: Final = Plan(first=1, shares=(0.25, 0.5, 0.7, 0.85, 1.0, 1.15, 1.3), halvings=2, measure_s=16)

Told = Callable[[Step], None]


async def scale_files(file: Path, settings: WatchSettings, plan: Plan, on_step: Told) -> None:
    """Watch more and more copies of a recording, each at the speed at which it plays, and tell `on_step` each number.

    Raises:
        WatchersFailed: as `watch_streams`.
    """
    await _scale(lambda streams: [str(file)] * streams, settings, plan, on_step)


async def scale_rtmp(loop: Path, settings: WatchSettings, plan: Plan, on_step: Told, *, loop_s: int = LOOP_S) -> None:
    """Watch more and more streams of a real nginx, into which encoders publish, and tell `on_step` each number.

    nginx and the publishers run on the same cores; their processor time is not counted, but lost to the watchers.

    Raises:
        NginxUnavailable: nginx or its RTMP module is missing or does not start.
        WatchersFailed: as `watch_streams`, or the publishers did not get going.
    """
    find_nginx()
    with tempfile.TemporaryDirectory(prefix="livecordon-bench-") as folder:
        async with RealNginx(Path(folder)) as nginx:
            base = f"{nginx.rtmp_url}/live/bench"
            async with _published(loop, loop_s, base):
                urls = [f"{base}-{number}" for number in range(PUBLICATIONS)]
                await _scale(
                    lambda streams: [urls[number % PUBLICATIONS] for number in range(streams)], settings, plan, on_step
                )


async def _scale(urls: Callable[[int], Sequence[str]], settings: WatchSettings, plan: Plan, on_step: Told) -> None:
    async def take(streams: int) -> Step:
        step = await watch_streams(urls(streams), settings, measure_s=plan.measure_s)
        on_step(step)
        return step

    kept, lost = 0, 0
    promised = float(plan.first)
    for share in (1.0, *plan.shares):
        if kept and time.monotonic() > plan.until_s:
            return
        streams = min(_MOST_STREAMS, max(kept + 1, round(promised * share)))
        step = await take(streams)
        if not step.in_real_time:
            lost = streams
            break
        kept = streams
        if kept == _MOST_STREAMS:
            return
        promised = _promised(step, settings)
    for _ in range(plan.halvings):
        if lost - kept < 2 or time.monotonic() > plan.until_s:
            return
        streams = (kept + lost) // 2
        if (await take(streams)).in_real_time:
            kept = streams
        else:
            lost = streams


def _promised(step: Step, settings: WatchSettings) -> float:
    """Return how many streams like those of `step` would take all cores; twice as many where nobody tells their cost."""
    return settings.watchers / step.cpu_s_per_stream_s if step.cpu_s_per_stream_s else 2.0 * step.streams


@asynccontextmanager
async def _published(loop: Path, loop_s: int, base: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "monitor.bench.publishing"),
        *(str(loop), str(loop_s), base, str(PUBLICATIONS)),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
    )
    assert process.stdout is not None  # noqa: S101 - for mypy: PIPE was asked for
    try:
        if not await _first_line(process.stdout):
            raise WatchersFailed("the publishers did not get going")
        yield
    finally:
        if process.returncode is None:
            process.kill()
        # Reads what is left in the pipes, so that their transports close.
        await process.communicate()


async def _first_line(stdout: asyncio.StreamReader) -> bytes:
    """Return the first line, or nothing where none comes in time."""
    try:
        async with asyncio.timeout(_UNDER_WAY_S):
            return await stdout.readline()
    except TimeoutError:
        return b""
