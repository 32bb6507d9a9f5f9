from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from prometheus_client import Counter

from monitor import metrics
from monitor.clock import SystemClock
from monitor.vocabulary import Posture, WatchState
from monitor.watch.assignment import PRIOR_CORES
from monitor.watch.messages import Observation, StreamStatus, WatcherFault
from monitor.watch.settings import WatchSettings
from monitor.watch.supervisor import Watchers
from monitor.watch.view import WatcherView
from tests.fakes import fake_watcher
from tests.fakes.recorder import until

PROGRAM = str(Path(fake_watcher.__file__))
SETTINGS = WatchSettings(
    model="fake",
    watchers=2,
    spares=0,
    ping_interval_s=0.1,
    pong_timeout_s=1.5,
    progress_timeout_s=2.5,
    restart_longest_s=0.5,
    command=(sys.executable, "-P", PROGRAM),
)


class Daemon:
    """What the daemon would be told."""

    def __init__(self) -> None:
        self.observations: list[tuple[Observation, tuple[str, ...]]] = []
        self.statuses: list[StreamStatus] = []
        self.faults: list[WatcherFault] = []
        self.pids: set[int] = set()

    def watchers(self, settings: WatchSettings) -> Watchers:
        return Watchers(
            settings,
            SystemClock(),
            on_observation=lambda observation, labels: self.observations.append((observation, labels)),
            on_status=self.statuses.append,
            on_fault=self.faults.append,
        )

    def scored_since(self, mark: int) -> set[str]:
        return {observation.stream_id for observation, _ in self.observations[mark:]}

    def last(self, stream_id: str) -> tuple[WatchState, str] | None:
        said = [(status.state, status.reason) for status in self.statuses if status.stream_id == stream_id]
        return said[-1] if said else None


def still_alive(pids: set[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def told_to_process(pid: int | None) -> tuple[bytes, bytes]:
    process = Path(f"/proc/{pid}")
    return (process / "environ").read_bytes(), (process / "cmdline").read_bytes()


async def counter_grows(counter: Counter) -> None:
    before = counter._value.get()
    await until(lambda: counter._value.get() > before)


async def more_faults(daemon: Daemon, before: int) -> None:
    await until(lambda: len(daemon.faults) > before)


@asynccontextmanager
async def supervised(settings: WatchSettings = SETTINGS) -> AsyncIterator[tuple[Watchers, Daemon]]:
    daemon = Daemon()
    pids: set[int] = set()
    async with daemon.watchers(settings) as watchers:

        async def note_pids() -> None:
            while True:
                pids.update(view.pid for view in watchers.stats() if view.pid)
                await asyncio.sleep(0.02)

        noting = asyncio.create_task(note_pids())
        try:
            yield watchers, daemon
        finally:
            noting.cancel()
    assert still_alive(pids) == []


async def all_ready(watchers: Watchers, count: int) -> list[WatcherView]:
    await until(lambda: sum(view.ready for view in watchers.stats()) == count)
    return watchers.stats()


async def assign(watchers: Watchers, count: int, behaviour: str = "ok", prefix: str = "s") -> set[str]:
    names = {f"{prefix}{number}" for number in range(count)}
    for name in sorted(names):
        await watchers.assign(name, f"fake://{behaviour}/secret-key", Posture.CALM)
    return names


def holder_of(watchers: Watchers, stream_id: str) -> WatcherView:
    (view,) = [view for view in watchers.stats() if stream_id in view.streams]
    return view


async def test_streams_are_spread_and_their_scores_come_with_labels() -> None:
    async with supervised() as (watchers, daemon):
        assert not watchers.ready
        assert await watchers.wait_ready(15)
        await all_ready(watchers, 2)
        assert (watchers.model, watchers.labels) == ("fake@1", ("violence", "weapon"))
        names = await assign(watchers, 6)
        await until(lambda: daemon.scored_since(0) == names)
        observation, labels = daemon.observations[-1]
        assert dict(zip(labels, observation.scores, strict=True)) == {"violence": 0.25, "weapon": 0.5}
        assert sorted(len(view.streams) for view in watchers.stats()) == [3, 3]
        assert daemon.last("s0") == (WatchState.WATCHING, "opened")


async def test_streams_may_come_before_any_watcher_is_ready() -> None:
    async with supervised() as (watchers, daemon):
        names = await assign(watchers, 3)
        assert daemon.last("s0") == (WatchState.OPENING, "waiting_for_watcher")
        await until(lambda: daemon.scored_since(0) == names)


async def test_a_posture_reaches_the_watcher_and_survives_its_death() -> None:
    async with supervised() as (watchers, daemon):
        await assign(watchers, 1)
        await until(lambda: daemon.observations)
        await watchers.set_posture("s0", Posture.FULL)
        await watchers.set_posture("unknown", Posture.FULL)
        await until(lambda: daemon.observations[-1][0].posture is Posture.FULL)
        pid = holder_of(watchers, "s0").pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: (WatchState.STALLED, "watcher_died") in [(s.state, s.reason) for s in daemon.statuses])
        mark = len(daemon.observations)
        await until(lambda: len(daemon.observations) > mark)
        assert {observation.posture for observation, _ in daemon.observations[mark:]} == {Posture.FULL}


async def test_how_often_a_stream_failed_goes_with_it_to_the_next_watcher() -> None:
    async with supervised(replace(SETTINGS, watchers=1, spares=1)) as (watchers, daemon):
        await all_ready(watchers, 2)
        await assign(watchers, 1, "failing")
        await until(lambda: daemon.statuses and daemon.statuses[-1].tries == 1)
        pid = holder_of(watchers, "s0").pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: daemon.statuses[-1].tries == 2)


