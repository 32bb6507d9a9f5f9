from __future__ import annotations

import traceback
from dataclasses import replace

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.errors import StoreError
from monitor.store import deliveries, delivery_desk
from monitor.store.database import Database
from monitor.store.deliveries import Backlog, DeliveryRecord, DeliveryStatus, OutgoingEvent, Priority, Taken
from monitor.store.tables import receiver_state

EVENT = OutgoingEvent(
    id="event-1",
    type="livecordon.incident.raised",
    incident_id="incident-1",
    sequence=1,
    priority=Priority.NORMAL,
    body=b'{"key":"value"}',
)


async def next_due(connection: AsyncConnection, receiver: str, *, at: float) -> DeliveryRecord | None:
    return next(iter(await deliveries.due(connection, receiver, at=at, limit=1)), None)


async def test_an_event_is_kept_once_per_receiver_however_often_it_is_enqueued(database: Database) -> None:
    async with database.transaction() as connection:
        assert await deliveries.enqueue(connection, EVENT, ["a", "b"], at=100) == 2
    async with database.transaction() as connection:
        assert await deliveries.enqueue(connection, replace(EVENT, body=b"other"), ["a", "b", "c"], at=200) == 1
    async with database.reading() as connection:
        rows = await deliveries.of_incident(connection, "incident-1")
    assert [(row.receiver, row.body, row.created_at) for row in rows] == [
        ("a", EVENT.body, 100),
        ("b", EVENT.body, 100),
        ("c", b"other", 200),
    ]


async def test_an_alert_of_a_transaction_that_fails_does_not_exist(database: Database) -> None:
    async def decide() -> None:
        async with database.transaction() as connection:
            await deliveries.enqueue(connection, EVENT, ["a"], at=100)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await decide()
    async with database.reading() as connection:
        assert await next_due(connection, "a", at=1e12) is None
        assert await deliveries.next_due_at(connection, "a", after=0) is None
        assert await deliveries.backlog(connection, "a") == Backlog()


async def test_new_alerts_come_in_order_before_those_to_be_tried_again_of_which_a_crisis_comes_first(
    database: Database,
) -> None:
    async with database.transaction() as connection:
        for name, at, priority in (
            ("failed-1", 10, Priority.NORMAL),
            ("failed-2", 11, Priority.CRISIS),
            ("failed-3", 12, Priority.CRISIS),
        ):
            await deliveries.enqueue(connection, replace(EVENT, id=name, priority=priority), ["a"], at=at)
            row = await next_due(connection, "a", at=at)
            assert row is not None
            await deliveries.record_failed(connection, row.id, at=at, next_at=50, reason="refused", http_status=None)
        for name, at, sequence in (("new-1", 30, 2), ("new-2", 30, 3), ("new-3", 31, 1)):
            await deliveries.enqueue(connection, replace(EVENT, id=name, sequence=sequence), ["a"], at=at)
        order = []
        while row := await next_due(connection, "a", at=60):
            order.append(row.event_id)
            await deliveries.record_delivered(connection, [Taken(row.id, 60, 204)])
    assert order == ["new-1", "new-2", "new-3", "failed-2", "failed-3", "failed-1"]


async def test_a_row_is_finished_once(database: Database) -> None:
    async with database.transaction() as connection:
        await deliveries.enqueue(connection, EVENT, ["a"], at=1)
        row = await next_due(connection, "a", at=1)
        assert row is not None
        await deliveries.record_delivered(connection, [Taken(row.id, 2, 200)])
        await deliveries.record_delivered(connection, [Taken(row.id, 3, 200)])
        assert not await deliveries.record_failed(
            connection, row.id, at=3, next_at=None, reason="timeout", http_status=None
        )
        (kept,) = await deliveries.of_incident(connection, "incident-1")
    assert (kept.status, kept.attempts, kept.finished_at, kept.last_status) == (DeliveryStatus.DELIVERED, 1, 2, 200)


