"""Another model without a restart, with watchers that misbehave on command."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from monitor import metrics
from monitor.clock import SystemClock
from monitor.vocabulary import Posture, WatchState
from monitor.watch import overlaps
from monitor.watch.messages import Observation, Ready, StreamStatus, WatcherFault
from monitor.watch.model_swaps import ModelSwapRefused
from monitor.watch.settings import WatchSettings
from monitor.watch.supervisor import Watchers
from monitor.watch.view import WatcherView
from tests.fakes import fake_watcher
from tests.fakes.recorder import until

SETTINGS = WatchSettings(
    model="fake",
    watchers=2,
    spares=1,
    ping_interval_s=0.1,
    pong_timeout_s=1.5,
    progress_timeout_s=2.5,
    restart_longest_s=0.5,
    keep_replaced_s=0.2,
    command=(sys.executable, "-P", str(Path(fake_watcher.__file__))),
)


class Daemon:
    def __init__(self) -> None:
        self.heard: list[tuple[str, Observation]] = []
        self.models: dict[str, str] = {}
        self.statuses: list[StreamStatus] = []
        self.faults: list[WatcherFault] = []
        self.approved: list[Ready] = []

    async def approve(self, ready: Ready) -> None:
        self.approved.append(ready)

    def model(self, stream_id: str, model: str) -> None:
        self.models[stream_id] = model

    def observation(self, observation: Observation, labels: tuple[str, ...]) -> None:
        assert labels == ("violence", "weapon")
        self.heard.append((self.models[observation.stream_id], observation))

    def longest_silence_s(self, stream_id: str) -> float:
        times = [seen.scored_at for _, seen in self.heard if seen.stream_id == stream_id]
        return max(later - earlier for earlier, later in pairwise(times))

    def scored_by(self, model: str, mark: int = 0) -> set[str]:
        return {seen.stream_id for by, seen in self.heard[mark:] if by == model}


@asynccontextmanager
async def watching(settings: WatchSettings = SETTINGS) -> AsyncIterator[tuple[Watchers, Daemon]]:
    daemon = Daemon()
    async with Watchers(
        settings,
        SystemClock(),
        on_observation=daemon.observation,
        on_status=daemon.statuses.append,
        on_fault=daemon.faults.append,
        on_model=daemon.model,
    ) as watchers:
        await until(lambda: len(ready(watchers)) == settings.watchers + settings.spares)
        yield watchers, daemon


def ready(watchers: Watchers) -> list[WatcherView]:
    return [view for view in watchers.stats() if view.ready]


def pids(watchers: Watchers) -> set[int]:
    return {view.pid for view in watchers.stats() if view.pid is not None}


async def assign(watchers: Watchers, count: int, behaviour: str = "ok") -> set[str]:
    names = {f"s{number}" for number in range(count)}
    for name in sorted(names):
        await watchers.assign(name, f"fake://{behaviour}", Posture.CALM)
    return names


async def test_every_stream_goes_to_the_other_model_and_none_falls_silent() -> None:
    async with watching() as (watchers, daemon):
        names = await assign(watchers, 10)
        await until(lambda: daemon.scored_by("fake@1") == names)
        before, statuses = pids(watchers), len(daemon.statuses)
        await watchers.swap_model(replace(SETTINGS, model="other"), daemon.approve)
        assert [one.model for one in daemon.approved] == ["other@1"]
        assert watchers.swapping
        await until(lambda: not watchers.swapping)
        assert watchers.model == "other@1"
        mark = len(daemon.heard)
        await until(lambda: daemon.scored_by("other@1", mark) == names)
        assert daemon.scored_by("fake@1", mark) == set()
        # A stream never goes back and forth between the models.
        for name in names:
            order = [by for by, seen in daemon.heard if seen.stream_id == name]
            assert order == sorted(order)
        assert max(daemon.longest_silence_s(name) for name in names) < 1.0
        assert {status.state for status in daemon.statuses[statuses:]} == {WatchState.WATCHING}
        assert daemon.faults == []
        # In the end there are as many as before, and none of those from before.
        await until(lambda: len(watchers.stats()) == 3)
        assert len(ready(watchers)) == 3
        assert pids(watchers).isdisjoint(before)
        assert sum(view.spare for view in watchers.stats()) == 1
        await until(lambda: metrics.WATCHERS_OUTDATED._value.get() == 0)


async def test_a_model_that_fails_its_test_is_refused_and_nothing_else_happens() -> None:
    async with watching() as (watchers, daemon):
        names = await assign(watchers, 4)
        before = pids(watchers)
        with pytest.raises(ModelSwapRefused) as refused:
            await watchers.swap_model(replace(SETTINGS, model="wrong"), daemon.approve)
        assert refused.value.reason == "invalid_model_package"
        assert (daemon.approved, daemon.faults) == ([], [])
        assert watchers.model == "fake@1"
        mark = len(daemon.heard)
        await until(lambda: daemon.scored_by("fake@1", mark) == names)
        await until(lambda: pids(watchers) == before)
        # And what is right may be tried next.
        await watchers.swap_model(replace(SETTINGS, model="other"), daemon.approve)
        await until(lambda: not watchers.swapping)


async def test_a_model_that_is_not_approved_judges_nothing() -> None:
    async def refuse(_: Ready) -> None:
        raise OSError("the audit log cannot be written")

    async with watching() as (watchers, daemon):
        names = await assign(watchers, 4)
        before = pids(watchers)
        with pytest.raises(OSError, match="audit"):
            await watchers.swap_model(replace(SETTINGS, model="other"), refuse)
        await until(lambda: pids(watchers) == before)
        mark = len(daemon.heard)
        await until(lambda: daemon.scored_by("fake@1", mark) == names)
        assert daemon.scored_by("other@1") == set()
        assert daemon.faults == []


async def test_one_swap_at_a_time() -> None:
    async with watching() as (watchers, daemon):
        await assign(watchers, 4)
        first = asyncio.create_task(watchers.swap_model(replace(SETTINGS, model="other"), daemon.approve))
        await until(lambda: watchers.swapping)
        with pytest.raises(ModelSwapRefused) as refused:
            await watchers.swap_model(replace(SETTINGS, model="third"), daemon.approve)
        assert refused.value.reason == "swap_under_way"
        await first
        await until(lambda: not watchers.swapping)


@pytest.mark.parametrize("which", ["old", "new"])
async def test_a_watcher_killed_while_its_streams_move_costs_no_stream(which: str) -> None:
    async with watching() as (watchers, daemon):
        names = await assign(watchers, 16)
        await until(lambda: daemon.scored_by("fake@1") == names)
        outdated = pids(watchers)
        await watchers.swap_model(replace(SETTINGS, model="other"), daemon.approve)
        await until(lambda: daemon.scored_by("other@1"))
        holding = [view for view in watchers.stats() if view.streams]
        victim = next(view for view in holding if (view.pid in outdated) == (which == "old"))
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        await until(lambda: not watchers.swapping, deadline_s=30)
        mark = len(daemon.heard)
        await until(lambda: daemon.scored_by("other@1", mark) == names)
        assert daemon.scored_by("fake@1", mark) == set()
        await until(lambda: len(watchers.stats()) == 3 and len(ready(watchers)) == 3)
        assert pids(watchers).isdisjoint(outdated)


async def test_a_stream_that_the_new_watcher_never_scores_moves_when_patience_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overlaps, "PATIENCE_S", 0.3)
    async with watching() as (watchers, daemon):
        names = await assign(watchers, 4)
        await watchers.assign("slow", "fake://dear", Posture.CALM)
        await until(lambda: daemon.scored_by("fake@1") == names)
        await watchers.swap_model(replace(SETTINGS, model="other"), daemon.approve)
        await until(lambda: not watchers.swapping)
        (holder,) = [view for view in watchers.stats() if "slow" in view.streams]
        assert holder.ready
        states = [status.state for status in daemon.statuses if status.stream_id == "slow"]
        assert states == [WatchState.WATCHING] * 2


async def test_a_stream_released_in_the_middle_is_released_everywhere() -> None:
    async with watching() as (watchers, daemon):
        names = await assign(watchers, 4)
        await watchers.assign("slow", "fake://dear", Posture.CALM)
        await until(lambda: daemon.scored_by("fake@1") == names)
        await watchers.swap_model(replace(SETTINGS, model="other"), daemon.approve)
        await until(lambda: sum("slow" in view.streams for view in watchers.stats()) == 2)
        await watchers.set_posture("slow", Posture.FULL)
        await watchers.release("slow")
        assert not any("slow" in view.streams for view in watchers.stats())
        # Nothing waits for it any more.
        await until(lambda: not watchers.swapping)
        mark = len(daemon.heard)
        await until(lambda: daemon.scored_by("other@1", mark) == names)


async def test_streams_that_nobody_watches_move_at_once() -> None:
    async with watching() as (watchers, daemon):
        names = await assign(watchers, 2, "silent")
        await until(lambda: {status.stream_id for status in daemon.statuses if status.reason == "stalled"} == names)
        mark = len(daemon.statuses)
        await watchers.swap_model(replace(SETTINGS, model="other"), daemon.approve)
        await until(lambda: not watchers.swapping)
        await until(lambda: {status.stream_id for status in daemon.statuses[mark:]} == names)


async def test_evidence_from_before_outlives_the_swap_for_a_while() -> None:
    async with watching(replace(SETTINGS, keep_replaced_s=60.0)) as (watchers, daemon):
        names = await assign(watchers, 1)
        await until(lambda: daemon.scored_by("fake@1") == names)
        await watchers.swap_model(replace(SETTINGS, model="other"), daemon.approve)
        await until(lambda: not watchers.swapping)
        evidence = await watchers.evidence("s0", 5.0)
        assert len({frame.jpeg for frame in evidence.frames}) == 2