async def test_what_streams_cost_is_reserved_where_they_are() -> None:
    async with supervised() as (watchers, _):
        await all_ready(watchers, 2)
        await assign(watchers, 2, "dear")
        await until(lambda: sum(view.reserved_cores for view in watchers.stats()) == pytest.approx(1.0))
        assert [view.reserved_cores for view in watchers.stats()] == [pytest.approx(0.5), pytest.approx(0.5)]
        # A cost that a watcher tells of a stream that it does not have counts for nothing.
        assert watchers._roster.assignment.typical(Posture.FULL) == PRIOR_CORES[Posture.FULL]
        await until(lambda: metrics.WATCHERS_RESERVED_CORES._value.get() == pytest.approx(1.0))


async def test_nothing_is_heard_of_a_released_stream() -> None:
    async with supervised() as (watchers, daemon):
        await assign(watchers, 2)
        await until(lambda: daemon.scored_since(0) == {"s0", "s1"})
        await watchers.release("s0")
        await watchers.release("never-there")
        mark, statuses = len(daemon.observations), len(daemon.statuses)
        await until(lambda: len(daemon.observations) > mark + 5)
        assert daemon.scored_since(mark) == {"s1"}
        assert daemon.statuses[statuses:] == []
        assert daemon.faults == []


async def test_a_killed_watchers_streams_are_scored_again_by_another() -> None:
    async with supervised() as (watchers, daemon):
        await all_ready(watchers, 2)
        names = await assign(watchers, 6)
        await until(lambda: daemon.scored_since(0) == names)
        victim = holder_of(watchers, "s0")
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        await until(lambda: len(daemon.faults) == 1)
        mark = len(daemon.observations)
        killed = time.monotonic()
        await until(lambda: daemon.scored_since(mark) == names)
        assert time.monotonic() - killed < 3
        views = await all_ready(watchers, 2)
        assert sorted(view.restarts for view in views) == [0, 1]
        assert victim.pid not in {view.pid for view in views}
        assert (daemon.faults[0].reason, daemon.faults[0].detail) == ("exit", "ended")


async def test_a_spare_takes_over_and_leaves_the_others_alone() -> None:
    async with supervised(replace(SETTINGS, spares=1)) as (watchers, daemon):
        views = await all_ready(watchers, 3)
        (spare,) = [view for view in views if view.spare]
        names = await assign(watchers, 6)
        await until(lambda: daemon.scored_since(0) == names)
        victim, other = (view for view in watchers.stats() if not view.spare)
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        await until(lambda: daemon.faults)
        mark = len(daemon.observations)
        await until(lambda: daemon.scored_since(mark) == names)
        after = {view.pid: set(view.streams) for view in watchers.stats()}
        assert after[spare.pid] == set(victim.streams)
        assert after[other.pid] == set(other.streams)


