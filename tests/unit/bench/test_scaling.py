from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from monitor.bench import scaling
from monitor.bench.realtime import WatchersFailed, _late_ms, _share_scored
from monitor.bench.results import Step
from monitor.bench.scaling import QUICK, THOROUGH, Plan, scale_files, scale_rtmp
from monitor.demo.nginx import NginxUnavailable
from monitor.vocabulary import Posture
from monitor.watch.messages import Observation
from monitor.watch.settings import WatchSettings

SETTINGS = WatchSettings(model="any", watchers=2)
PLAN = Plan(first=1, shares=(0.25, 0.5, 1.0, 1.5), halvings=2, measure_s=4)


def observed(scored_at: float, clip_end_s: float) -> Observation:
    return Observation("s", clip_end_s - 0.5, clip_end_s, scored_at - 0.02, scored_at, (0.1,), Posture.CALM, True)


def capacity(monkeypatch: pytest.MonkeyPatch, streams: int, cpu_s: float | None = 0.02) -> None:
    """Watching keeps up with so many streams and no more."""

    async def watch(urls: Sequence[str], settings: WatchSettings, *, measure_s: float) -> Step:
        assert settings is SETTINGS
        assert len(urls) == len([url for url in urls if url == "a.flv"])
        return Step(len(urls), 1.0 if len(urls) <= streams else 0.5, 1.0, 0, cpu_s, 0.8, 1, ())

    monkeypatch.setattr(scaling, "watch_streams", watch)


async def tried(plan: Plan) -> list[int]:
    steps: list[Step] = []
    await scale_files(Path("a.flv"), SETTINGS, plan, steps.append)
    return [step.streams for step in steps]


async def test_more_and_more_until_real_time_is_lost_then_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    # 2 watchers at 0.02 core seconds promise 100 streams.
    capacity(monkeypatch, 70)
    assert await tried(PLAN) == [1, 25, 50, 100, 75, 62]


async def test_a_machine_that_keeps_up_is_asked_for_all_that_was_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    capacity(monkeypatch, 1000)
    assert await tried(PLAN) == [1, 25, 50, 100, 150]


async def test_a_machine_that_bears_one_alone_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    capacity(monkeypatch, 1)
    assert await tried(PLAN) == [1, 25, 13, 7]
    capacity(monkeypatch, 0)
    assert await tried(PLAN) == [1]


async def test_a_beginning_with_too_many_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    capacity(monkeypatch, 3)
    assert await tried(dataclasses.replace(PLAN, first=8)) == [8, 4, 2]


async def test_where_nobody_tells_the_cost_numbers_grow_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    capacity(monkeypatch, 1000, cpu_s=None)
    numbers = await tried(PLAN)
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 5


async def test_time_that_is_up_ends_it_but_not_before_one_number(monkeypatch: pytest.MonkeyPatch) -> None:
    capacity(monkeypatch, 70)
    assert await tried(dataclasses.replace(PLAN, until_s=-math.inf)) == [1]


async def test_no_more_streams_than_nginx_is_configured_for(monkeypatch: pytest.MonkeyPatch) -> None:
    capacity(monkeypatch, 10_000, cpu_s=0.0001)
    assert await tried(PLAN) == [1, 400]


@pytest.mark.parametrize("plan", [QUICK, THOROUGH])
def test_plans_grow_and_measure_whole_groups_of_pictures(plan: Plan) -> None:
    assert list(plan.shares) == sorted(plan.shares)
    assert plan.measure_s % 2 == 0


async def test_missing_nginx_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise NginxUnavailable("nginx was not found")

    monkeypatch.setattr(scaling, "find_nginx", missing)
    with pytest.raises(NginxUnavailable):
        await scale_rtmp(Path("a.flv"), SETTINGS, PLAN, lambda _step: None)


async def test_watchers_that_do_not_start_are_said() -> None:
    settings = WatchSettings(model="no-such-model", watchers=1, log_level="error")
    with pytest.raises(WatchersFailed):
        await scale_files(Path("a.flv"), settings, PLAN, lambda _step: None)


def test_clips_scored_in_time_count_against_those_due() -> None:
    whole = [observed(100 + 2 * n, 2.0 * n) for n in range(6)]
    assert _share_scored(whole, 12) == 1
    assert _share_scored([*whole[:2], *whole[3:]], 12) == pytest.approx(0.8)
    # At half the speed, half are scored.
    assert _share_scored([observed(100 + 4 * n, 2.0 * n) for n in range(4)], 12) == pytest.approx(0.5)
    # A stream that stops in the middle of the measurement has not been watched for the rest of it.
    assert _share_scored(whole[:3], 12) == pytest.approx(0.5)
    assert _share_scored([], 12) == 0
    assert _share_scored(whole[:1], 2) == 1
    assert _share_scored(whole[:1], 12) == pytest.approx(1 / 6)


def test_lateness_is_measured_against_the_quickest() -> None:
    assert _late_ms([observed(100.0, 0.0), observed(102.1, 2.0), observed(103.9, 4.0)]) == pytest.approx([100, 200, 0])
