"""One classifier for all watchers: real processes, real video, and everything that can be done to them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.clock import SystemClock
from monitor.vocabulary import Posture
from monitor.watch.messages import Observation, StreamStatus, WatcherFault
from monitor.watch.settings import WatchSettings
from monitor.watch.supervisor import Watchers
from tests.fakes.footage import Footage, film
from tests.fakes.recorder import until

OWN = WatchSettings(model="violent-motion", watchers=2, spares=0, open_timeout_s=5.0, read_timeout_s=2.0)
SHARED = replace(OWN, classifier="shared")
FOOTAGE = Footage(duration_s=60.0, frame_rate=15, width=160, height=120, gop_s=1.0)


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("footage") / "minute.mp4", FOOTAGE)


class Daemon:
    def __init__(self) -> None:
        self.observations: list[Observation] = []
        self.statuses: list[StreamStatus] = []
        self.faults: list[WatcherFault] = []

    @asynccontextmanager
    async def watching(self, settings: WatchSettings) -> AsyncIterator[Watchers]:
        async with Watchers(
            settings,
            SystemClock(),
            on_observation=lambda observation, _: self.observations.append(observation),
            on_status=self.statuses.append,
            on_fault=self.faults.append,
        ) as watchers:
            ready = settings.watchers + settings.spares
            await until(lambda: sum(view.ready for view in watchers.stats()) == ready, deadline_s=90)
            yield watchers

    async def scores(self, names: set[str], clips: int = 1) -> None:
        """Wait until each of these streams has been scored so often from now on."""
        mark = len(self.observations)

        def enough() -> bool:
            seen = [observation.stream_id for observation in self.observations[mark:]]
            return all(seen.count(name) >= clips for name in names)

        await until(enough, deadline_s=60)


async def watch_files(watchers: Watchers, video: Path, count: int) -> set[str]:
    names = {f"s{number}" for number in range(count)}
    for name in sorted(names):
        await watchers.assign(name, str(video), Posture.CALM)
    return names


def classifier_pid(watchers: Watchers) -> int:
    pid = watchers._in_force.classifier.pid
    assert pid is not None
    return pid


def watcher_pids(watchers: Watchers) -> list[int]:
    return [view.pid for view in watchers.stats() if view.pid is not None]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def maps(pid: int, what: str) -> bool:
    return what in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")


async def test_scores_equal_those_of_a_classifier_of_ones_own(video: Path) -> None:
    scores = {}
    for settings in (OWN, SHARED, replace(SHARED, batch=8, fill_s=0.02)):
        daemon = Daemon()
        async with daemon.watching(settings) as watchers:
            names = await watch_files(watchers, video, 4)
            await daemon.scores(names, clips=4)
            assert (watchers._in_force.classifier.pid is not None) == settings.shares_classifier
        assert daemon.faults == []
        scores[settings] = {(one.stream_id, one.clip_start_s): one.scores for one in daemon.observations}
    own, *others = scores.values()
    for shared in others:
        common = own.keys() & shared.keys()
        assert len(common) >= 8
        for clip in common:
            assert shared[clip] == pytest.approx(own[clip], abs=1e-6)


async def test_only_the_classifier_loads_the_model(video: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may look into these processes: that is what they are made for")
    async with Daemon().watching(SHARED) as watchers:
        assert maps(classifier_pid(watchers), "onnxruntime")
        for pid in watcher_pids(watchers):
            assert not maps(pid, "onnxruntime")
            assert maps(pid, "memfd:livecordon-slots")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_classifier_that_dies_or_hangs_is_told_of_and_replaced_while_watchers_wait(
    video: Path, how: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = Daemon()
    async with daemon.watching(SHARED) as watchers:
        names = await watch_files(watchers, video, 4)
        await daemon.scores(names)
        before, pids = classifier_pid(watchers), watcher_pids(watchers)
        struck = time.monotonic()
        os.kill(before, how)
        await until(lambda: daemon.faults)
        told_s = time.monotonic() - struck
        assert [fault.reason for fault in daemon.faults] == ["classifier_died"]
        assert not watchers.ready
        await daemon.scores(names)
        again_s = time.monotonic() - struck
        await until(lambda: watchers.ready)
        assert classifier_pid(watchers) != before
        assert not is_running(before)
        # They have waited: nothing was opened anew, and no stream was blamed.
        assert watcher_pids(watchers) == pids
        assert len(daemon.faults) == 1
        assert not any(status.reason == "watcher_died" for status in daemon.statuses)
    with capsys.disabled():
        sys.stdout.write(f"\n{how.name}: told after {told_s:.1f} s, all streams scored again after {again_s:.1f} s\n")


async def test_a_watcher_killed_in_the_middle_leaves_the_classifier_and_the_others_alone(video: Path) -> None:
    daemon = Daemon()
    async with daemon.watching(SHARED) as watchers:
        names = await watch_files(watchers, video, 6)
        await daemon.scores(names)
        classifier = classifier_pid(watchers)
        for _ in range(2):
            os.kill(max(watchers.stats(), key=lambda view: len(view.streams)).pid or 0, signal.SIGKILL)
            await until(lambda: daemon.faults)
            await daemon.scores(names)
            daemon.faults.clear()
        assert classifier_pid(watchers) == classifier


async def test_a_watcher_that_is_stopped_in_the_middle_holds_nobody_up(video: Path) -> None:
    daemon = Daemon()
    async with daemon.watching(replace(SHARED, ping_interval_s=60.0)) as watchers:
        names = await watch_files(watchers, video, 4)
        await daemon.scores(names)
        stopped, other = watchers.stats()
        os.kill(stopped.pid or 0, signal.SIGSTOP)
        try:
            await daemon.scores(set(other.streams), clips=3)
        finally:
            os.kill(stopped.pid or 0, signal.SIGCONT)
        await daemon.scores(names)
        assert daemon.faults == []


async def test_a_model_that_cannot_run_is_told_of_and_no_watcher_is_ready(tmp_path: Path) -> None:
    daemon = Daemon()
    async with Watchers(
        replace(SHARED, provider="cuda", watchers=1),
        SystemClock(),
        on_observation=lambda *_: None,
        on_status=daemon.statuses.append,
        on_fault=daemon.faults.append,
    ) as watchers:
        await until(lambda: daemon.faults, deadline_s=60)
        assert daemon.faults[0].reason == "classifier_failed"
        assert "no provider cuda" in daemon.faults[0].detail
        assert not watchers.ready
        assert not any(view.ready for view in watchers.stats())


WHOLE = """
import asyncio, sys
from monitor.clock import SystemClock
from monitor.vocabulary import Posture
from monitor.watch.settings import WatchSettings
from monitor.watch.supervisor import Watchers