async def test_a_stopped_watcher_is_found_out_and_replaced() -> None:
    async with supervised() as (watchers, daemon):
        await all_ready(watchers, 2)
        names = await assign(watchers, 4)
        await until(lambda: daemon.scored_since(0) == names)
        pid = holder_of(watchers, "s0").pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: daemon.faults)
        assert (daemon.faults[0].reason, daemon.faults[0].detail) == ("unresponsive", "no_pong")
        mark = len(daemon.observations)
        await until(lambda: daemon.scored_since(mark) == names)


@pytest.mark.parametrize(
    ("behaviour", "reason", "detail"),
    [
        ("garbage", "seam", "bad_message"),
        ("oversized", "seam", "frame_too_large"),
        ("unknown", "seam", "unknown_stream"),
        ("wrong_labels", "seam", "bad_message"),
        ("unasked", "seam", "unknown_request"),
        ("flood", "seam", "flood"),
        ("deaf", "unresponsive", "no_pong"),
        ("stuck", "unresponsive", "no_progress"),
        ("stopped", "unresponsive", "no_pong"),
        ("kill", "exit", "ended"),
    ],
)
async def test_a_stream_that_ruins_every_watcher_is_given_up_and_the_others_are_watched_on(
    behaviour: str, reason: str, detail: str
) -> None:
    given_up = metrics.STREAMS_QUARANTINED._value.get()
    restarts = metrics.WATCHER_RESTARTS.labels(reason)._value.get()
    async with supervised() as (watchers, daemon):
        await all_ready(watchers, 2)
        names = await assign(watchers, 4)
        await until(lambda: daemon.scored_since(0) == names)
        await watchers.assign("poison", f"fake://{behaviour}", Posture.CALM)
        await until(lambda: daemon.last("poison") == (WatchState.FAILED, "quarantined"), deadline_s=40)
        mark = len(daemon.observations)
        await until(lambda: daemon.scored_since(mark) == names)
        assert {fault.reason for fault in daemon.faults} == {reason}
        assert {fault.detail for fault in daemon.faults} == {detail}
        assert 3 <= len(daemon.faults) <= 6
        assert metrics.STREAMS_QUARANTINED._value.get() == given_up + 1
        assert metrics.WATCHER_RESTARTS.labels(reason)._value.get() == restarts + len(daemon.faults)
        assert all(daemon.last(name) == (WatchState.WATCHING, "opened") for name in names)
        # It is tried alone when it comes back, and costs nobody else anything.
        await watchers.release("poison")
        faults = len(daemon.faults)
        common = {view.pid for view in watchers.stats() if not view.quarantine}
        await watchers.assign("poison", f"fake://{behaviour}", Posture.CALM)
        await until(lambda: len(daemon.faults) == faults + 1)
        await until(lambda: daemon.last("poison") == (WatchState.FAILED, "quarantined"))
        assert {view.pid for view in watchers.stats() if not view.quarantine} == common


async def test_two_accidents_within_a_minute_cost_no_more_than_one() -> None:
    """Streams that become suspects by accident go to the idle watcher at once, and back when nothing happened."""
    async with supervised(replace(SETTINGS, spares=1)) as (watchers, daemon):
        watchers._roster.quarantine.probation_s = 2.0
        names = await assign(watchers, 6)
        for accident in range(2):
            await all_ready(watchers, 3)
            mark = len(daemon.observations)
            await until(lambda mark=mark: daemon.scored_since(mark) == names)  # type: ignore[misc]  # a default argument
            victim = holder_of(watchers, "s0")
            assert victim.pid is not None
            idle = {view.pid for view in watchers.stats() if not view.streams}
            os.kill(victim.pid, signal.SIGKILL)
            killed = time.monotonic()
            await more_faults(daemon, accident)
            mark = len(daemon.observations)
            await until(lambda mark=mark: daemon.scored_since(mark) == names)  # type: ignore[misc]  # as above
            assert time.monotonic() - killed < 2
            heir = holder_of(watchers, "s0")
            assert heir.pid in idle
            assert heir.quarantine == (accident == 1)
        await until(lambda: not any(view.quarantine for view in watchers.stats()))
        mark = len(daemon.observations)
        await until(lambda: daemon.scored_since(mark) == names)
        views = await all_ready(watchers, 3)
        assert sum(view.spare for view in views) == 1
        assert sorted(stream for view in views for stream in view.streams) == sorted(names)
        assert len(daemon.faults) == 2