async def test_backlogs_count_what_waits_and_what_was_given_up(database: Database) -> None:
    async with database.transaction() as connection:
        for number in range(4):
            await deliveries.enqueue(connection, replace(EVENT, id=f"event-{number}"), ["a", "b"], at=100 + number)
        first = await next_due(connection, "a", at=200)
        assert first is not None
        await deliveries.record_failed(connection, first.id, at=200, next_at=None, reason="dns", http_status=None)
        second = await next_due(connection, "a", at=200)
        assert second is not None
        await deliveries.record_delivered(connection, [Taken(second.id, 200, 200)])
        assert await deliveries.backlog(connection, "a") == Backlog(pending=2, given_up=1, oldest_at=102)
        assert await deliveries.backlog(connection, "b") == Backlog(pending=4, given_up=0, oldest_at=100)
        (dead,) = await delivery_desk.dead_letters(connection)
        assert (dead.event_id, dead.last_reason, dead.finished_at) == ("event-0", "dns", 200)
        assert await delivery_desk.dead_letters(connection, receiver="b") == []


async def test_replay_gives_a_dead_letter_its_whole_schedule_again_under_its_old_id(database: Database) -> None:
    async with database.transaction() as connection:
        await deliveries.enqueue(connection, EVENT, ["a", "b"], at=1)
        for receiver in ("a", "b"):
            row = await next_due(connection, receiver, at=1)
            assert row is not None
            await deliveries.record_failed(connection, row.id, at=2, next_at=None, reason="dns", http_status=None)
        dead = {row.receiver: row.id for row in await delivery_desk.dead_letters(connection)}
        assert await delivery_desk.replay(connection, at=500, ids=["no such"]) == 0
        assert await delivery_desk.replay(connection, at=500, ids=[dead["a"]]) == 1
        row = await next_due(connection, "a", at=500)
        assert row is not None
        assert (row.id, row.event_id, row.attempts, row.next_at) == (dead["a"], "event-1", 0, 500)
        assert await next_due(connection, "b", at=500) is None
        assert await delivery_desk.replay(connection, at=500) == 1


async def test_a_disabled_receiver_gets_nothing_and_everything_stays_visible(database: Database) -> None:
    async with database.transaction() as connection:
        await deliveries.enqueue(connection, EVENT, ["a", "b"], at=1)
        assert await delivery_desk.disable_receiver(connection, "a", at=2, reason="gone") == 1
        assert await deliveries.enqueue(connection, replace(EVENT, id="event-2"), ["a", "b"], at=3) == 1
        assert await deliveries.disabled_receivers(connection) == {"a": "gone"}
        assert await next_due(connection, "a", at=9) is None
        letters = await delivery_desk.dead_letters(connection, receiver="a")
        assert [(row.event_id, row.status, row.last_reason) for row in letters] == [
            ("event-2", DeliveryStatus.CANCELLED, "gone"),
            ("event-1", DeliveryStatus.CANCELLED, "gone"),
        ]
        assert await delivery_desk.replay(connection, at=4) == 0
        assert await delivery_desk.enable_receiver(connection, "a")
        assert not await delivery_desk.enable_receiver(connection, "a")
        assert await delivery_desk.replay(connection, at=4) == 2
        assert await deliveries.disabled_receivers(connection) == {}


async def test_looking_for_several_receivers_at_once_finds_what_looking_for_each_does(database: Database) -> None:
    async with database.transaction() as connection:
        for number in range(6):
            changed = replace(EVENT, id=f"event-{number}", incident_id=f"incident-{number % 2}", sequence=6 - number)
            await deliveries.enqueue(connection, changed, ["a", "b", "c"], at=100 + number)
        for receiver in ("a", "b"):
            for row in await deliveries.due(connection, receiver, at=200, limit=2):
                await deliveries.record_failed(
                    connection, row.id, at=200, next_at=210, reason="refused", http_status=None
                )
        await delivery_desk.disable_receiver(connection, "c", at=205, reason="gone")
        for at in (205, 300):
            together = await deliveries.due_of_all(connection, ["a", "b", "c", "nobody"], at=at, limit=100)
            assert together == {
                receiver: await deliveries.due(connection, receiver, at=at, limit=100)
                for receiver in ("a", "b", "c", "nobody")
            }
        assert await deliveries.due_of_all(connection, ["a", "b"], at=300, limit=11) is None


async def test_what_was_never_tried_expires_after_the_whole_schedule_and_what_was_tried_sooner(
    database: Database,
) -> None:
    async with database.transaction() as connection:
        for name in ("tried", "new"):
            await deliveries.enqueue(connection, replace(EVENT, id=name), ["a", "b"], at=0)
        row = next(one for one in await deliveries.due(connection, "a", at=0, limit=9) if one.event_id == "tried")
        await deliveries.record_failed(connection, row.id, at=0, next_at=10, reason="refused", http_status=None)
        assert await deliveries.expire(connection, "a", (100.0, 50.0), at=59) == 0
        assert await deliveries.expire(connection, "a", (100.0, 50.0), at=60) == 1
        assert await deliveries.expire(connection, "a", (100.0, 50.0), at=100) == 1
        letters = await delivery_desk.dead_letters(connection)
    assert {(one.event_id, one.receiver, one.last_reason) for one in letters} == {
        ("tried", "a", "refused"),
        ("new", "a", deliveries.NEVER_TRIED),
    }


