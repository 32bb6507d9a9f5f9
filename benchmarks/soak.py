"""Whether anything grows while watchers work for long: ``python benchmarks/soak.py --streams 64 --minutes 20``.

Streams join, leave and stall all the time, as they do on a busy media server, while memory, threads, file descriptors
and processes of the daemon's side and of its watchers are sampled. Prints a line per sample, and at the end, for each
figure, whether it was flat, growing or unclear in the second half; writes all samples as JSON and a plot as PNG.

Watchers keep a minute of every stream as evidence, and two more minutes of those that left: memory cannot be flat
before the third minute, so a run of less than eight says nothing about it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from aiohttp import web

from monitor.clock import SystemClock
from monitor.demo.nginx import RealNginx
from monitor.vocabulary import Posture, WatchState
from monitor.watch.messages import Observation, StreamStatus, WatcherFault
from monitor.watch.settings import WatchSettings
from monitor.watch.supervisor import Watchers

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.fakes.footage import Footage, film, film_bytes

FILM: Final = Footage(duration_s=60.0, frame_rate=15, width=320, height=180, gop_s=2.0, sound=True)
CHUNKS_PER_S: Final = 5
TURNS_PER_STREAM_MINUTE: Final = 1.0
"""Each stream leaves and joins again, changes its posture, or stalls, about once a minute."""
STALL_S: Final = 20.0
SHORTEST_TELLING_MINUTES: Final = 8
GROWTH_SHARE: Final = 0.05
"""Flat is what grows by less than this share of its level within an hour; what noise hides either way is unclear."""

_WANDER_S: Final = 120.0

FIGURES: Final = {
    "watchers_resident_mib": "MiB resident, all watchers",
    "watchers_threads": "threads, all watchers",
    "watchers_descriptors": "file descriptors, all watchers",
    "watchers": "watcher processes",
    "daemon_resident_mib": "MiB resident, daemon's side",
    "daemon_threads": "threads, daemon's side",
    "daemon_descriptors": "file descriptors, daemon's side",
    "watched": "streams scored in the last 10 s",
}


Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """What was held at one moment; `second` counts from the start."""

    second: float
    watchers_resident_mib: float
    watchers_threads: int
    watchers_descriptors: int
    watchers: int
    daemon_resident_mib: float
    daemon_threads: int
    daemon_descriptors: int
    assigned: int
    watched: int


@dataclass(slots=True)
class Heard:
    """What the watchers said."""

    scored_at_s: dict[str, float] = field(default_factory=dict)
    observations: int = 0
    states: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def observation(self, observation: Observation, _labels: tuple[str, ...]) -> None:
        """Count it."""
        self.observations += 1
        self.scored_at_s[observation.stream_id] = time.monotonic()

    def status(self, status: StreamStatus) -> None:
        """Count it."""
        if status.state is not WatchState.OPENING:
            self.states[f"{status.state.value} {status.reason}"] += 1

    def fault(self, fault: WatcherFault) -> None:
        """Note it."""
        self.faults.append(f"{fault.reason}: {fault.detail}")


class LiveServer:
    """Serves the film as live streams in real time, over and over; each may be told to stall."""

    def __init__(self, transport_stream: bytes) -> None:
        self.url = ""
        self.stalled_until_s: dict[str, float] = {}
        self._film = transport_stream

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[LiveServer]:
        """Listen on loopback."""
        app = web.Application()
        app.router.add_get("/{name}.ts", self._live)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _live(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        response = web.StreamResponse()
        await response.prepare(request)
        size = int(len(self._film) / FILM.duration_s / CHUNKS_PER_S) // 188 * 188
        # Everybody starts somewhere else, so that keyframes do not all fall together.
        at = random.randrange(len(self._film) // size) * size
        while True:
            if time.monotonic() >= self.stalled_until_s.get(name, 0.0):
                await response.write(self._film[at : at + size])
                at = at + size if at + size < len(self._film) else 0
            await asyncio.sleep(1 / CHUNKS_PER_S)


class Soak:
    """One run."""

    def __init__(
        self, streams: int, watchers: Watchers, heard: Heard, server: LiveServer, others: Sequence[str]
    ) -> None:
        self.heard, self.turns = heard, Counter[str]()
        self._watchers, self._server = watchers, server
        self._addresses = [others[number % len(others)] if number % 4 == 0 else "" for number in range(streams)]
        self._assigned: dict[int, str] = {}
        self._lives: Counter[int] = Counter()

    async def join(self, number: int) -> None:
        """Have stream `number` watched, under a name of its own for each life, as a new publication is."""
        self._lives[number] += 1
        name = f"{number}-{self._lives[number]}"
        self._assigned[number] = name
        await self._watchers.assign(name, self._addresses[number] or f"{self._server.url}/{name}.ts", Posture.CALM)

    async def turn(self) -> None:
        """Have one thing happen to one stream."""
        number = random.randrange(len(self._addresses))
        name = self._assigned.get(number)
        what = "join" if name is None else random.choice(("leave", "return", "stall", "close", "calm"))
        self.turns[what] += 1
        if name is None:
            await self.join(number)
        elif what in ("leave", "return"):
            del self._assigned[number]
            await self._watchers.release(name)
            self.heard.scored_at_s.pop(name, None)
            if what == "return":
                await self.join(number)
        elif what == "stall":
            self._server.stalled_until_s[name] = time.monotonic() + STALL_S
        else:
            await self._watchers.set_posture(name, Posture(what))

    def sample(self, second: float) -> Sample:
        """Measure."""
        pids = [view.pid for view in self._watchers.stats() if view.pid is not None]
        held = [one for one in map(_held, pids) if one is not None]
        here = _held(os.getpid()) or (0.0, 0, 0)
        lately_s = time.monotonic() - 10
        return Sample(
            second=round(second, 1),
            watchers_resident_mib=round(sum(one[0] for one in held), 1),
            watchers_threads=sum(one[1] for one in held),
            watchers_descriptors=sum(one[2] for one in held),
            watchers=len(held),
            daemon_resident_mib=round(here[0], 1),
            daemon_threads=here[1],
            daemon_descriptors=here[2],
            assigned=len(self._assigned),
            watched=sum(at_s >= lately_s for at_s in self.heard.scored_at_s.values()),
        )


def _held(pid: int) -> tuple[float, int, int] | None:
    process = Path(f"/proc/{pid}")
    try:
        pages = int((process / "statm").read_text().split()[1])
        threads, descriptors = len(list((process / "task").iterdir())), len(list((process / "fd").iterdir()))
    except OSError:
        return None  # it has just ended
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, threads, descriptors


async def run(options: argparse.Namespace) -> tuple[list[Sample], Soak]:
    """Let it run; return the samples."""
    heard, samples = Heard(), list[Sample]()
    settings = WatchSettings(model=options.model, log_level="error")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        others = [str(film(folder / "film.mp4", FILM))]
        if options.rtmp:
            others += await _published(stack, folder)
        server = await stack.enter_async_context(LiveServer(film_bytes("mpegts", FILM)).serving())
        watchers = await stack.enter_async_context(
            Watchers(
                settings,
                SystemClock(),
                on_observation=heard.observation,
                on_status=heard.status,
                on_fault=heard.fault,
            )
        )
        await watchers.wait_ready(60)
        soak = Soak(options.streams, watchers, heard, server, others)
        for number in range(options.streams):
            await soak.join(number)
        begun_s, turn_s = time.monotonic(), 60 / TURNS_PER_STREAM_MINUTE / options.streams
        next_sample_s, next_turn_s = 0.0, 0.0
        while (now_s := time.monotonic() - begun_s) < options.minutes * 60:
            if now_s >= next_sample_s:
                samples.append(soak.sample(now_s))
                next_sample_s += options.every_s
                _print_sample(samples[-1])
            if now_s >= next_turn_s:
                await soak.turn()
                next_turn_s += turn_s
            await asyncio.sleep(max(0.0, min(next_sample_s, next_turn_s) - (time.monotonic() - begun_s)))
    return samples, soak


async def _published(stack: AsyncExitStack, folder: Path) -> list[str]:
    """Publish four streams to a real nginx and return their addresses."""
    (folder / "nginx").mkdir()
    nginx = await stack.enter_async_context(RealNginx(folder / "nginx"))
    addresses = [f"{nginx.rtmp_url}/live/{number}" for number in range(4)]
    for address in addresses:
        process = await asyncio.create_subprocess_exec(
            *("ffmpeg", "-nostdin", "-loglevel", "error", "-re", "-stream_loop", "-1", "-i", str(folder / "film.mp4")),
            *("-c", "copy", "-f", "flv", address),
        )
        stack.push_async_callback(process.wait)
        stack.callback(process.kill)
    return addresses


def _print_sample(sample: Sample) -> None:
    print(
        f"{sample.second:6.0f} s  {sample.assigned:3d} streams, {sample.watched:3d} scored lately | "
        f"{sample.watchers} watchers: {sample.watchers_resident_mib:7.1f} MiB {sample.watchers_threads:4d} threads "
        f"{sample.watchers_descriptors:4d} fds | daemon: {sample.daemon_resident_mib:6.1f} MiB "
        f"{sample.daemon_threads:3d} threads {sample.daemon_descriptors:4d} fds",
        flush=True,
    )


def verdicts(samples: Sequence[Sample]) -> dict[str, dict[str, float | str]]:
    """Return for each figure its mean, its slope per hour in the second half, that slope's error, and a word.

    The slope is what remains when the figure is explained by the number of streams, which comes and goes. Its error
    is Newey and West's over two minutes (Econometrica 55, 1987): memory wanders, so neighbouring samples tell the same
    thing, and errors that take each for news are too small.
    """
    half = samples[len(samples) // 2 :]
    hours = np.array([sample.second for sample in half]) / 3600
    streams = np.array([float(sample.assigned) for sample in half])
    causes = np.column_stack([hours - hours.mean(), streams - streams.mean(), np.ones(len(half))])
    found: dict[str, dict[str, float | str]] = {}
    span_s = half[-1].second - half[0].second
    for name in FIGURES:
        values = np.array([float(getattr(sample, name)) for sample in half])
        shares = np.linalg.lstsq(causes, values, rcond=None)[0]
        slope, mean = float(shares[0]), float(values.mean())
        error = _slope_error(causes, values - causes @ shares, round(_WANDER_S * (len(half) - 1) / span_s))
        bearable = GROWTH_SHARE * max(1.0, mean)
        word = "flat" if slope + 2 * error < bearable else "growing" if slope > 3 * error + bearable else "unclear"
        found[name] = {
            "mean": round(mean, 1),
            "slope_per_hour": round(slope, 1),
            "error_per_hour": round(error, 1),
            "verdict": word,
        }
    return found


def _slope_error(causes: Floats, residuals: Floats, lags: int) -> float:
    """Return the standard error of the first cause's share, for residuals that are alike over up to `lags` samples."""
    moments = causes * residuals[:, None]
    spread = moments.T @ moments
    for lag in range(1, min(lags, len(residuals) - 1) + 1):
        alike = moments[lag:].T @ moments[:-lag]
        spread += (1 - lag / (lags + 1)) * (alike + alike.T)
    inverse = np.linalg.pinv(causes.T @ causes)
    return float(np.sqrt(max(0.0, (inverse @ spread @ inverse)[0, 0])))


