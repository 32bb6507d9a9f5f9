from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from monitor.config.watching import WatchSection
from monitor.daemon.discovery import Discovery
from monitor.daemon.streams import StreamRegistry, WatchedStream
from monitor.daemon.views import MemoryView, Vitals
from monitor.detect.persistence import Detector
from monitor.vocabulary import Freshness, Severity
from monitor.web.changes import ChangeSignal
from tests.fakes.clock import ManualClock
from tests.fakes.incidents import ACT, Bench, bench, context
from tests.fakes.media_server import FakeServer, live
from tests.fakes.protocols import shipped
from tests.fakes.store import CAM1


def watched(clock: ManualClock, name: str = "cam1") -> WatchedStream:
    return WatchedStream(
        live=live(name),
        definition=shipped()["assisted"],
        detector=Detector({}),
        dry_run=False,
        title=f"live/{name}",
        first_seen_at=clock.now().timestamp(),
    )


async def test_freshness_follows_the_last_verdict() -> None:
    clock = ManualClock()
    registry = StreamRegistry(WatchSection())
    stream = watched(clock)
    registry.add(stream)

    def now() -> float:
        return clock.now().timestamp()

    seen = []
    for _ in range(5):
        seen.append(registry.freshness(stream, now()))
        await clock.advance(10)
    assert seen == [Freshness.FRESH, Freshness.FRESH, Freshness.LATE, Freshness.LATE, Freshness.BLIND]
    stream.last_arrived_at = now() - 2
    assert registry.freshness(stream, now()) is Freshness.FRESH
    registry.measure(now())
    assert REGISTRY.get_sample_value("livecordon_streams", {"freshness": "fresh"}) == 1
    assert REGISTRY.get_sample_value("livecordon_verdict_age_max_seconds") == pytest.approx(2)
    await clock.advance(100)
    stream.excused = True
    registry.measure(now())
    assert registry.freshness(stream, now()) is Freshness.FRESH
    assert REGISTRY.get_sample_value("livecordon_verdict_age_max_seconds") == 0
    assert registry.remove(stream.ref.stream_id) is stream
    assert registry.remove(stream.ref.stream_id) is None


@dataclass
class Viewing:
    on: Bench
    registry: StreamRegistry
    discovery: Discovery
    vitals: Vitals
    view: MemoryView

    def failing(self) -> list[str]:
        return [check.name for check in self.view.ready() if not check.ok]


@pytest.fixture
async def viewing(tmp_path: Path) -> AsyncIterator[Viewing]:
    async with bench(tmp_path / "store.sqlite3") as on:

        async def on_listing(*_listing: object) -> None:
            return None

        registry = StreamRegistry(WatchSection())
        discovery = Discovery(FakeServer(), interval_s=2.0, clock=on.clock, on_listing=on_listing)
        vitals = Vitals(heartbeat_s=on.clock.monotonic_s(), model="toy@1", watchers_ready=1, watchers_wanted=1)
        yield Viewing(
            on,
            registry,
            discovery,
            vitals,
            MemoryView(
                registry=registry,
                discoveries={"edge": discovery},
                engine=on.engine,
                vitals=vitals,
                dry_run_servers={"edge": True},
                dry_run=False,
                clock=on.clock,
                changes=ChangeSignal(),
            ),
        )


async def test_readiness_names_what_is_missing(viewing: Viewing) -> None:
    assert viewing.failing() == ["media_servers"]
    await viewing.discovery.poll()
    assert viewing.failing() == []
    viewing.vitals.classifier_fault = "classifier_failed"
    viewing.vitals.watchers_ready = 0
    viewing.vitals.store_ok = False
    viewing.vitals.draining = True
    assert viewing.failing() == ["model", "watchers", "store", "draining"]


async def test_what_has_started_stays_started(viewing: Viewing) -> None:
    assert [check.name for check in viewing.view.started() if not check.ok] == ["watcher"]
    viewing.vitals.started = True
    viewing.vitals.watchers_ready = 0
    viewing.vitals.draining = True
    assert all(check.ok for check in viewing.view.started())


async def test_liveness_depends_on_the_main_loop_alone(viewing: Viewing) -> None:
    viewing.vitals.store_ok = False
    assert all(check.ok for check in viewing.view.live())
    await viewing.on.clock.advance(16)
    assert not all(check.ok for check in viewing.view.live())


async def test_a_stream_shows_its_incident_and_its_protocol(viewing: Viewing) -> None:
    viewing.registry.add(watched(viewing.on.clock))
    (before,) = viewing.view.streams()
    assert (before.incident_id, before.protocol, before.verdict_age_s) == (None, "assisted", None)
    await viewing.on.engine.handle(context("observe"), ACT)
    (after,) = viewing.view.streams()
    assert (after.protocol, after.severity) == ("observe", Severity.NONE)
    assert after.incident_id == viewing.on.engine.open_incidents()[0].record.id
    viewing.registry.remove(CAM1.stream_id)
    assert viewing.view.ref_of(CAM1.stream_id) == CAM1  # not live any more, but its incident is open
    assert viewing.view.ref_of("edge-nobody") is None


async def test_a_server_shows_its_own_dry_run_and_its_last_error(viewing: Viewing) -> None:
    (server,) = viewing.view.servers()
    assert (server.ok, server.last_error, server.dry_run) == (False, "not_asked_yet", True)
    await viewing.discovery.poll()
    (server,) = viewing.view.servers()
    assert (server.ok, server.last_error) == (True, "")
