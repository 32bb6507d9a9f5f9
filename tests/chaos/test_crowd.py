"""Hundreds of streams that appear at once, on real watchers."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from monitor.clock import SystemClock
from monitor.vocabulary import Posture, WatchState
from monitor.watch.messages import Observation, StreamStatus, WatcherFault
from monitor.watch.settings import WatchSettings
from monitor.watch.supervisor import Watchers
from tests.fakes.footage import Footage, film
from tests.fakes.recorder import until

FOOTAGE = Footage(duration_s=240.0, frame_rate=10, width=96, height=64, gop_s=4.0)
CROWD = 300
LONGEST_GAP_S = 20.0
"""They are due every 4 s; a machine that is too small for the crowd must still look at them every 20 s."""


@pytest.mark.timeout(240)
async def test_a_crowd_that_appears_at_once_is_watched_at_last_and_those_before_it_all_the_time(tmp_path: Path) -> None:
    video = film(tmp_path / "small.mp4", FOOTAGE)
    observations: list[Observation] = []
    statuses: list[StreamStatus] = []
    faults: list[WatcherFault] = []
    before = {f"before-{number}" for number in range(6)}
    crowd = {f"crowd-{number}" for number in range(CROWD)}

    def scored() -> set[str]:
        return {observation.stream_id for observation in observations}

    async with Watchers(
        WatchSettings(model="violent-motion", watchers=2, spares=0, log_level="error"),
        SystemClock(),
        on_observation=lambda observation, _: observations.append(observation),
        on_status=statuses.append,
        on_fault=faults.append,
    ) as watchers:
        await until(lambda: sum(view.ready for view in watchers.stats()) == 2, deadline_s=60)
        for name in before:
            await watchers.assign(name, str(video), Posture.CALM)
        await until(lambda: scored() == before, deadline_s=60)
        observations.clear()
        assigned_at = time.time()
        for name in crowd:
            await watchers.assign(name, str(video), Posture.CALM)
        await until(lambda: scored() >= crowd, deadline_s=180)
        all_scored = len(observations)
        await until(lambda: before <= {observation.stream_id for observation in observations[all_scored:]})
        held = [len(view.streams) for view in watchers.stats()]
        reserved = [view.reserved_cores for view in watchers.stats()]
    assert faults == []
    assert {status.state for status in statuses} == {WatchState.OPENING, WatchState.WATCHING}
    assert max(held) - min(held) <= 16
    assert all(cores > 0 for cores in reserved)
    # While the crowd came in, nobody was blinded.
    for name in before:
        times_s = [observation.scored_at for observation in observations if observation.stream_id == name]
        gaps_s = [later - earlier for earlier, later in pairwise([assigned_at, *times_s])]
        assert max(gaps_s) < LONGEST_GAP_S, (name, gaps_s)
