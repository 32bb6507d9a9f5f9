"""Which streams matter more where there is more to watch than time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from monitor.config.watching import WatchSection
from monitor.daemon.priorities import Priorities
from monitor.daemon.streams import StreamRegistry, WatchedStream
from monitor.detect.persistence import Detector
from monitor.servers.port import LiveStream, MediaServer
from tests.fakes.clock import ManualClock
from tests.fakes.media_server import FakeServer, live
from tests.fakes.protocols import shipped


class Scales:
    def __init__(self) -> None:
        self.weights: dict[str, float] = {}

    async def set_weight(self, stream_id: str, weight: float) -> None:
        self.weights[stream_id] = weight


@pytest.mark.parametrize(
    ("viewers", "age_s", "strikes", "weight"),
    [
        (0, 3600, 0, 1),
        (9, 3600, 0, 1),
        (10, 3600, 0, 2),
        (100, 3600, 0, 3),
        (0, 60, 0, 2),
        (0, 3600, 1, 3),
        (500, 60, 9, 8),
    ],
)
async def test_viewers_youth_and_strikes_weigh(viewers: int, age_s: float, strikes: int, weight: float) -> None:
    clock, scales, registry = ManualClock(), Scales(), StreamRegistry(WatchSection())
    stream = replace(live(), viewers=viewers, started_at=clock.now() - timedelta(seconds=age_s))

    async def take(_server: MediaServer, listing: tuple[LiveStream, ...]) -> None:
        for one in listing:
            registry.add(WatchedStream(one, shipped()["observe"], Detector({}), False, "cam1", 0.0))

    priorities = Priorities(registry, scales, clock, lambda _: strikes, take)
    await priorities.on_listing(FakeServer(), (stream,))
    assert scales.weights == {stream.ref.stream_id: weight}
