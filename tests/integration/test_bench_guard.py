"""Ratios that must not get worse, and the benchmark's own machinery on real processes. Never times: machines differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.bench.footage import RECIPES, make_loops, repeat
from monitor.bench.machine import cores
from monitor.bench.results import Row, Step
from monitor.bench.running import record
from monitor.bench.sampling import CONTENDERS, Recording, measure
from monitor.bench.scaling import Plan, scale_files, scale_rtmp
from monitor.classify.package import find_package, load_package
from monitor.watch.settings import WatchSettings

LOOP_S = 4
MODEL = "violent-motion"
PLAN = Plan(first=2, shares=(), halvings=0, measure_s=4)

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loop")
    return make_loops(folder, RECIPES[:1], on_frame=lambda _done, _total: None, loop_s=LOOP_S)[RECIPES[0].name]


@pytest.fixture(scope="module")
def recording(loop: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(loop, tmp_path_factory.mktemp("recording"), RECIPES[0].name, 12, LOOP_S)


@pytest.mark.real_server
def test_sampling_stays_far_cheaper_than_the_usual_ways(recording: Recording) -> None:
    contenders = [
        one
        for one in CONTENDERS
        if one.method in ("calm", "keyframe", "opencv", "ffmpeg") or (one.method == "close" and one.spaced)
    ]
    rows, failures = measure([recording], load_package(find_package(MODEL)).clip_spec, contenders=contenders, rounds=3)
    assert failures == {}
    cost = {row.method: lowest(row) for row in rows}
    # Measured on a machine with four times more to do than it has cores: 5.3 to 5.8, 5.5 to 6.3, and 1.9 to 2.2. The
    # margins are what noise has not reached; losing any of the three ways in which frames are left out goes beyond.
    assert cost["calm"] < cost["ffmpeg"] / 4
    assert cost["calm"] < cost["opencv"] / 4
    assert cost["close"] < cost["ffmpeg"] / 1.5
    assert cost["keyframe"] < cost["calm"] / 1.5


def lowest(row: Row) -> float:
    """The best round: other work on the machine only ever adds."""
    return row.lowest_cpu_s


def settings() -> WatchSettings:
    return WatchSettings(model=MODEL, watchers=min(2, cores()), log_level="error")


MOST_TRIES = 3
"""Other work on the machine can make two streams late; it does not do so for ever."""


async def test_real_watchers_are_measured_on_files(loop: Path, tmp_path: Path) -> None:
    steps: list[Step] = []
    while not any(step.in_real_time for step in steps) and len(steps) < MOST_TRIES:
        await scale_files(repeat(loop, tmp_path / f"{len(steps)}.flv", 60, LOOP_S), settings(), PLAN, steps.append)
    held_true(steps)


@pytest.mark.real_server
async def test_real_watchers_are_measured_over_rtmp(loop: Path) -> None:
    steps: list[Step] = []
    while not any(step.in_real_time for step in steps) and len(steps) < MOST_TRIES:
        await scale_rtmp(loop, settings(), PLAN, steps.append, loop_s=LOOP_S)
    held_true(steps)
    assert 0 < steps[-1].verdicts_ms[0] < 2000


def held_true(steps: list[Step]) -> None:
    assert {one.streams for one in steps} == {2}
    step = steps[-1]
    assert step.in_real_time, steps
    assert len(step.verdicts_ms) >= 2
    assert step.resident_bytes > 50 * 2**20
    assert step.cpu_s_per_stream_s is None or 0.001 < step.cpu_s_per_stream_s < 1
    assert step.decode_share is None or 0 < step.decode_share <= 1
