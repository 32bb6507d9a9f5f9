"""Many streams at once, in real time, in real watcher processes: how many they bear, and how soon they know."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from monitor.bench.accounting import Snapshot, Usage, process_cpu_s, used
from monitor.bench.footage import GOP_S
from monitor.bench.results import Step, percentile
from monitor.clock import Clock, SystemClock, wait_until
from monitor.errors import LivecordonError
from monitor.vocabulary import Posture
from monitor.watch.child import WatcherChild
from monitor.watch.messages import Observation, OfStream, WatcherStats
from monitor.watch.settings import WatchSettings

_READY_TIMEOUT_S: Final = 60.0
_FIRST_VERDICTS_S: Final = 25.0
"""Opening, waiting for a keyframe and the first clip; what has no verdict by then does not keep up."""


class WatchersFailed(LivecordonError):
    """The watcher processes did not start, or died while they were measured."""

    reason = "watchers_failed"


@dataclass(slots=True)
class _Heard:
    """What the watchers have said of their streams.

    Attributes:
        complete: Set once each of `streams` streams has had a verdict.
    """

    streams: int
    observations: dict[str, list[Observation]] = field(default_factory=lambda: defaultdict(list))
    snapshots: dict[int, list[Snapshot]] = field(default_factory=lambda: defaultdict(list))
    complete: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, _child: WatcherChild, message: OfStream) -> None:
        if isinstance(message, Observation):
            self.observations[message.stream_id].append(message)
            if len(self.observations) == self.streams:
                self.complete.set()

    def take_stats(self, child: WatcherChild, stats: WatcherStats) -> None:
        snapshot = Snapshot(time.monotonic(), process_cpu_s(child.pid), stats)
        self.snapshots[child.member].append(snapshot)


async def watch_streams(urls: Sequence[str], settings: WatchSettings, *, measure_s: float) -> Step:
    """Watch all of `urls` in calm posture and measure for `measure_s` seconds once every one has had its first verdict.

    Args:
        urls: One for each stream; the same one may stand there several times. Groups of pictures are `GOP_S` long.
        settings: How the watchers are run, and how many.
        measure_s: Whole groups of pictures.

    Raises:
        WatchersFailed: they did not start or died. Cancellation ends them.
    """
    clock = SystemClock()
    heard = _Heard(len(urls))
    async with _watchers(settings, clock, heard) as children:
        for number, url in enumerate(urls):
            children[number % len(children)].assign(f"bench-{number:016x}", url, Posture.CALM)
            # Spread over one group of pictures, or all files would reach their keyframes at the same moment.
            await asyncio.sleep(GOP_S / len(urls))
        # Whoever has none by then does not keep up, which is a result.
        await wait_until(clock, heard.complete, _FIRST_VERDICTS_S)
        for snapshots in heard.snapshots.values():
            snapshots.clear()
        began_at = time.time()
        await asyncio.sleep(measure_s)
        ended_at = time.time()
        usage = used([heard.snapshots[child.member] for child in children])
    during = {
        stream_id: [one for one in observations if began_at <= one.scored_at < ended_at]
        for stream_id, observations in heard.observations.items()
    }
    if usage is None:
        raise WatchersFailed("a watcher did not answer")
    return _step(len(urls), during, usage, ended_at - began_at)


@asynccontextmanager
async def _watchers(settings: WatchSettings, clock: Clock, heard: _Heard) -> AsyncIterator[list[WatcherChild]]:
    all_ready = asyncio.Event()

    def on_ready(_child: WatcherChild) -> None:
        if all(child.ready is not None for child in children):
            all_ready.set()

    children = [
        WatcherChild(
            member=member,
            settings=settings,
            clock=clock,
            on_ready=on_ready,
            on_message=heard.take,
            on_stats=heard.take_stats,
        )
        for member in range(1, settings.watchers + 1)
    ]
    running = [asyncio.create_task(child.run()) for child in children]
    waiting = asyncio.create_task(all_ready.wait())
    try:
        await asyncio.wait((waiting, *running), timeout=_READY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if not all_ready.is_set():
            raise WatchersFailed("the watcher processes did not start")
        yield children
        if any(task.done() for task in running):
            raise WatchersFailed("a watcher process died")
    finally:
        for task in (waiting, *running):
            task.cancel()
        await asyncio.gather(waiting, *running, return_exceptions=True)
        for child in children:
            await child.reap()


def _step(streams: int, during: dict[str, list[Observation]], usage: Usage, measured_s: float) -> Step:
    shares = [_share_scored(observations, measured_s) for observations in during.values()]
    late_ms = sorted(late for observations in during.values() for late in _late_ms(observations))
    verdicts_ms = sorted(
        (one.scored_at - one.arrived_at) * 1000 for observations in during.values() for one in observations
    )
    return Step(
        streams=streams,
        # Streams that were never seen count as 0.
        real_time_share=sum(shares) / streams,
        late_p95_ms=percentile(late_ms, 0.95) if late_ms else 0.0,
        dropped=usage.dropped,
        cpu_s_per_stream_s=None if usage.cores is None else usage.cores / streams,
        decode_share=min(1.0, usage.decode_cores / usage.cores) if usage.cores else None,
        resident_bytes=usage.resident_bytes,
        verdicts_ms=tuple(verdicts_ms),
    )


def _share_scored(observations: Sequence[Observation], measured_s: float) -> float:
    """Return how many clips were scored of those that were due, at most 1."""
    if len(observations) < 2:
        # Too few to tell how fast they come: compare with what the time allowed.
        return min(1.0, len(observations) * GOP_S / measured_s)
    took_s = observations[-1].scored_at - observations[0].scored_at
    due = max(took_s, measured_s - 2 * GOP_S) / GOP_S
    return min(1.0, (len(observations) - 1) / due)


def _late_ms(observations: Sequence[Observation]) -> list[float]:
    """Return how far each score came behind the pace that the stream's quickest one set."""
    behind_s = [one.scored_at - one.clip_end_s for one in observations]
    return [(one - min(behind_s)) * 1000 for one in behind_s]
