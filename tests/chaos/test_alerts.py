"""Receivers that misbehave and a daemon that is killed: every alert arrives, again only under its own id, and the newest wins."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from monitor.alerts.outbox import Outbox
from monitor.store import deliveries
from monitor.store.database import Database
from monitor.store.deliveries import Backlog
from monitor.store.migrating import migrate
from tests.fakes import deciding_process
from tests.fakes.clock import START, ManualClock
from tests.fakes.receiver import Answer, FakeReceiver
from tests.fakes.waiting import eventually
from tests.unit.alerts.test_events import SNAPSHOT
from tests.unit.alerts.test_outbox import event, put, receiver_for

ALERTS = 1000
KILLS = 20

OVERLOADED = Answer(429, {"Retry-After": "0"})
BROKEN = Answer(500)
RESET = Answer(599, reset=True)
HANGING = Answer(598, hang=True)
WELL = Answer()
MOODS = (WELL, WELL, BROKEN, WELL, RESET, WELL, WELL, OVERLOADED, WELL, WELL)


@dataclass
class DyingReceiver:
    """Takes every alert; says 200 and breaks off in the middle of its answer, or takes it and dies without a word."""

    port: int = 0
    taken: list[tuple[str, bytes]] = field(default_factory=list)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
            body = await reader.readexactly(int(fields["content-length"]))
            self.taken.append((fields["webhook-id"], body))
            if len(self.taken) % 40:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nye")
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()


def in_the_end(taken: list[tuple[str, int]]) -> dict[str, int]:
    """Return each incident's state as a receiver has it that keeps the highest sequence."""
    state: dict[str, int] = {}
    for incident, sequence in taken:
        state[incident] = max(sequence, state.get(incident, 0))
    return state


def steps_back(taken: list[tuple[str, int]]) -> int:
    """Return how often an event came for the first time after a newer one of its incident."""
    seen: set[tuple[str, int]] = set()
    back = 0
    for incident, sequence in taken:
        if (incident, sequence) not in seen:
            back += any((incident, newer) in seen for newer in range(sequence + 1, deciding_process.SEQUENCES + 1))
        seen.add((incident, sequence))
    return back


@pytest.mark.timeout(120)
async def test_a_daemon_killed_twenty_times_during_a_thousand_alerts_loses_none(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite3"
    await asyncio.to_thread(migrate, store)
    way = deciding_process.context()
    dying = DyingReceiver()
    async with FakeReceiver() as steady, FakeReceiver() as moody, dying.serving() as dying_url:
        moody.script.extend(itertools.chain.from_iterable(MOODS for _ in range(30)))
        moody.script.insert(50, HANGING)
        moody.script.insert(200, HANGING)
        urls = [steady.url, moody.url, dying_url]
        for kill in range(1, KILLS + 1):
            process = deciding_process.start(way, store, urls, SNAPSHOT, ALERTS)
            await steady.wait_for(len(steady.requests) + 10)
            await steady.wait_for(min(kill * ALERTS // (KILLS + 2), ALERTS))
            process.kill()
            await asyncio.to_thread(process.join)
        killed_at = len(steady.requests)
        process = deciding_process.start(way, store, urls, SNAPSHOT, ALERTS)
        async with Database(store, migrates=False) as database:

            async def all_delivered() -> bool:
                async with database.reading() as connection:
                    left = [await deliveries.backlog(connection, f"r{number}") for number in range(3)]
                counted = {one for one, _ in dying.taken}
                return left == [Backlog()] * 3 and len(counted) == ALERTS

            try:
                await eventually(all_delivered, deadline_s=60)
            finally:
                process.kill()
                await asyncio.to_thread(process.join)
    assert killed_at < ALERTS, "the last kill came when everything was done"

    wanted = {f"event-{number}" for number in range(ALERTS)}
    assert set(steady.ids()) == wanted
    assert {one.id for one in moody.requests if one.status == 204} == wanted
    assert {one for one, _ in dying.taken} == wanted

    # Again only under the same id and with the same words, and only what was under way at a kill.
    bodies = [(one.id, one.body) for one in steady.requests + moody.requests] + dying.taken
    assert len(set(bodies)) == ALERTS
    # With so many kills something was in flight at one of them: else nothing was tried here.
    again = sum(number - 1 for number in Counter(steady.ids()).values())
    assert 0 < again <= KILLS * 2 * deciding_process.CONCURRENCY
    assert all(one.verified for one in steady.requests + moody.requests)

    # Sequences: nothing goes back at a receiver that takes what it gets, and the newest is known to all.
    told = [(one.event["data"]["incident_id"], one.event["data"]["sequence"]) for one in steady.requests]
    assert steps_back(told) == 0
    for requests in (steady.requests, [one for one in moody.requests if one.status == 204]):
        taken = [(one.event["data"]["incident_id"], one.event["data"]["sequence"]) for one in requests]
        assert set(in_the_end(taken).values()) == {deciding_process.SEQUENCES}
        assert len(in_the_end(taken)) == ALERTS // deciding_process.SEQUENCES


@pytest.mark.parametrize(
    "trouble", [BROKEN, RESET, HANGING, Answer(503)], ids=["broken", "resetting", "hanging", "overloaded"]
)
async def test_ten_minutes_of_trouble_at_one_receiver_cost_it_a_minute_and_the_other_nothing(
    tmp_path: Path, trouble: Answer
) -> None:
    clock = ManualClock()
    store = tmp_path / "store.sqlite3"
    await asyncio.to_thread(migrate, store)
    async with FakeReceiver() as ill, FakeReceiver() as well, Database(store) as database:
        ill.default = trouble
        lines = [receiver_for(ill, "ill", timeout_s=0.03, concurrency=4), receiver_for(well, "well", concurrency=4)]
        async with Outbox(database, lines, clock, jitter=lambda: 0.5) as outbox:

            async def pass_time(until_s: float) -> None:
                while clock.monotonic_s() < until_s:
                    await clock.wait_for_sleepers(2)
                    assert clock.next_due_in_s is not None
                    await clock.advance(min(clock.next_due_in_s, until_s - clock.monotonic_s()))
                await clock.wait_for_sleepers(2)

            for minute in range(10):
                await put(
                    database,
                    clock,
                    [
                        replace(event(sequence), id=f"event-{minute}-{sequence}", incident_id=f"incident-{minute}")
                        for sequence in (1, 2, 3)
                    ],
                    "ill",
                    "well",
                )
                outbox.wake()
                await well.wait_for(3 * (minute + 1))
                # At once: the time that is signed is that of the decision.
                assert {one.timestamp for one in well.requests[-3:]} == {int(START.timestamp()) + 60 * minute}
                await pass_time(60.0 * (minute + 1))
            asked = len(ill.requests)
            ill.default = WELL
            await pass_time(600.0 + 62.0)
    wanted = {f"event-{minute}-{sequence}" for minute in range(10) for sequence in (1, 2, 3)}
    assert set(well.ids()) == wanted
    assert len(well.ids()) == 30
    assert {one.id for one in ill.requests[asked:]} == wanted
    assert asked < 200
