from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import URL

from monitor.errors import StoreError
from monitor.store import blocks, effects, incidents
from monitor.store.database import Database
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectKind, EffectOutcome, StreamRef
from tests.fakes.store import incident_record

CAM1, CAM2 = StreamRef("edge", "live", "cam1"), StreamRef("edge", "live", "cam2")


@pytest.fixture
async def database(place: Path | URL) -> AsyncIterator[Database]:
    async with Database(place) as opened:
        async with opened.transaction() as connection:
            await incidents.save_definition(connection, digest="d" * 64, name="assisted", content="{}")
        yield opened


async def save(database: Database, *records: IncidentRecord) -> None:
    async with database.transaction() as connection:
        for record in records:
            await incidents.save(connection, record, {"1:urgent:2": record.opened_at + 60})


async def add_effect(database: Database, key: str, kind: EffectKind, *, at: float) -> effects.EffectRecord:
    sequence, position, _ = key.split(".")
    assert int(sequence) > 0
    record = effects.asked_for(
        incident_id="incident-0001", key=key, position=int(position), kind=kind, parameters={}, requested_at=at
    )
    async with database.transaction() as connection:
        await effects.add(connection, [record])
    return record


async def test_pages_of_incidents_that_opened_at_one_moment_leave_nobody_out(database: Database) -> None:
    await save(database, *(incident_record(number, opened_at=100.0 + number // 5) for number in range(17)))
    seen: list[str] = []
    async with database.reading() as connection:
        below = None
        while page := await incidents.newest(connection, limit=3, below=below):
            seen += [record.id for record in page]
            below = page[-1]
    assert len(seen) == 17
    assert len(set(seen)) == 17
    assert seen[:2] == ["incident-0015", "incident-0016"]


async def test_an_incident_comes_back_as_it_was_saved(database: Database) -> None:
    record = incident_record()
    await save(database, record, replace(incident_record(2), closed_at=200.0))
    await save(database, replace(record, state="contained", review_due_at=5.5))
    async with database.reading() as connection:
        assert await incidents.load_open(connection) == [
            (replace(record, state="contained", review_due_at=5.5), {"1:urgent:2": 160.0})
        ]
        assert await incidents.load(connection, "nobody") is None
        assert [one.id for one in await incidents.newest(connection, limit=9, open_only=True)] == ["incident-0001"]


async def test_one_key_is_one_effect(database: Database) -> None:
    await save(database, incident_record())
    await add_effect(database, "1.0.cut", EffectKind.CUT, at=1.0)
    with pytest.raises(StoreError):
        await add_effect(database, "1.0.cut", EffectKind.CUT, at=2.0)


async def test_effects_come_in_the_order_of_their_decisions_whatever_the_clock_did(database: Database) -> None:
    await save(database, incident_record())
    await add_effect(database, "10.0.unblock", EffectKind.UNBLOCK, at=50.0)  # the clock was set back
    await add_effect(database, "9.1.cut", EffectKind.CUT, at=100.0)
    await add_effect(database, "9.0.block", EffectKind.BLOCK, at=100.0)
    async with database.reading() as connection:
        pending = await effects.unfinished(connection)
    assert [effect.key for effect in pending] == ["9.0.block", "9.1.cut", "10.0.unblock"]


async def test_an_effect_ends_once(database: Database) -> None:
    await save(database, incident_record())
    effect = await add_effect(database, "1.0.cut", EffectKind.CUT, at=1.0)
    async with database.transaction() as connection:
        assert await effects.begin(connection, effect.id, at=2.0)
        assert await effects.begin(connection, effect.id, at=3.0)
        assert await effects.is_pending(connection, effect.id)
        assert await effects.finish(connection, effect.id, outcome=EffectOutcome.SUCCEEDED, at=4.0, detail={"n": 1})
        assert not await effects.finish(connection, effect.id, outcome=EffectOutcome.FAILED, at=5.0, detail={})
        assert not await effects.begin(connection, effect.id, at=6.0)
        assert not await effects.is_pending(connection, effect.id)
        (kept,) = await effects.of_incident(connection, "incident-0001")
    assert (kept.status, kept.attempts, kept.finished_at, kept.detail) == ("succeeded", 2, 4.0, {"n": 1})


async def test_withdrawn_effects_are_pending_no_more(database: Database) -> None:
    await save(database, incident_record())
    cut = await add_effect(database, "1.1.cut", EffectKind.CUT, at=1.0)
    block_ = await add_effect(database, "1.0.block", EffectKind.BLOCK, at=1.0)
    async with database.transaction() as connection:
        await effects.withdraw(connection, "incident-0001", EffectKind.CUT, at=2.0)
        assert not await effects.is_pending(connection, cut.id)
        assert await effects.is_pending(connection, block_.id)


async def test_the_longest_of_several_blocks_counts_until_it_is_lifted(database: Database) -> None:
    async with database.transaction() as connection:
        await blocks.add(connection, CAM1, at=0, until=100, by="protocol", why="a", incident_id="one")
        await blocks.add(connection, CAM1, at=0, until=300, by="ada", why="b")
        await blocks.add(connection, CAM2, at=0, until=50, by="ada", why="c")
        assert await blocks.end_of(connection, CAM1, at=10) == 300
        assert await blocks.end_of(connection, CAM2, at=50) is None
        assert await blocks.lift_of_publisher(connection, CAM1, at=20, by="eve", why="mistake") == 2
        assert await blocks.end_of(connection, CAM1, at=20) is None
        await blocks.add(connection, CAM1, at=20, until=90, by="protocol", why="d", incident_id="one")
        await blocks.add(connection, CAM1, at=20, until=60, by="ada", why="e")
        assert await blocks.lift_of_incident(connection, "one", at=30, by="protocol", why="f") == 1
        assert await blocks.end_of(connection, CAM1, at=30) == 60
        assert [(one.ref, one.until) for one in await blocks.active(connection, at=30)] == [(CAM1, 60), (CAM2, 50)]
