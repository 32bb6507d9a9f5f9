"""Tiny streams that stand for huge pictures, read by a real watcher that also watches a healthy one."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from monitor.clock import SystemClock
from monitor.vocabulary import Posture, WatchState
from monitor.watch.messages import Observation, StreamStatus, WatcherFault
from monitor.watch.settings import WatchSettings
from monitor.watch.supervisor import Watchers
from tests.fakes import bombs
from tests.fakes.footage import Footage, film_bytes
from tests.fakes.recorder import until

SETTINGS: Final = WatchSettings(model="violent-motion", watchers=1, spares=0, open_timeout_s=10.0, read_timeout_s=4.0)
BUDGET_MIB: Final = 3 * 1024
"""What one stream may make a watcher hold at its peak, as the threat model says."""
REFUSED_S: Final = 30.0
LOOKED_AT_S: Final = 6.0
HEALTHY_GAP_S: Final = 8.0
HEALTHY: Final = Footage(duration_s=240.0, frame_rate=10, width=160, height=120, gop_s=1.0)
SMALL: Final = Footage(duration_s=4.0, frame_rate=10, width=320, height=180, gop_s=0.5)
_CHUNKS_PER_S: Final = 5


@dataclass(frozen=True, slots=True)
class Bomb:
    """One of them.

    Attributes:
        make: Films it.
        reasons: Those of which one is given; empty where it is watched, being no more than it may be.
        paced_s: Over how many seconds it is sent; 0 for all at once.
    """

    make: Callable[[], bytes]
    reasons: tuple[str, ...] = ()
    paced_s: float = 0.0


UNDECODABLE = ("decode_failed", "unknown_container", "no_video", "picture_too_large")
BOMBS: Final = {
    "8K H.264": Bomb(lambda: bombs.flat_pictures("libx264", 7680, 4320)),
    "8K HEVC": Bomb(lambda: bombs.flat_pictures("libx265", 7680, 4320, count=6)),
    "8K VP9": Bomb(lambda: bombs.flat_pictures("libvpx-vp9", 7680, 4320, count=8)),
    "8K AV1": Bomb(lambda: bombs.flat_pictures("libsvtav1", 7680, 4320, count=8)),
    "8K H.264 of ten bits in 4:4:4": Bomb(
        lambda: bombs.flat_pictures("libx264", 7680, 4320, pixel_format="yuv444p10le", count=4), ("picture_too_large",)
    ),
    "H.264 that keeps sixteen pictures of 7680 x 5200": Bomb(lambda: bombs.grown_h264(7680, 5200, gop_s=None)),
    "JPEG of 7680 x 5200": Bomb(lambda: bombs.flat_jpegs(7680, 5200)),
    "H.264 of 16384 x 16384": Bomb(lambda: bombs.grown_h264(16384, 16384, seconds=40), UNDECODABLE),
    "H.264 of 16000 x 16000": Bomb(lambda: bombs.grown_h264(16000, 16000), ("picture_too_large",)),
    "AV1 of 16384 x 16384": Bomb(lambda: bombs.grown_av1(16384, 16384), UNDECODABLE),
    "VP9 of 16384 x 16384": Bomb(lambda: bombs.grown_vp9(16384, 16384), UNDECODABLE),
    "JPEG of 16384 x 16384": Bomb(lambda: bombs.grown_jpegs(16384, 16384), UNDECODABLE),
    "PNG of 16384 x 16384": Bomb(lambda: bombs.grown_pngs(16384, 16384), ("no_video",)),
    "320 x 180, then 16384 x 16384": Bomb(
        # FFmpeg takes nothing from such a header, and goes on with what it knows.
        lambda: film_bytes("h264", SMALL) + bombs.grown_h264(16384, 16384, seconds=20),
        paced_s=12.0,
    ),
    "320 x 180, then 16000 x 16000": Bomb(
        lambda: film_bytes("h264", SMALL) + bombs.grown_h264(16000, 16000, seconds=20),
        ("picture_too_large", "decode_failed"),
        12.0,
    ),
}


@dataclass
class Daemon:
    """What a daemon would hear."""

    said: dict[str, list[tuple[float, WatchState, str]]] = field(default_factory=dict)
    scored_at_s: dict[str, list[float]] = field(default_factory=dict)
    faults: list[WatcherFault] = field(default_factory=list)

    def on_observation(self, observation: Observation, _labels: tuple[str, ...]) -> None:
        self.scored_at_s.setdefault(observation.stream_id, []).append(time.monotonic())

    def on_status(self, status: StreamStatus) -> None:
        self.said.setdefault(status.stream_id, []).append((time.monotonic(), status.state, status.reason))

    def refused(self, name: str) -> tuple[float, str] | None:
        """Return when a stream was first said to have failed, and why."""
        failed = [(at_s, why) for at_s, state, why in self.said.get(name, ()) if state is WatchState.FAILED]
        return failed[0] if failed else None

    def watched(self, name: str) -> float | None:
        """Return when a stream was first said to be watched."""
        return next((at_s for at_s, state, _ in self.said.get(name, ()) if state is WatchState.WATCHING), None)


class Peak:
    """The most memory that a process held since it was last asked."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")

    def take_mib(self) -> int:
        status = (self._process / "status").read_text()
        (self._process / "clear_refs").write_text("5")
        return int(status.partition("VmHWM:")[2].split()[0]) // 1024


