from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from monitor.config.watching import WatchSection
from monitor.daemon.gauges import Gauges, folders_of
from monitor.daemon.keeper import ServerPolicy
from monitor.daemon.streams import StreamRegistry, WatchedStream
from monitor.detect.persistence import Detector
from monitor.vocabulary import EffectKind, StreamRef
from tests.fakes.incidents import ACT, Bench, bench, context
from tests.fakes.media_server import live
from tests.fakes.protocols import shipped
from tests.fakes.samples import growth, sample

CAM2 = StreamRef("edge", "live", "cam2")


@dataclass
class Gauging:
    on: Bench
    registry: StreamRegistry
    gauges: Gauges


@pytest.fixture
async def gauging(tmp_path: Path) -> AsyncIterator[Gauging]:
    async with bench(tmp_path / "store.sqlite3") as on:
        registry = StreamRegistry(WatchSection())
        config = SimpleNamespace(evidence_directory=tmp_path / "not" / "made" / "yet", spool_directory=None)
        policy = ServerPolicy(shipped()["immediate"], dry_run=False, names_are_secret=False)
        parts = SimpleNamespace(
            config=config,
            store=tmp_path / "store.sqlite3",
            policies={"edge": policy},
            package=SimpleNamespace(name="toy@1"),
        )
        yield Gauging(on, registry, Gauges(parts, on.engine, registry, on.database, on.clock))  # type: ignore[arg-type] # all that it reads


def incidents(state: str, protocol: str = "immediate") -> float:
    return sample("livecordon_incidents", protocol=protocol, state=state)


async def test_incidents_are_counted_by_state_and_drills_are_none(gauging: Gauging) -> None:
    gauging.gauges.look()
    assert incidents("containing") == incidents("contained") == 0
    await gauging.on.engine.handle(context("immediate"), ACT)
    await gauging.on.engine.begin_drill(replace(context("immediate", ref=CAM2), drill=True), ACT, actor="ana")
    gauging.gauges.look()
    assert (incidents("containing"), incidents("contained")) == (1, 0)
    await gauging.on.finish(EffectKind.CUT)
    gauging.gauges.look()
    assert (incidents("containing"), incidents("contained")) == (0, 1)


async def test_a_stream_that_was_cut_is_withheld_until_it_is_live_again(gauging: Gauging) -> None:
    await gauging.on.engine.handle(context("immediate"), ACT)
    definition = shipped()["immediate"]
    stream = WatchedStream(replace(live(), held=True), definition, Detector({}), False, "live/cam1", gauging.on.now)
    gauging.registry.add(stream)
    gauging.registry.measure(gauging.on.now)
    gauging.gauges.look()
    assert sample("livecordon_streams_withheld", how="held") == 1
    assert sample("livecordon_streams_withheld", how="contained") == 0
    assert sample("livecordon_streams_given_up") == 0
    stream.watch_reason = "quarantined"
    gauging.gauges.look()
    assert sample("livecordon_streams_given_up") == 1
    gauging.registry.remove(stream.ref.stream_id)
    gauging.registry.measure(gauging.on.now)
    gauging.gauges.look()
    assert sample("livecordon_streams_withheld", how="held") == 0
    assert sample("livecordon_streams_withheld", how="contained") == 1


async def test_a_review_that_is_late_says_by_how_much(gauging: Gauging) -> None:
    await gauging.on.engine.handle(context("immediate"), ACT)
    await gauging.on.finish(EffectKind.CUT)
    gauging.gauges.look()
    assert sample("livecordon_review_overdue_seconds") == 0
    await gauging.on.clock.advance(30 * 60 + 90)
    gauging.gauges.look()
    assert sample("livecordon_review_overdue_seconds") == 90


async def test_disks_clock_and_loop_are_measured_while_it_runs(gauging: Gauging) -> None:
    turns = growth("livecordon_loop_lag_seconds_count")
    reads = growth("livecordon_store_seconds_count", operation="write")
    task = asyncio.create_task(gauging.gauges.run())
    try:
        async with asyncio.timeout(10):
            while not (sample("livecordon_store_bytes") and turns() >= 3):
                await asyncio.sleep(0.01)
                await gauging.on.clock.advance(1)
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert (
        sample("livecordon_disk_size_bytes", use="evidence") >= sample("livecordon_disk_free_bytes", use="evidence") > 0
    )
    assert sample("livecordon_time_seconds") > 1.7e9
    await gauging.on.engine.handle(context("immediate"), ACT)
    assert reads() >= 1


def test_a_store_elsewhere_has_no_disk_here(tmp_path: Path) -> None:
    config = SimpleNamespace(evidence_directory=tmp_path, spool_directory=tmp_path)
    assert set(folders_of(config, SimpleNamespace())) == {"evidence", "spool"}  # type: ignore[arg-type] # as above
    assert set(folders_of(config, tmp_path / "store")) == {"evidence", "spool", "store"}  # type: ignore[arg-type] # as above