async def test_a_superseded_alert_is_no_dead_letter_and_the_newest_taken_is_known(database: Database) -> None:
    async with database.transaction() as connection:
        for sequence in (1, 2, 3):
            await deliveries.enqueue(connection, replace(EVENT, id=f"e-{sequence}", sequence=sequence), ["a"], at=0)
        first, second, third = await deliveries.due(connection, "a", at=0, limit=9)
        await deliveries.record_delivered(connection, [Taken(second.id, 1, 200)])
        assert await deliveries.newest_taken(connection, "a", {"incident-1", "other"}) == {"incident-1": 2}
        assert await deliveries.newest_taken(connection, "b", {"incident-1"}) == {}
        await deliveries.supersede(connection, [first.id, second.id], at=2)
        standing = (await delivery_desk.standings(connection))["a"]
        assert (standing.pending, standing.delivered, standing.given_up) == (1, 1, 0)
        assert [one.id for one in await deliveries.due(connection, "a", at=9, limit=9)] == [third.id]


async def test_standings_pages_and_choices(database: Database) -> None:
    async with database.transaction() as connection:
        for number in range(5):
            await deliveries.enqueue(connection, replace(EVENT, id=f"e-{number}"), ["a", "b"], at=number // 2)
        await delivery_desk.disable_receiver(connection, "b", at=50, reason="gone")
        standings = await delivery_desk.standings(connection)
        assert {
            name: (one.pending, one.given_up, one.oldest_at, one.disabled_at) for name, one in standings.items()
        } == {
            "a": (5, 0, 0, None),
            "b": (0, 5, None, 50),
        }
        listed: list[str] = []
        after = None
        while page := await delivery_desk.find(connection, tuple(DeliveryStatus), after=after, limit=3):
            listed += [one.id for one in page]
            after = page[-1].id
        assert len(listed) == len(set(listed)) == 10
        one = (await delivery_desk.find(connection, [DeliveryStatus.PENDING], receiver="a", limit=1))[0]
        assert await delivery_desk.discard(connection, at=60, receiver="a") == 0
        assert await delivery_desk.discard(connection, at=60, ids=[one.id]) == 1
        assert await delivery_desk.replay(connection, at=60) == 0
        assert await delivery_desk.replay(connection, at=60, ids=[one.id]) == 1
        assert await delivery_desk.discard(connection, at=60) == 5
        assert (await delivery_desk.one(connection, one.id)) is not None


async def test_hastening_leaves_alone_what_the_receiver_itself_refuses(database: Database) -> None:
    async with database.transaction() as connection:
        for name, http_status in (
            ("away", None),
            ("busy", 429),
            ("gateway", 503),
            ("broken", 500),
            ("refused", 400),
            ("new", 0),
        ):
            await deliveries.enqueue(connection, replace(EVENT, id=name), ["a"], at=1)
            row = await next_due(connection, "a", at=1)
            assert row is not None
            if name != "new":
                await deliveries.record_failed(
                    connection, row.id, at=1, next_at=5000, reason="refused", http_status=http_status
                )
        assert await deliveries.hasten(connection, "a", at=10) == 3
        due = {row.event_id: row.next_at for row in await deliveries.of_incident(connection, "incident-1")}
    assert due == {"away": 10, "busy": 10, "gateway": 10, "broken": 5000, "refused": 5000, "new": 1}


async def test_an_error_of_the_store_quotes_nothing_that_was_to_be_written(database: Database) -> None:
    name = "stream" + chr(45) + "key"  # so that no line of this file, as a trace shows it, holds the word itself

    async def write_twice() -> None:
        async with database.transaction() as connection:
            for _ in range(2):
                await connection.execute(insert(receiver_state).values(receiver=name))

    with pytest.raises(StoreError) as caught:
        await write_twice()
    shown = "".join(traceback.format_exception(caught.value))
    assert "IntegrityError" in shown
    assert "stream-key" not in shown