async def test_a_stream_that_merely_is_silent_costs_no_watcher() -> None:
    async with supervised(replace(SETTINGS, watchers=1)) as (watchers, daemon):
        await all_ready(watchers, 1)
        await assign(watchers, 1, "silent")
        await until(lambda: daemon.last("s0") == (WatchState.STALLED, "stalled"))
        pings = watchers._roster.children[1]._heartbeat.pings_s
        begun = time.monotonic()
        await until(lambda: max(pings, default=0) > 15, deadline_s=60)
        assert time.monotonic() - begun >= 1.0
        assert daemon.faults == []


async def test_a_failing_classifier_is_no_streams_fault() -> None:
    async with supervised(replace(SETTINGS, watchers=1)) as (watchers, daemon):
        await assign(watchers, 1, "fault")
        await until(lambda: len(daemon.faults) >= 4, deadline_s=30)
        assert {(fault.reason, fault.detail) for fault in daemon.faults} == {("classifier_failed", "told to")}
        assert not any(view.quarantine for view in watchers.stats())
        assert "quarantined" not in {status.reason for status in daemon.statuses}


@pytest.mark.parametrize(
    ("startup", "reason"), [("exits", "exit"), ("faults", "invalid_model_package"), ("never", "unresponsive")]
)
async def test_a_watcher_that_never_gets_ready_is_tried_again_and_told(startup: str, reason: str) -> None:
    command = (*SETTINGS.command, f"--startup={startup}")
    ready_timeout_s = 0.5 if startup == "never" else 20.0
    settings = replace(SETTINGS, watchers=1, command=command, ready_timeout_s=ready_timeout_s)
    async with supervised(settings) as (watchers, daemon):
        await assign(watchers, 1)
        await until(lambda: len(daemon.faults) >= 3, deadline_s=30)
        assert {fault.reason for fault in daemon.faults} == {reason}
        assert not watchers.ready
        assert not await watchers.wait_ready(0.01)
        assert daemon.last("s0") == (WatchState.OPENING, "waiting_for_watcher")


async def test_a_program_that_cannot_be_started_is_told() -> None:
    async with supervised(replace(SETTINGS, watchers=1, command=("/nowhere/at/all",))) as (_, daemon):
        await until(lambda: len(daemon.faults) >= 2)
        assert daemon.faults[0].detail == "not_started"


async def test_evidence_comes_from_the_watcher_that_has_it_also_after_release() -> None:
    async with supervised() as (watchers, daemon):
        await assign(watchers, 3)
        await until(lambda: daemon.scored_since(0) == {"s0", "s1", "s2"})
        pid = holder_of(watchers, "s1").pid
        evidence = await watchers.evidence("s1", 10)
        assert [frame.jpeg for frame in evidence.frames] == [f"jpeg of s1 by {pid}".encode()]
        assert evidence.stream_id == "s1"
        await watchers.release("s1")
        assert len((await watchers.evidence("s1", 10)).frames) == 1
        assert (await watchers.evidence("unknown", 10)).frames == ()


async def test_evidence_that_does_not_come_in_time_is_empty_and_harms_nobody() -> None:
    async with supervised(replace(SETTINGS, watchers=1, pong_timeout_s=60, suspect_after_s=60)) as (watchers, daemon):
        await assign(watchers, 1)
        await until(lambda: daemon.observations)
        pid = holder_of(watchers, "s0").pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        assert (await watchers.evidence("s0", 0.2)).frames == ()
        os.kill(pid, signal.SIGCONT)
        assert len((await watchers.evidence("s0", 10)).frames) == 1
        assert daemon.faults == []


async def test_evidence_asked_for_when_the_watcher_dies_is_empty_at_once() -> None:
    async with supervised(replace(SETTINGS, watchers=1, pong_timeout_s=60, suspect_after_s=60)) as (watchers, daemon):
        await assign(watchers, 1)
        await until(lambda: daemon.observations)
        pid = holder_of(watchers, "s0").pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        asked = asyncio.create_task(watchers.evidence("s0", 60))
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(15):
            assert (await asked).frames == ()