@asynccontextmanager
async def studio(films: dict[str, tuple[bytes, float]]) -> AsyncIterator[str]:
    """Serve each film as a live stream, sent evenly over so many seconds, and then held open."""
    over = asyncio.Event()

    async def live(request: web.Request) -> web.StreamResponse:
        data, over_s = films[request.match_info["name"]]
        response = web.StreamResponse()
        await response.prepare(request)
        size = max(1, int(len(data) / over_s / _CHUNKS_PER_S) if over_s else len(data))
        begun_s = time.monotonic()
        for number, start in enumerate(range(0, len(data), size)):
            await response.write(data[start : start + size])
            await asyncio.sleep(max(0.0, begun_s + number / _CHUNKS_PER_S - time.monotonic()))
        await over.wait()
        return response

    app = web.Application()
    app.router.add_get("/{name}", live)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        over.set()
        await runner.cleanup()


@pytest.mark.timeout(400)
async def test_no_huge_picture_harms_the_watcher_or_its_other_streams(capsys: pytest.CaptureFixture[str]) -> None:
    made = {str(number): bomb.make() for number, bomb in enumerate(BOMBS.values())}
    films = {number: (film, bomb.paced_s) for (number, film), bomb in zip(made.items(), BOMBS.values(), strict=True)}
    films["healthy"] = film_bytes("mpegts", HEALTHY), HEALTHY.duration_s
    daemon = Daemon()
    words = []
    async with (
        studio(films) as url,
        Watchers(
            SETTINGS,
            SystemClock(),
            on_observation=daemon.on_observation,
            on_status=daemon.on_status,
            on_fault=daemon.faults.append,
        ) as watchers,
    ):
        await until(lambda: any(view.ready for view in watchers.stats()), deadline_s=60)
        await watchers.assign("healthy", f"{url}/healthy", Posture.CALM)
        await until(lambda: len(daemon.scored_at_s.get("healthy", ())) >= 2)
        (pid,) = (view.pid for view in watchers.stats())
        assert pid is not None
        peak = Peak(pid)
        words.append(f"idle: {peak.take_mib()} MiB")
        begun_s = time.monotonic()
        for number, (what, bomb) in zip(made, BOMBS.items(), strict=True):
            began_s = time.monotonic()
            await watchers.assign(number, f"{url}/{number}", Posture.FULL)
            if bomb.reasons:
                at_s, reason = await until(lambda n=number: daemon.refused(n), deadline_s=REFUSED_S + bomb.paced_s)  # type: ignore[misc]  # mypy cannot infer lambdas with defaults
                assert reason in bomb.reasons, what
                end = f"{reason} after {at_s - began_s:.1f} s"
            else:
                at_s = await until(lambda n=number: daemon.watched(n), deadline_s=REFUSED_S)  # type: ignore[misc]  # mypy cannot infer lambdas with defaults
                # For as long as it takes to have read it all.
                await asyncio.sleep(LOOKED_AT_S)
                end = f"watched after {at_s - began_s:.1f} s, {len(daemon.scored_at_s.get(number, ()))} clips"
                assert daemon.refused(number) is None, what
            await watchers.release(number)
            peak_mib = peak.take_mib()
            words.append(f"{what}: {len(made[number])} bytes, {end}, at most {peak_mib} MiB")
            assert peak_mib < BUDGET_MIB, what
        over_s = time.monotonic()
        scored = [at_s for at_s in daemon.scored_at_s["healthy"] if at_s >= begun_s]
        gap_s = max(later - earlier for earlier, later in itertools.pairwise([begun_s, *scored, over_s]))
        words.append(f"longest time without a score of the healthy stream: {gap_s:.1f} s")
        with capsys.disabled():
            sys.stdout.write("\n" + "\n".join(words) + "\n")
        assert gap_s < HEALTHY_GAP_S
        assert daemon.faults == []
        assert [view.pid for view in watchers.stats()] == [pid]
