"""One receiver's line: how many at once, in which order, what a receiver that is away costs, and what 410 leads to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.alerts.line import AT_HAND
from monitor.alerts.outbox import Outbox
from monitor.alerts.schedule import REMAINING_S
from monitor.store import deliveries, delivery_desk
from monitor.store.database import Database
from monitor.store.deliveries import NEVER_TRIED, OutgoingEvent
from monitor.store.tables import delivery
from tests.fakes.clock import START, ManualClock
from tests.fakes.receiver import Answer, FakeReceiver
from tests.unit.alerts.test_outbox import advance_to_requests, event, metric, put, receiver_for, running

DAY_S = 86_400


def of_incidents(count: int, sequences: Sequence[int] = (1,)) -> list[OutgoingEvent]:
    return [
        replace(event(sequence), id=f"incident-{incident}-{sequence}", incident_id=f"incident-{incident}")
        for sequence in sequences
        for incident in range(count)
    ]


async def statuses(database: Database) -> dict[str, int]:
    async with database.reading() as connection:
        counted = await connection.execute(select(delivery.c.status, func.count()).group_by(delivery.c.status))
        return {row[0]: row[1] for row in counted}


async def test_different_incidents_go_at_once_up_to_the_receivers_concurrency(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    partner.default = Answer(hang=True)
    await put(database, clock, of_incidents(10))
    async with Outbox(database, [receiver_for(partner, concurrency=4)], clock):
        await partner.wait_for(4)
        await clock.wait_for_sleepers(0)
        assert len(partner.requests) == 4


async def test_of_one_incident_alerts_go_one_at_a_time_and_in_sequence(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    # Written in the wrong order, as two transactions of one incident may be timed.
    await put(database, clock, of_incidents(12, sequences=(3, 1, 2)))
    async with running(database, clock, receiver_for(partner, concurrency=8)):
        assert len(partner.requests) == 36
    for incident in range(12):
        of_it = [one for one in partner.ids() if one.startswith(f"incident-{incident}-")]
        assert of_it == [f"incident-{incident}-{sequence}" for sequence in (1, 2, 3)]


async def test_a_backlog_is_drained_with_every_alert_sent_exactly_once(database: Database, clock: ManualClock) -> None:
    async with FakeReceiver() as one, FakeReceiver() as two:
        await put(database, clock, of_incidents(200, sequences=(1, 2)), "one", "two")
        lines = [receiver_for(one, "one", concurrency=8), receiver_for(two, "two", concurrency=3)]
        async with Outbox(database, lines, clock) as outbox:
            while len(one.requests) + len(two.requests) < 800:
                outbox.wake()  # as other decisions do meanwhile: everything is read anew
                await asyncio.sleep(0)
            await clock.wait_for_sleepers(2)
    for receiver in (one, two):
        assert sorted(receiver.ids()) == sorted(event.id for event in of_incidents(200, sequences=(1, 2)))
    assert await statuses(database) == {"delivered": 800}


async def test_a_dead_receiver_costs_few_attempts_however_much_waits_for_it(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    partner.default = Answer(500)
    await put(database, clock, of_incidents(300))
    async with running(database, clock, receiver_for(partner, concurrency=8)):
        opened = len(partner.requests)
        assert opened <= 8
        while clock.monotonic_s() < 600:
            assert clock.next_due_in_s is not None
            await clock.advance(clock.next_due_in_s)
            await clock.wait_for_sleepers()
        assert len(partner.requests) - opened <= 150
        assert metric("deliveries_pending") == 300
        partner.default = Answer()
        await advance_to_requests(clock, partner, len(partner.requests) + 1)
        await clock.wait_for_sleepers()
        while await statuses(database) != {"delivered": 300}:
            assert clock.next_due_in_s is not None
            await clock.advance(clock.next_due_in_s)
            await clock.wait_for_sleepers()
        assert clock.monotonic_s() < 600 + 60


async def test_a_new_alert_is_tried_within_half_a_minute_however_long_its_receiver_was_away(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    partner.default = Answer(reset=True)
    await put(database, clock, of_incidents(20))
    async with running(database, clock, receiver_for(partner)) as outbox:
        while clock.monotonic_s() < 1200:
            assert clock.next_due_in_s is not None
            await clock.advance(clock.next_due_in_s)
            await clock.wait_for_sleepers()
        began_s = clock.monotonic_s()
        await put(database, clock, [replace(event(7), incident_id="new")])
        outbox.wake()
        while "event-7" not in partner.ids():
            await clock.wait_for_sleepers()
            assert clock.next_due_in_s is not None
            await clock.advance(clock.next_due_in_s)
            await asyncio.sleep(0.01)  # a socket: nothing tells when the attempt has begun
    assert clock.monotonic_s() - began_s <= 31


async def test_memory_holds_a_bounded_number_of_alerts_whatever_waits(
    database: Database, clock: ManualClock, partner: FakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[int] = []
    due = deliveries.due

    async def noted(
        connection: AsyncConnection, receiver: str, *, at: float, limit: int
    ) -> list[deliveries.DeliveryRecord]:
        limits.append(limit)
        return await due(connection, receiver, at=at, limit=limit)

    monkeypatch.setattr(deliveries, "due", noted)
    partner.default = Answer(503)
    await put(database, clock, of_incidents(400))
    async with running(database, clock, receiver_for(partner, concurrency=8)):
        pass
    assert max(limits) <= AT_HAND + 8


@pytest.mark.parametrize("status", [500, 503])
async def test_alerts_that_were_never_even_tried_become_dead_letters_after_the_whole_schedule(
    database: Database, clock: ManualClock, partner: FakeReceiver, status: int
) -> None:
    partner.default = Answer(status)
    before = metric("deliveries_total", outcome="dead")
    await put(database, clock, of_incidents(10))
    await clock.advance(REMAINING_S[0])
    await put(database, clock, of_incidents(1, sequences=(2,)))
    async with running(database, clock, receiver_for(partner)):
        while (await statuses(database)).get("dead", 0) < 5:
            assert clock.next_due_in_s is not None
            await clock.advance(clock.next_due_in_s)
            await clock.wait_for_sleepers()
    async with database.reading() as connection:
        letters = await delivery_desk.dead_letters(connection)
    assert NEVER_TRIED in {letter.last_reason for letter in letters}
    assert clock.monotonic_s() < REMAINING_S[0] + 60
    assert metric("deliveries_total", outcome="dead") - before >= 5


async def test_a_receiver_without_memory_gets_nothing_older_than_what_it_has(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    partner.script.append(Answer(400))
    await put(database, clock, of_incidents(1, sequences=(1,)))
    async with running(database, clock, receiver_for(partner, newest_only=True)) as outbox:
        await put(database, clock, of_incidents(1, sequences=(2,)))
        outbox.wake()
        await partner.wait_for(2)
        await clock.wait_for_sleepers()
        while (await statuses(database)).get("pending"):
            assert clock.next_due_in_s is not None
            await clock.advance(clock.next_due_in_s)
            await clock.wait_for_sleepers()
    assert partner.ids() == ["incident-0-1", "incident-0-2"]
    assert await statuses(database) == {"superseded": 1, "delivered": 1}


async def test_410_tells_people_once_in_the_same_transaction_and_the_others_go_on(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    told: list[tuple[str, int, float]] = []

    async def tell(connection: AsyncConnection, receiver: str, cancelled: int, at: float) -> None:
        told.append((receiver, cancelled, at))
        await deliveries.enqueue(connection, event(99), ["pager"], at=at)

    partner.default = Answer(410)
    await put(database, clock, of_incidents(10))
    async with FakeReceiver() as pager:
        outbox = Outbox(
            database, [receiver_for(partner, concurrency=4), receiver_for(pager, "pager")], clock, on_disabled=tell
        )
        async with outbox:
            await pager.wait_for(1)
            await clock.wait_for_sleepers(2)
    assert len(partner.requests) <= 4
    # Four answers at once are told of once.
    assert [(receiver, at) for receiver, _, at in told] == [("partner", START.timestamp())]
    assert pager.ids() == ["event-99"]
    assert await statuses(database) == {"cancelled": 10, "delivered": 1}


async def test_an_answer_is_kept_until_the_store_takes_it_and_nothing_is_sent_twice(
    database: Database, clock: ManualClock, partner: FakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monitor.errors import StoreError

    write = database.write
    failures = 3

    async def failing(work: object) -> object:
        nonlocal failures
        if failures:
            failures -= 1
            raise StoreError("the disk is full", reason="disk_full")
        return await write(work)  # type: ignore[arg-type]  # whatever was asked for

    monkeypatch.setattr(database, "write", failing)
    await put(database, clock, of_incidents(1))
    async with Outbox(database, [receiver_for(partner)], clock):
        while await statuses(database) != {"delivered": 1}:
            await clock.wait_for_sleepers()
            await clock.advance(1)
    assert partner.ids() == ["incident-0-1"]
