from __future__ import annotations

from dataclasses import replace

from monitor.store import blocks, reports, strikes
from monitor.store.database import Database
from monitor.store.reports import ReportRecord
from monitor.store.strikes import Identity, StrikeRecord
from monitor.vocabulary import StreamRef

CAM1 = StreamRef("edge", "live", "cam1")
FIRST = StrikeRecord(
    id="strike-1",
    server="edge",
    scope="server",
    stream_id=CAM1.stream_id,
    stream_hash="a" * 32,
    account_hash="b" * 32,
    address_hash=None,
    policy="live-violence",
    origin="live",
    context="none",
    number=1,
    decided_at=100.0,
    until=130.0,
    expires_at=465.0,
    incident_id="incident-1",
    effect_id="effect-1",
    by="protocol",
    why="x",
)


async def test_strikes_are_found_by_any_identity_where_they_count_while_they_stand(database: Database) -> None:
    everywhere = replace(FIRST, id="strike-2", effect_id=None, scope="everywhere", stream_hash="c" * 32)
    async with database.transaction() as connection:
        await strikes.add(connection, FIRST)
        await strikes.add(connection, everywhere)
        by_stream = await strikes.standing(connection, Identity(stream="a" * 32), server="edge", at=200.0)
        by_account = await strikes.standing(connection, Identity(account="b" * 32), server="edge", at=200.0)
        elsewhere = await strikes.standing(connection, Identity(account="b" * 32), server="other", at=200.0)
        over = await strikes.standing(connection, Identity(account="b" * 32), server="edge", at=465.0)
        nobody = await strikes.standing(connection, Identity(), server="edge", at=200.0)
    assert by_stream == [FIRST]
    assert {one.id for one in by_account} == {"strike-1", "strike-2"}
    assert elsewhere == [everywhere]
    assert over == nobody == []


async def test_a_lifted_strike_stands_no_more_and_stays_on_record(database: Database) -> None:
    async with database.transaction() as connection:
        await strikes.add(connection, FIRST)
        (lifted,) = await strikes.lift(connection, [FIRST], at=150.0, by="eve", why="appeal")
        assert await strikes.all_standing(connection, at=150.0) == []
        assert await strikes.of_incident(connection, "incident-1") == [lifted]
        assert await strikes.lift(connection, [lifted], at=160.0, by="kim", why="again") == []
    assert (lifted.lifted_at, lifted.lifted_by, lifted.lifted_why) == (150.0, "eve", "appeal")


async def test_the_strikes_behind_a_publishers_blocks_are_found(database: Database) -> None:
    async with database.transaction() as connection:
        await strikes.add(connection, FIRST)
        await blocks.add(connection, CAM1, at=100, until=130, by="protocol", why="x", incident_id="incident-1")
        assert await strikes.of_blocks(connection, CAM1, at=120.0) == [FIRST]
        assert await strikes.of_blocks(connection, CAM1, at=131.0) == []


async def test_an_incidents_reports_come_back_in_order(database: Database) -> None:
    one = ReportRecord("r1", 5.0, CAM1.stream_id, "incident-1", "violence", "he has a gun", "app", "d" * 32, live=True)
    two = replace(one, id="r0", at=6.0, live=False, text="")
    async with database.transaction() as connection:
        await reports.add(connection, two)
        await reports.add(connection, one)
        await reports.add(connection, replace(one, id="r3", incident_id=None))
        assert await reports.of_incident(connection, "incident-1") == [one, two]