async def main():
    settings = WatchSettings(model="violent-motion", watchers=2, spares=0, classifier="shared")
    scored = asyncio.Event()
    quiet = lambda *_: None
    async with Watchers(
        settings, SystemClock(), on_observation=lambda *_: scored.set(), on_status=quiet, on_fault=quiet
    ) as watchers:
        await watchers.assign("s", sys.argv[1], Posture.CALM)
        await scored.wait()
        print(watchers._in_force.classifier.pid, *(view.pid for view in watchers.stats()), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("everything", [False, True], ids=["the daemon", "everything"])
def test_nothing_outlives_kill_9(video: Path, everything: bool) -> None:
    memory = set(Path("/dev/shm").iterdir())
    with subprocess.Popen(
        [sys.executable, "-c", WHOLE, str(video)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        while not re.fullmatch(r"\d+( \d+)+\n", line := process.stdout.readline()):
            assert line
        pids = [int(word) for word in line.split()]
        for pid in (process.pid, *(pids if everything else ())):
            os.kill(pid, signal.SIGKILL)
        asyncio.run(until(lambda: not any(is_running(pid) for pid in pids), deadline_s=5))
    # What ours is called: other programs of this machine may come and go meanwhile.
    assert not [path for path in set(Path("/dev/shm").iterdir()) - memory if "livecordon" in path.name]
