from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs
from yarl import URL

from monitor.alerts.addresses import Reach
from monitor.alerts.events import compose
from monitor.alerts.line import MEASURE_S, POLL_S
from monitor.alerts.outbox import Outbox
from monitor.alerts.port import Receiver
from monitor.alerts.schedule import MAX_ATTEMPTS
from monitor.alerts.signing import Signer
from monitor.alerts.webhook import SignedWebhook
from monitor.clock import SystemClock
from monitor.store import deliveries, delivery_desk
from monitor.store.database import Database
from monitor.store.deliveries import DeliveryRecord, OutgoingEvent, Priority
from monitor.store.tables import delivery
from monitor.vocabulary import AlertEvent
from tests.fakes.clock import START, ManualClock
from tests.fakes.receiver import SECRET, Answer, FakeReceiver
from tests.unit.alerts.test_events import SNAPSHOT

NEW_SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="


def receiver_for(fake: FakeReceiver, name: str = "partner", **changes: Any) -> SignedWebhook:
    plain = SignedWebhook(
        name=name, url=URL(fake.url), signer=Signer([SecretStr(SECRET)]), reach=Reach.LOOPBACK, timeout_s=10
    )
    return replace(plain, **changes)


def event(number: int = 1, priority: Priority = Priority.NORMAL) -> OutgoingEvent:
    return compose(
        AlertEvent.RAISED,
        replace(SNAPSHOT, sequence=number),
        source="site",
        priority=priority,
        event_id=f"event-{number}",
    )


async def put(database: Database, clock: ManualClock, events: Sequence[OutgoingEvent], *names: str) -> None:
    async with database.transaction() as connection:
        for one in events:
            await deliveries.enqueue(connection, one, names or ("partner",), at=clock.now().timestamp())


async def replay(database: Database, clock: ManualClock) -> int:
    async with database.transaction() as connection:
        return await delivery_desk.replay(connection, at=clock.now().timestamp())


async def rows(database: Database) -> list[DeliveryRecord]:
    async with database.reading() as connection:
        return list(await deliveries.of_incident(connection, SNAPSHOT.incident_id))


@asynccontextmanager
async def running(
    database: Database, clock: ManualClock, *receivers: Receiver, jitter: float = 0.5
) -> AsyncIterator[Outbox]:
    """Yield an outbox whose tasks have all done what is due and wait for the clock."""
    async with Outbox(database, receivers, clock, jitter=lambda: jitter) as outbox:
        await clock.wait_for_sleepers(len(receivers))
        yield outbox


async def advance_to_requests(clock: ManualClock, fake: FakeReceiver, wanted: int) -> None:
    """Move time on, from one due time to the next, until so many requests have come and are recorded."""
    while True:
        await clock.wait_for_sleepers()
        if len(fake.requests) >= wanted:
            return
        assert clock.next_due_in_s is not None
        await clock.advance(clock.next_due_in_s)


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"livecordon_{name}", {"receiver": "partner", **labels}) or 0.0