async def test_a_watchers_log_is_told_again_without_what_libraries_print() -> None:
    with structlog.testing.capture_logs() as logs:
        async with supervised(replace(SETTINGS, watchers=1)) as (watchers, _):
            await assign(watchers, 1, "chatty")
            await until(lambda: any(line["event"] == "told_by_watcher" for line in logs))
    (told,) = [line for line in logs if line["event"] == "told_by_watcher"]
    assert told == {"event": "told_by_watcher", "log_level": "warning", "number": 7, "watcher": 1}
    assert "hunter2" not in repr(logs)
    assert "secret-key" not in repr(logs)
    assert any(line["event"] == "watcher_log_lines_withheld" for line in logs)


async def test_drops_are_counted_across_restarts() -> None:
    dropped = metrics.CLIPS_DROPPED.labels("superseded")._value.get()
    async with supervised(replace(SETTINGS, watchers=1)) as (watchers, daemon):
        await assign(watchers, 1)
        for generation in range(2):
            await counter_grows(metrics.CLIPS_DROPPED.labels("superseded"))
            view = holder_of(watchers, "s0")
            assert view.stats is not None
            assert view.stats.clips_scored > 0
            assert view.restarts == generation
            assert view.pid is not None
            os.kill(view.pid, signal.SIGKILL)
            await more_faults(daemon, generation)
        assert metrics.CLIPS_DROPPED.labels("superseded")._value.get() > dropped


async def test_a_mistake_in_the_daemons_callback_is_not_the_watchers() -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    faults: list[WatcherFault] = []
    statuses: list[StreamStatus] = []
    with structlog.testing.capture_logs() as logs:
        async with Watchers(
            replace(SETTINGS, watchers=1),
            SystemClock(),
            on_observation=fail,
            on_status=statuses.append,
            on_fault=faults.append,
        ) as watchers:
            await assign(watchers, 1)
            await until(lambda: sum(line["event"] == "watch_callback_failed" for line in logs) > 3)
    assert faults == []


async def test_leaving_in_trouble_raises_what_the_body_raised() -> None:
    with pytest.raises(KeyError):
        async with supervised():
            raise KeyError


async def test_cancelling_the_daemon_kills_every_watcher() -> None:
    pids: set[int] = set()
    started = asyncio.Event()

    async def run() -> None:
        async with Daemon().watchers(SETTINGS) as watchers:
            await until(lambda: sum(view.pid is not None for view in watchers.stats()) == 2)
            pids.update(view.pid for view in watchers.stats() if view.pid)
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(pids) == 2
    assert still_alive(pids) == []


async def test_the_daemons_secrets_are_not_in_a_watchers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVECORDON_TOKEN", "hunter2")
    async with supervised(replace(SETTINGS, watchers=1)) as (watchers, _):
        (view,) = await all_ready(watchers, 1)
        environment, command = told_to_process(view.pid)
        assert b"hunter2" not in environment
        assert b"MALLOC_ARENA_MAX=2" in environment
        assert b"MALLOC_MMAP_THRESHOLD_=262144" in environment
        assert b"--parent-pid=%d" % os.getpid() in command


async def test_a_random_life_loses_no_stream() -> None:
    """Kill watchers again and again while streams come and go; in the end exactly those that are wanted are scored."""
    settings = replace(SETTINGS, watchers=3)
    wanted: set[str] = set()
    async with supervised(settings) as (watchers, daemon):
        # Strikes are what the next test is about; here every death is an accident.
        watchers._roster.quarantine.strikes = 1000
        await all_ready(watchers, 3)
        for step in range(12):
            new = await assign(watchers, 4, prefix=f"r{step}-")
            gone = set(sorted(wanted)[::3])
            for name in gone:
                await watchers.release(name)
            wanted = (wanted | new) - gone
            views = await until(lambda: [view for view in watchers.stats() if view.pid is not None])
            pid = max(views, key=lambda view: len(view.streams)).pid
            assert pid is not None
            faults = len(daemon.faults)
            os.kill(pid, signal.SIGKILL)
            await more_faults(daemon, faults)
        mark = len(daemon.observations)
        await until(lambda: daemon.scored_since(mark) >= wanted)
        mark = len(daemon.observations)
        await until(lambda: daemon.scored_since(mark) == wanted)
        held = [stream for view in watchers.stats() for stream in view.streams]
        assert sorted(held) == sorted(wanted)