def plot(samples: Sequence[Sample], path: Path) -> None:
    """Draw every figure over time."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, which the run itself does without

    figure = Figure(figsize=(11, 10), layout="constrained")
    minutes = [sample.second / 60 for sample in samples]
    for axes, (name, title) in zip(figure.subplots(4, 2, sharex=True).flat, FIGURES.items(), strict=True):
        axes.plot(minutes, [getattr(sample, name) for sample in samples], linewidth=1.2)
        if name == "watched":
            axes.plot(minutes, [sample.assigned for sample in samples], linewidth=1.2, linestyle="--", label="assigned")
            axes.legend()
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_ylim(0, 1.1 * max(1.0, *(float(getattr(sample, name)) for sample in samples)))
        axes.grid(alpha=0.3)
    figure.supxlabel("minutes")
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, measure, judge."""
    options = _options(arguments)
    random.seed(options.seed)
    samples, soak = asyncio.run(run(options))
    found = verdicts(samples)
    print()
    for name, title in FIGURES.items():
        one = found[name]
        print(
            f"{title:34s} {one['verdict']:8s} mean {one['mean']:8.1f}, "
            f"slope of the second half {one['slope_per_hour']:+9.1f} ± {one['error_per_hour']:.1f} per hour"
        )
    if options.minutes < SHORTEST_TELLING_MINUTES:
        print("too short to judge memory: evidence was still filling up")
    print(f"what happened to streams: {dict(soak.turns)}; observations: {soak.heard.observations}")
    print(f"what was said of them: {dict(soak.heard.states)}; watchers that failed: {soak.heard.faults or 'none'}")
    options.out.with_suffix(".json").write_text(
        json.dumps(
            {
                "streams": options.streams,
                "minutes": options.minutes,
                "verdicts": found,
                "turns": soak.turns,
                "states": soak.heard.states,
                "faults": soak.heard.faults,
                "samples": [asdict(sample) for sample in samples],
            },
            indent=1,
        )
    )
    plot(samples, options.out.with_suffix(".png"))
    print(f"samples and plot: {options.out.with_suffix('.json')}, {options.out.with_suffix('.png')}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--every-s", type=float, default=5.0, help="seconds between two samples")
    parser.add_argument("--rtmp", action="store_true", help="read some streams from a real nginx (Debian's packages)")
    parser.add_argument("--model", default="violent-motion")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("soak"), help="where the results go, without the suffix")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
