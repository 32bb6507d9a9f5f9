"""Real watchers, real video, and everything that can be done to a process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from monitor.clock import SystemClock
from monitor.vocabulary import Posture, WatchState
from monitor.watch.messages import Observation, StreamStatus, WatcherFault
from monitor.watch.settings import WatchSettings
from monitor.watch.supervisor import Watchers
from monitor.watch.view import WatcherView
from tests.fakes.footage import Footage, film, film_bytes, garbage
from tests.fakes.recorder import until

SETTINGS = WatchSettings(model="violent-motion", watchers=2, spares=1, open_timeout_s=5.0, read_timeout_s=2.0)
FOOTAGE = Footage(duration_s=60.0, frame_rate=15, width=160, height=120, gop_s=1.0)
SCORED_AGAIN_S = 3.0


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("footage") / "minute.mp4", FOOTAGE)


@pytest.fixture(scope="session")
def transport_stream() -> bytes:
    return film_bytes("mpegts", FOOTAGE)


class Daemon:
    def __init__(self) -> None:
        self.observations: list[Observation] = []
        self.statuses: list[StreamStatus] = []
        self.faults: list[WatcherFault] = []

    @asynccontextmanager
    async def watching(self, settings: WatchSettings = SETTINGS) -> AsyncIterator[Watchers]:
        async with Watchers(
            settings,
            SystemClock(),
            on_observation=lambda observation, _: self.observations.append(observation),
            on_status=self.statuses.append,
            on_fault=self.faults.append,
        ) as watchers:
            ready = settings.watchers + settings.spares
            await until(lambda: sum(view.ready for view in watchers.stats()) == ready, deadline_s=60)
            yield watchers

    def scored_since(self, mark: int) -> set[str]:
        return {observation.stream_id for observation in self.observations[mark:]}

    def said_of(self, stream_id: str) -> list[tuple[WatchState, str]]:
        return [(status.state, status.reason) for status in self.statuses if status.stream_id == stream_id]


async def watch_files(watchers: Watchers, video: Path, count: int) -> set[str]:
    names = {f"s{number}" for number in range(count)}
    for name in sorted(names):
        await watchers.assign(name, str(video), Posture.CALM)
    return names


def busiest(watchers: Watchers) -> WatcherView:
    return max(watchers.stats(), key=lambda view: len(view.streams))


def pid_of(view: WatcherView) -> int:
    assert view.pid is not None
    return view.pid


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


async def test_a_killed_watchers_streams_are_scored_again_within_three_seconds(video: Path) -> None:
    daemon = Daemon()
    async with daemon.watching() as watchers:
        names = await watch_files(watchers, video, 8)
        await until(lambda: daemon.scored_since(0) == names)
        victim = busiest(watchers)
        assert len(victim.streams) >= 3
        mark = len(daemon.observations)
        killed = time.monotonic()
        os.kill(pid_of(victim), signal.SIGKILL)
        await until(lambda: daemon.faults)
        after_death = len(daemon.observations)
        await until(lambda: daemon.scored_since(after_death) >= set(victim.streams))
        assert time.monotonic() - killed < SCORED_AGAIN_S
        await until(lambda: daemon.scored_since(mark) == names)
        for name in names - set(victim.streams):
            assert "watcher_died" not in {reason for _, reason in daemon.said_of(name)}


async def test_a_stopped_watcher_is_replaced_and_its_streams_are_scored_again(video: Path) -> None:
    daemon = Daemon()
    async with daemon.watching() as watchers:
        names = await watch_files(watchers, video, 6)
        await until(lambda: daemon.scored_since(0) == names)
        victim = busiest(watchers)
        stopped = time.monotonic()
        os.kill(pid_of(victim), signal.SIGSTOP)
        await until(lambda: daemon.faults)
        after_death = len(daemon.observations)
        assert daemon.faults == [WatcherFault("unresponsive", "no_pong")]
        await until(lambda: daemon.scored_since(after_death) >= set(victim.streams))
        assert time.monotonic() - stopped < SCORED_AGAIN_S
        assert not is_running(pid_of(victim))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_twenty_streams_of_one_watcher_are_all_scored_again(
    video: Path, how: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = Daemon()
    async with daemon.watching(replace(SETTINGS, watchers=1)) as watchers:
        names = await watch_files(watchers, video, 20)
        await until(lambda: daemon.scored_since(0) == names)
        victim = busiest(watchers)
        assert set(victim.streams) == names
        struck = time.monotonic()
        os.kill(pid_of(victim), how)
        await until(lambda: daemon.faults)
        found_out_s = time.monotonic() - struck
        mark = len(daemon.observations)
        await until(lambda: daemon.scored_since(mark) == names)
        scored_again_s = time.monotonic() - struck
        assert {("stalled", "watcher_died")} <= {(s.state.value, s.reason) for s in daemon.statuses}
        assert not is_running(pid_of(victim))
    with capsys.disabled():
        sys.stdout.write(
            f"\n{how.name}: found out after {found_out_s:.1f} s, 20 streams scored after {scored_again_s:.1f} s\n"
        )
    assert scored_again_s < SCORED_AGAIN_S


async def test_a_crash_inside_a_library_names_itself_in_the_log(
    video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = Daemon()
    async with daemon.watching(replace(SETTINGS, watchers=1, spares=1)) as watchers:
        names = await watch_files(watchers, video, 20)
        await until(lambda: daemon.scored_since(0) == names)
        os.kill(pid_of(busiest(watchers)), signal.SIGSEGV)
        await until(lambda: daemon.faults)
        mark = len(daemon.observations)
        await until(lambda: daemon.scored_since(mark) == names)
    log = capsys.readouterr().out
    assert "watcher_crash_trace" in log
    assert "Segmentation fault" in log
    # The thread that took the signal, and not so many others that it falls off the end.
    assert "in read_frame" in log
    assert str(video) not in log


async def test_every_watcher_killed_at_once_is_survived(video: Path) -> None:
    daemon = Daemon()
    async with daemon.watching() as watchers:
        names = await watch_files(watchers, video, 4)
        await until(lambda: daemon.scored_since(0) == names)
        for view in watchers.stats():
            os.kill(pid_of(view), signal.SIGKILL)
        await until(lambda: len(daemon.faults) == 3)
        mark = len(daemon.observations)
        await until(lambda: daemon.scored_since(mark) == names, deadline_s=60)


async def test_what_is_wrong_with_a_stream_is_told_apart(video: Path, tmp_path: Path, transport_stream: bytes) -> None:
    short = film(tmp_path / "short.mp4", replace(FOOTAGE, duration_s=2.0))
    noise = garbage(tmp_path / "noise.mp4")
    daemon = Daemon()
    silence = asyncio.Event()

    async def goes_silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "video/mp2t"})
        await response.prepare(request)
        await response.write(transport_stream[: len(transport_stream) // 4])
        await silence.wait()
        return response

    async with serving(goes_silent) as url, daemon.watching(replace(SETTINGS, watchers=1, spares=0)) as watchers:
        try:
            await watchers.assign("short", str(short), Posture.CALM)
            await watchers.assign("noise", str(noise), Posture.CALM)
            await watchers.assign("absent", str(tmp_path / "absent.mp4"), Posture.CALM)
            await watchers.assign("silent", url, Posture.CALM)
            await until(lambda: (WatchState.ENDED, "eof") in daemon.said_of("short"))
            await until(lambda: (WatchState.FAILED, "unknown_container") in daemon.said_of("noise"))
            await until(lambda: (WatchState.FAILED, "not_found") in daemon.said_of("absent"))
            await until(lambda: (WatchState.STALLED, "stalled") in daemon.said_of("silent"))
            assert "silent" in daemon.scored_since(0)
            assert daemon.faults == []
            assert not any(str(tmp_path) in status.detail or url in status.detail for status in daemon.statuses)
        finally:
            silence.set()


async def test_a_stream_over_http_is_watched_and_its_evidence_comes_on_demand(transport_stream: bytes) -> None:
    daemon = Daemon()

    async def live(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "video/mp2t"})
        await response.prepare(request)
        size = len(transport_stream) // 300
        for start in range(0, len(transport_stream), size):
            await response.write(transport_stream[start : start + size])
            await asyncio.sleep(0.1)
        return response

    async with serving(live) as url, daemon.watching(replace(SETTINGS, watchers=1, spares=0)) as watchers:
        await watchers.assign("live", url, Posture.CALM)
        await until(lambda: len(daemon.observations) >= 3, deadline_s=30)
        await watchers.set_posture("live", Posture.FULL)
        await until(lambda: daemon.observations[-1].posture is Posture.FULL)
        evidence = await watchers.evidence("live", 5.0)
        assert len(evidence.scores) >= 3
        assert evidence.frames
        assert all(frame.jpeg.startswith(b"\xff\xd8") for frame in evidence.frames)
        await watchers.release("live")
        assert (await watchers.evidence("live", 5.0)).frames


async def test_streams_that_come_and_go_leave_no_threads_behind(video: Path) -> None:
    daemon = Daemon()
    async with daemon.watching(replace(SETTINGS, watchers=1, spares=0)) as watchers:
        (view,) = watchers.stats()
        idle = threads_of(pid_of(view))
        for _ in range(3):
            mark = len(daemon.observations)
            names = await watch_files(watchers, video, 10)
            await until(lambda mark=mark, names=names: daemon.scored_since(mark) == names)  # type: ignore[misc]  # mypy cannot infer lambdas with defaults
            for name in names:
                await watchers.release(name)
            await until(lambda: threads_of(pid_of(view)) <= idle, deadline_s=SETTINGS.read_timeout_s + 5)
        assert watchers.stats()[0].pid == view.pid


ORPHANS = """
import asyncio, sys
from monitor.clock import SystemClock
from monitor.vocabulary import Posture
from monitor.watch.settings import WatchSettings
from monitor.watch.supervisor import Watchers

async def main():
    settings = WatchSettings(model="violent-motion", watchers=2, spares=0)
    quiet = lambda *_: None
    async with Watchers(settings, SystemClock(), on_observation=quiet, on_status=quiet, on_fault=quiet) as watchers:
        await watchers.assign("s", sys.argv[1], Posture.CALM)
        while not all(view.ready for view in watchers.stats()) or len(watchers.stats()) < 2:
            await asyncio.sleep(0.05)
        print(*(view.pid for view in watchers.stats()), file=sys.stderr, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def orphan_maker(video: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(ORPHANS), str(video)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
async def test_watchers_die_with_their_daemon(orphan_maker: subprocess.Popen[str], sent: signal.Signals) -> None:
    assert orphan_maker.stderr is not None
    pids = [int(word) for word in (await asyncio.to_thread(orphan_maker.stderr.readline)).split()]
    assert len(pids) == 2
    orphan_maker.send_signal(sent)
    await until(lambda: not any(is_running(pid) for pid in pids), deadline_s=5)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/live.ts", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}/live.ts"
    finally:
        await runner.cleanup()