async def test_an_alert_goes_out_at_once_signed_and_as_it_was_composed(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    before = metric("deliveries_total", outcome="delivered")
    async with running(database, clock, receiver_for(partner)) as outbox:
        assert outbox.receiver_names == ("partner",)
        await put(database, clock, [event()], *outbox.receiver_names)
        outbox.wake()
        (taken,) = await partner.wait_for(1)
        await clock.wait_for_sleepers()
    assert taken.verified
    assert taken.id == taken.event["id"] == "event-1"
    assert taken.body == event().body
    assert taken.timestamp == int(START.timestamp())
    assert taken.headers["content-type"] == "application/cloudevents+json"
    (row,) = await rows(database)
    assert (row.status, row.attempts, row.last_status, row.last_reason) == ("delivered", 1, 204, None)
    assert metric("deliveries_total", outcome="delivered") == before + 1


async def test_while_a_secret_is_replaced_the_receiver_may_use_either(database: Database, clock: ManualClock) -> None:
    both = Signer([SecretStr(SECRET), SecretStr(NEW_SECRET)])
    async with FakeReceiver(secret=SECRET) as old, FakeReceiver(secret=NEW_SECRET) as new:
        await put(database, clock, [event()], "old", "new")
        async with running(
            database, clock, receiver_for(old, "old", signer=both), receiver_for(new, "new", signer=both)
        ):
            assert [request.verified for request in old.requests + new.requests] == [True, True]


async def test_the_first_minutes_are_dense_and_the_id_stays_while_the_signed_time_moves(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    partner.default = Answer(500)
    await put(database, clock, [event()])
    async with running(database, clock, receiver_for(partner)):
        await advance_to_requests(clock, partner, 9)
    assert set(partner.ids()) == {"event-1"}
    assert {request.body for request in partner.requests} == {event().body}
    assert all(request.verified for request in partner.requests)
    offsets = [request.timestamp - int(START.timestamp()) for request in partner.requests]
    assert offsets == [0, 1, 3, 8, 18, 38, 78, 138, 198]
    (row,) = await rows(database)
    assert (row.status, row.attempts, row.last_status, row.last_reason) == ("pending", 9, 500, "http_5xx")


async def test_alerts_arrive_in_the_order_in_which_they_were_written(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    await put(database, clock, [event(number) for number in range(1, 21)])
    async with running(database, clock, receiver_for(partner)):
        assert partner.ids() == [f"event-{number}" for number in range(1, 21)]


async def test_after_a_restart_the_rest_is_delivered_once_under_the_same_ids(
    tmp_path: Path, clock: ManualClock, partner: FakeReceiver
) -> None:
    partner.script.extend([Answer(), Answer(), Answer(hang=True)])
    async with Database(tmp_path / "store.sqlite3") as database:
        await put(database, clock, [event(number) for number in range(1, 6)])
        async with Outbox(database, [receiver_for(partner)], clock):
            await partner.wait_for(3)
        # Broken off in the middle of the third: still pending, and not counted as an attempt.
        assert [(row.status, row.attempts) for row in await rows(database)] == [
            ("delivered", 1),
            ("delivered", 1),
            ("pending", 0),
            ("pending", 0),
            ("pending", 0),
        ]
    async with Database(tmp_path / "store.sqlite3") as database, running(database, clock, receiver_for(partner)):
        assert partner.ids() == ["event-1", "event-2", "event-3", "event-3", "event-4", "event-5"]
        assert {row.status for row in await rows(database)} == {"delivered"}


async def test_an_answer_that_came_is_recorded_even_if_the_daemon_stops_that_moment(
    database: Database, clock: ManualClock, partner: FakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = asyncio.Event(), asyncio.Event()
    write = database.write

    async def slow(work: Callable[[AsyncConnection], Awaitable[Any]]) -> Any:
        writing.set()
        await go_on.wait()
        return await write(work)

    monkeypatch.setattr(database, "write", slow)
    await put(database, clock, [event()])
    outbox = Outbox(database, [receiver_for(partner)], clock)
    await outbox.__aenter__()
    await writing.wait()
    leaving = asyncio.create_task(outbox.__aexit__(None, None, None))
    await asyncio.sleep(0)
    go_on.set()
    await leaving
    (row,) = await rows(database)
    assert row.status == "delivered"


async def test_a_receiver_that_hangs_delays_no_other(database: Database, clock: ManualClock) -> None:
    async with FakeReceiver() as stuck, FakeReceiver() as well:
        stuck.default = Answer(hang=True)
        await put(database, clock, [event(number) for number in (1, 2, 3)], "stuck", "well")
        async with Outbox(database, [receiver_for(stuck, "stuck"), receiver_for(well, "well")], clock):
            await stuck.wait_for(1)
            await well.wait_for(3)
            assert len(stuck.requests) == 1


@pytest.mark.parametrize(
    ("answer", "reason", "status"),
    [
        (Answer(hang=True), "timeout", None),
        (Answer(reset=True), "disconnected", None),
        (Answer(400), "http_4xx", 400),
        (Answer(404, body=b"x" * 1_000_000), "http_4xx", 404),
        (Answer(500), "http_5xx", 500),
        (Answer(302, {"Location": "/elsewhere"}), "redirect", 302),
        (Answer(307, {"Location": "/elsewhere"}), "redirect", 307),
        (Answer(304), "redirect", 304),
    ],
)
async def test_only_2xx_is_success(
    *, database: Database, clock: ManualClock, partner: FakeReceiver, answer: Answer, reason: str, status: int | None
) -> None:
    partner.default = answer
    before = metric("deliveries_total", outcome="failed")
    await put(database, clock, [event()])
    async with running(database, clock, receiver_for(partner, timeout_s=0.3)):
        assert clock.next_due_in_s == pytest.approx(1)
    (row,) = await rows(database)
    assert (row.status, row.attempts, row.last_reason, row.last_status) == ("pending", 1, reason, status)
    assert partner.other_paths == []
    assert metric("deliveries_total", outcome="failed") == before + 1
    assert metric("deliveries_pending") == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_every_2xx_is_success_however_long_its_body(
    database: Database, clock: ManualClock, partner: FakeReceiver, status: int
) -> None:
    partner.default = Answer(status, body=b"" if status == 204 else b"x" * 1_000_000)
    await put(database, clock, [event(1), event(2)])
    async with running(database, clock, receiver_for(partner)):
        assert {row.status for row in await rows(database)} == {"delivered"}
    assert len(partner.requests) == 2


async def test_a_closed_port_is_refused_and_a_receiver_without_tls_fails_tls(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    await put(database, clock, [event()], "closed", "plain")
    async with running(
        database,
        clock,
        receiver_for(partner, "closed", url=URL(f"http://127.0.0.1:{closed}/hook")),
        receiver_for(partner, "plain", url=URL(partner.url).with_scheme("https")),
    ):
        reasons = {row.receiver: row.last_reason for row in await rows(database)}
    assert reasons == {"closed": "refused", "plain": "tls"}


async def test_retry_after_is_honoured_for_the_receiver_as_a_whole(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    partner.script.append(Answer(429, {"Retry-After": "40"}))
    before = metric("deliveries_total", outcome="throttled")
    await put(database, clock, [event(1)])
    async with running(database, clock, receiver_for(partner)) as outbox:
        await put(database, clock, [event(2)])
        outbox.wake()
        await advance_to_requests(clock, partner, 3)
    assert partner.ids() == ["event-1", "event-1", "event-2"]
    assert [request.timestamp - int(START.timestamp()) for request in partner.requests] == [0, 40, 40]
    assert metric("deliveries_total", outcome="throttled") == before + 1


async def test_retry_after_is_capped_at_an_hour(database: Database, clock: ManualClock, partner: FakeReceiver) -> None:
    partner.script.append(Answer(503, {"Retry-After": "999999"}))
    await put(database, clock, [event(1)])
    async with running(database, clock, receiver_for(partner)):
        (row,) = await rows(database)
    assert row.next_at - START.timestamp() == pytest.approx(3600)


async def test_an_overloaded_receiver_that_says_nothing_is_left_alone_for_longer_each_time(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    partner.script.extend([Answer(503)] * 4)
    await put(database, clock, [event(number) for number in range(1, 5)])
    async with running(database, clock, receiver_for(partner)):
        await advance_to_requests(clock, partner, 5)
    offsets = [request.timestamp - int(START.timestamp()) for request in partner.requests[:5]]
    assert offsets == [0, 1, 3, 7, 15]


async def test_410_disables_the_receiver_until_somebody_enables_it(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    partner.script.append(Answer(410))
    await put(database, clock, [event(1), event(2)])
    with capture_logs() as logs:
        async with running(database, clock, receiver_for(partner)) as outbox:
            await put(database, clock, [event(3)])
            outbox.wake()
            await clock.advance(POLL_S)
            await clock.wait_for_sleepers()
            assert len(partner.requests) == 1
            assert [row.status for row in await rows(database)] == ["cancelled"] * 3
            assert metric("receiver_disabled") == 1
            assert metric("dead_letters") == 3
            disabled = [entry for entry in logs if entry["event"] == "receiver_disabled"]
            assert [entry["log_level"] for entry in disabled] == ["error"]
            assert await replay(database, clock) == 0
            async with database.transaction() as connection:
                assert await delivery_desk.enable_receiver(connection, "partner")
            assert await replay(database, clock) == 3
            outbox.wake()
            await partner.wait_for(4)
            await clock.wait_for_sleepers()
            assert metric("receiver_disabled") == 0
            assert metric("dead_letters") == 0
    assert partner.ids() == ["event-1", "event-1", "event-2", "event-3"]


async def test_a_disabled_receiver_stays_disabled_over_a_restart(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    partner.default = Answer(410)
    await put(database, clock, [event(1)])
    async with running(database, clock, receiver_for(partner)):
        pass
    await put(database, clock, [event(2)])
    async with running(database, clock, receiver_for(partner)):
        pass
    assert partner.ids() == ["event-1"]


async def test_after_the_last_attempt_an_alert_is_a_dead_letter_and_can_be_replayed(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    partner.script.append(Answer(500))
    before = metric("deliveries_total", outcome="dead")
    await put(database, clock, [event()])
    async with database.transaction() as connection:
        await connection.execute(update(delivery).values(attempts=MAX_ATTEMPTS - 1))
    with capture_logs() as logs:
        async with running(database, clock, receiver_for(partner)) as outbox:
            async with database.reading() as connection:
                (letter,) = await delivery_desk.dead_letters(connection)
            assert (letter.status, letter.attempts) == ("dead", MAX_ATTEMPTS)
            await clock.advance(MEASURE_S)
            await clock.wait_for_sleepers()
            assert metric("dead_letters") == 1
            assert metric("deliveries_total", outcome="dead") == before + 1
            assert "alert_given_up" in [entry["event"] for entry in logs]
            assert await replay(database, clock) == 1
            outbox.wake()
            await partner.wait_for(2)
    assert partner.ids() == ["event-1", "event-1"]


async def test_a_receiver_that_is_back_gets_its_backlog_without_waiting_for_the_schedule(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    await put(database, clock, [event(1), event(2, Priority.CRISIS)])
    async with database.transaction() as connection:
        later = START.timestamp() + 20 * 3600
        await connection.execute(update(delivery).values(attempts=22, next_at=later, last_reason="timeout"))
    async with running(database, clock, receiver_for(partner)) as outbox:
        assert partner.requests == []
        await put(database, clock, [event(3)])
        outbox.wake()
        await partner.wait_for(3)
    assert partner.ids() == ["event-3", "event-1", "event-2"]


class Names:
    """A name service for tests: every host has these addresses, which may differ from one look-up to the next."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        self.asked.append(host)
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no such host")
        return [info for address in addresses for info in self._real(address, port, type=socket.SOCK_STREAM)]


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        (["127.0.0.1"], "blocked_address"),
        (["10.1.2.3", "127.0.0.1"], "blocked_address"),
        (["169.254.169.254"], "blocked_address"),
        ([], "dns"),
    ],
)
async def test_a_name_that_leads_inside_is_never_connected_to(
    *,
    database: Database,
    clock: ManualClock,
    partner: FakeReceiver,
    monkeypatch: pytest.MonkeyPatch,
    addresses: list[str],
    reason: str,
) -> None:
    Names(monkeypatch, addresses)
    url = URL(partner.url).with_host("alerts.example")
    await put(database, clock, [event()])
    async with running(database, clock, receiver_for(partner, url=url, reach=Reach.PUBLIC)):
        (row,) = await rows(database)
    assert row.last_reason == reason
    assert partner.requests == []


async def test_a_private_name_is_reached_where_the_operator_allows_it(
    database: Database, clock: ManualClock, partner: FakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(monkeypatch, ["127.0.0.1"])
    url = URL(partner.url).with_host("alerts.example")
    await put(database, clock, [event()])
    async with running(database, clock, receiver_for(partner, url=url, reach=Reach.PUBLIC_OR_PRIVATE)):
        assert partner.ids() == ["event-1"]
    assert names.asked == ["alerts.example"]


async def test_a_name_that_turns_inside_between_two_attempts_is_caught(
    database: Database, clock: ManualClock, partner: FakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(monkeypatch, [], ["127.0.0.1"])
    url = URL(partner.url).with_host("alerts.example")
    await put(database, clock, [event()])
    async with running(database, clock, receiver_for(partner, url=url, reach=Reach.PUBLIC)):
        assert (await rows(database))[0].last_reason == "dns"
        await clock.advance(1)
        await clock.wait_for_sleepers()
        assert (await rows(database))[0].last_reason == "blocked_address"
    assert len(names.asked) == 2
    assert partner.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0"])
async def test_a_literal_address_passes_the_same_gate(
    database: Database, clock: ManualClock, partner: FakeReceiver, host: str
) -> None:
    url = URL(f"http://{host}:{partner.port}/hook")
    await put(database, clock, [event()])
    async with running(database, clock, receiver_for(partner, url=url, reach=Reach.PUBLIC)):
        (row,) = await rows(database)
    assert row.last_reason == "blocked_address"
    assert partner.requests == []


async def test_proxies_in_the_environment_are_ignored(
    database: Database, clock: ManualClock, partner: FakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    await put(database, clock, [event()])
    async with running(database, clock, receiver_for(partner)):
        assert partner.ids() == ["event-1"]


async def test_logs_hold_no_address_and_no_body(database: Database, clock: ManualClock, partner: FakeReceiver) -> None:
    partner.script.extend([Answer(500), Answer(302, {"Location": "/x"}), Answer(reset=True), Answer(204)])
    await put(database, clock, [event()])
    with capture_logs() as logs:
        async with running(database, clock, receiver_for(partner)):
            await advance_to_requests(clock, partner, 4)
    assert [entry["event"] for entry in logs] == ["alert_not_delivered"] * 3 + ["alert_delivered"]
    text = repr(logs)
    for secret in ("not-for-logs", "127.0.0.1", "live/show", SECRET, "hook"):
        assert secret not in text


async def test_a_store_that_fails_for_a_moment_only_delays(
    database: Database, clock: ManualClock, partner: FakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monitor.errors import StoreError

    due_of_all = deliveries.due_of_all
    failures = [StoreError("the disk is full"), RuntimeError("a defect")]

    async def flaky(*args: Any, **kwargs: Any) -> dict[str, list[DeliveryRecord]] | None:
        if failures:
            raise failures.pop()
        return await due_of_all(*args, **kwargs)

    monkeypatch.setattr(deliveries, "due_of_all", flaky)
    await put(database, clock, [event()])
    async with running(database, clock, receiver_for(partner)):
        await advance_to_requests(clock, partner, 1)
    assert [request.timestamp - int(START.timestamp()) for request in partner.requests] == [2]


async def test_a_defect_in_one_attempt_fails_that_attempt_only(
    database: Database, clock: ManualClock, partner: FakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    import aiohttp

    request = aiohttp.ClientSession.request
    failures = [ZeroDivisionError()]

    def breaking(*args: Any, **kwargs: Any) -> Any:
        if failures:
            raise failures.pop()
        return request(*args, **kwargs)

    monkeypatch.setattr(aiohttp.ClientSession, "request", breaking)
    await put(database, clock, [event(1), event(2)])
    async with running(database, clock, receiver_for(partner)):
        first, second = await rows(database)
    assert (first.status, first.attempts) == ("delivered", 2)
    assert (second.status, second.attempts) == ("delivered", 1)
    assert partner.ids() == ["event-2", "event-1"]


async def test_alerts_for_a_receiver_that_is_not_configured_are_warned_of_and_kept(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    await put(database, clock, [event()], "former")
    with capture_logs() as logs:
        async with running(database, clock, receiver_for(partner)):
            pass
    assert [(entry["event"], entry["receiver"], entry["pending"]) for entry in logs] == [
        ("alerts_wait_for_unknown_receiver", "former", 1)
    ]
    assert [row.status for row in await rows(database)] == ["pending"]


async def test_rows_that_another_process_wrote_are_found_unasked(
    database: Database, clock: ManualClock, partner: FakeReceiver
) -> None:
    async with running(database, clock, receiver_for(partner)):
        await put(database, clock, [event()])
        await advance_to_requests(clock, partner, 1)
        assert clock.monotonic_s() == POLL_S


async def test_with_the_machines_own_clock_an_alert_arrives_and_verifies_by_the_book(database: Database) -> None:
    async with FakeReceiver(check_time=True) as fake:
        fake.script.append(Answer(500))
        clock = SystemClock()
        async with Outbox(database, [receiver_for(fake)], clock) as outbox:
            async with database.transaction() as connection:
                await deliveries.enqueue(connection, event(), ["partner"], at=clock.now().timestamp())
            outbox.wake()
            first, second = await fake.wait_for(2)
    assert first.verified
    assert second.verified
    assert first.id == second.id


async def test_without_receivers_there_is_nothing_to_do(database: Database, clock: ManualClock) -> None:
    async with Outbox(database, [], clock) as outbox:
        outbox.wake()
        assert outbox.receiver_names == ()
