from __future__ import annotations

from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY

from monitor.config.models import Config
from monitor.daemon.retention import Retention
from monitor.evidence.package import Frame, ScoredClip, write_package
from monitor.store import audit
from tests.fakes.incidents import ACT, Bench, bench, context

DAY_S = 86_400.0


def retention(on: Bench, root: Path, **keeps: float | None) -> Retention:
    config = Config.model_validate(
        {
            "servers": [{"name": "demo", "kind": "embedded"}],
            "data_dir": str(root),
            "evidence": {"directory": str(root / "evidence")},
            "retention": {name: None if value is None else f"{value:.0f}s" for name, value in keeps.items()},
        }
    )
    return Retention(config, on.engine, on.database, on.clock)


def write(root: Path, incident_id: str, at: float) -> Path:
    frames, scores = [Frame(0.0, at, b"jpeg")], [ScoredClip(0.0, 1.0, {"violence": 0.9})]
    about: dict[str, Any] = {"stream_id": "edge-1"}
    summary = write_package(
        root / "evidence",
        incident_id=incident_id,
        key="1.0.preserve",
        about=about,
        preserved_at=at,
        frames=frames,
        scores=scores,
    )
    return root / "evidence" / summary.reference


def count(name: str, kind: str) -> float:
    return REGISTRY.get_sample_value(name, {"kind": kind}) or 0.0


async def log_of(on: Bench) -> list[audit.AuditEntry]:
    async with on.database.reading() as connection:
        return await audit.entries(connection)


async def test_old_evidence_goes_and_what_is_needed_stays(tmp_path: Path) -> None:
    async with bench(tmp_path / "store.sqlite3") as on:
        now = on.clock.now().timestamp()
        await on.engine.handle(context("observe"), ACT)
        under_way = on.engine.open_incidents()[0].record.id
        old, young = write(tmp_path, "old", now - 11 * DAY_S), write(tmp_path, "young", now - 9 * DAY_S)
        open_one, held = write(tmp_path, under_way, now - 11 * DAY_S), write(tmp_path, "held", now - 11 * DAY_S)
        (held.parent / "hold").touch()
        half = tmp_path / "evidence" / "half" / "1.0.preserve"
        half.mkdir(parents=True)
        (half / "manifest.json").write_text("{")
        keeping = retention(on, tmp_path, evidence=10 * DAY_S)
        before = count("livecordon_retention_deleted_total", "evidence")
        await keeping.sweep()
        assert [path.exists() for path in (old, old.parent, young, open_one, held, half)] == [False, False, *[True] * 4]
        assert count("livecordon_retention_deleted_total", "evidence") == before + 1
        assert count("livecordon_retention_success_timestamp_seconds", "evidence") == now
        (told,) = [entry for entry in await log_of(on) if entry.action == "evidence_deleted"]
        assert told.detail["package"] == "old/1.0.preserve"
        assert len(told.detail["sha256"]) == 64
        await keeping.sweep()
        assert count("livecordon_retention_deleted_total", "evidence") == before + 1


async def test_kept_for_ever_means_for_ever(tmp_path: Path) -> None:
    async with bench(tmp_path / "store.sqlite3") as on:
        ancient = write(tmp_path, "ancient", 0.0)
        await retention(on, tmp_path, evidence=None).sweep()
        assert ancient.exists()


async def test_what_cannot_be_deleted_is_counted_and_tried_again(tmp_path: Path) -> None:
    async with bench(tmp_path / "store.sqlite3") as on:
        old = write(tmp_path, "old", 0.0)
        keeping = retention(on, tmp_path, evidence=DAY_S)
        # Where it would be put out of sight something lies already.
        in_the_way = old.with_name(f".going-{old.name}") / "file"
        in_the_way.parent.mkdir()
        in_the_way.touch()
        before = count("livecordon_retention_failures_total", "evidence")
        await keeping.sweep()
        assert count("livecordon_retention_failures_total", "evidence") == before + 1
        assert old.exists()
        in_the_way.unlink()
        await keeping.sweep()
        assert not old.exists()


async def add(on: Bench, entries: int) -> None:
    for number in range(entries):
        async with on.database.transaction() as connection:
            at = on.clock.now().timestamp()
            await audit.append(
                connection, at=at, actor="test", action="noted", incident_id=None, detail={"number": number}
            )


async def test_a_pruned_audit_log_can_still_be_proved_whole_and_nothing_else_can(tmp_path: Path) -> None:
    async with bench(tmp_path / "store.sqlite3") as on:
        keeping = retention(on, tmp_path, audit=5 * DAY_S)
        await add(on, 6)
        await on.clock.advance(10 * DAY_S)
        await add(on, 4)
        await keeping.sweep()
        log = await log_of(on)
        assert [entry.number for entry in log] == [7, 8, 9, 10, 11]
        assert (log[-1].action, log[-1].detail["through"]) == ("audit_pruned", 6)
        assert audit.first_broken(log) is None
        # More that is cut off, from either end, shows; so does a row that is missing in the middle.
        assert audit.first_broken(log[1:]) == 1
        assert audit.first_broken(log[:-1]) == 1
        assert audit.first_broken([*log[:1], *log[2:]]) in {1, 8}
        # Again, later: only the newest beginning is vouched for, and that is enough.
        await on.clock.advance(10 * DAY_S)
        await add(on, 2)
        await keeping.sweep()
        again = await log_of(on)
        assert [entry.number for entry in again] == [12, 13, 14]
        assert audit.first_broken(again) is None
        await keeping.sweep()
        assert await log_of(on) == again


async def test_the_newest_entry_and_those_of_open_incidents_stay(tmp_path: Path) -> None:
    async with bench(tmp_path / "store.sqlite3") as on:
        keeping = retention(on, tmp_path, audit=5 * DAY_S)
        await add(on, 3)
        await on.engine.handle(context("observe"), ACT)
        await on.clock.advance(60)
        opened_at = on.engine.open_incidents()[0].record.opened_at
        under_way = [entry for entry in await log_of(on) if entry.incident_id is not None]
        assert under_way
        await on.clock.advance(20 * DAY_S)
        if on.engine.open_incidents():
            await keeping.sweep()
            assert {entry.number for entry in under_way} <= {entry.number for entry in await log_of(on)}
            assert opened_at <= min(entry.at for entry in under_way)
        async with on.database.transaction() as connection:
            await audit.prune(connection, before=1e12, at=1e12)
        log = await log_of(on)
        assert len(log) == 2
        assert audit.first_broken(log) is None
