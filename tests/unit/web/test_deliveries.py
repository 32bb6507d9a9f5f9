"""Alerts and receivers over HTTP, with the daemon's own service on a real store, and by the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner
from typing_extensions import override

from monitor.alerts.outbox import Outbox
from monitor.cli.deliveries import deliveries as command
from monitor.daemon.deliveries import Deliveries
from monitor.store import audit, deliveries, delivery_desk
from monitor.store.database import Database
from monitor.store.deliveries import OutgoingEvent, Priority
from monitor.web.server import WebServer
from monitor.web.settings import WebSettings
from tests.fakes.clock import ManualClock
from tests.fakes.web_daemon import FakeDaemon
from tests.unit.web.conftest import ADMIN, RESPONDER, TOKENS, VIEWER

EVENT = OutgoingEvent(
    id="event-1",
    type="livecordon.incident.raised",
    incident_id="incident-1",
    sequence=1,
    priority=Priority.CRISIS,
    body=b'{"specversion":"1.0","data":{"label":"violence"}}',
)
WHY = {"why": "they are back"}


class Woken(Outbox):
    """Notes that it was woken; delivers nothing."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        super().__init__(database, [], clock)
        self.times = 0

    @override
    def wake(self) -> None:
        self.times += 1


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "store.sqlite3") as opened:
        async with opened.transaction() as connection:
            for number in range(3):
                await deliveries.enqueue(connection, replace(EVENT, id=f"event-{number}"), ["a", "b"], at=100 + number)
            for row in await deliveries.due(connection, "a", at=200, limit=10):
                await deliveries.record_failed(
                    connection, row.id, at=300, next_at=None, reason="http_5xx", http_status=500
                )
            await delivery_desk.disable_receiver(connection, "b", at=400, reason="gone")
        yield opened


@pytest.fixture
def outbox(database: Database) -> Woken:
    return Woken(database, ManualClock())


@pytest.fixture
async def site(daemon: FakeDaemon, database: Database, outbox: Woken) -> AsyncIterator[str]:
    service = Deliveries(database, outbox, ManualClock())
    async with WebServer(
        WebSettings(tokens=TOKENS),
        daemon=daemon,
        incidents=daemon,
        blocks=daemon,
        quiet=daemon,
        gate=daemon,
        clock=daemon.clock,
        deliveries=service,
    ) as web:
        yield web.url


async def ask(
    http: aiohttp.ClientSession, method: str, url: str, body: Any = None, token: str = ADMIN
) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    async with http.request(method, url, json=body, headers=headers) as reply:
        return reply.status, await reply.json() if reply.content_type == "application/json" else await reply.text()


async def test_receivers_say_where_they_stand(site: str, http: aiohttp.ClientSession) -> None:
    status, found = await ask(http, "GET", f"{site}/api/v1/receivers", token=VIEWER)
    assert status == 200
    a, b = found["receivers"]
    assert (a["name"], a["pending"], a["dead_letters"], a["disabled_at"], a["configured"]) == ("a", 0, 3, None, False)
    assert (b["name"], b["dead_letters"], b["disabled_at"]) == ("b", 3, "1970-01-01T00:06:40Z")


async def test_dead_letters_are_listed_in_pages_and_shown_with_their_event(
    site: str, http: aiohttp.ClientSession
) -> None:
    url = f"{site}/api/v1/deliveries"
    _, first = await ask(http, "GET", f"{url}?limit=4", token=VIEWER)
    _, second = await ask(http, "GET", f"{url}?limit=4&after={first['next_after']}", token=VIEWER)
    assert len({one["delivery_id"] for one in first["deliveries"] + second["deliveries"]}) == 6
    assert second["next_after"] is None
    _, of_a = await ask(http, "GET", f"{url}?receiver=a", token=VIEWER)
    newest = of_a["deliveries"][0]
    assert (newest["event_id"], newest["status"], newest["reason"], newest["http_status"], newest["attempts"]) == (
        "event-2",
        "dead",
        "http_5xx",
        500,
        1,
    )
    status, shown = await ask(http, "GET", f"{url}/{newest['delivery_id']}", token=VIEWER)
    assert (status, shown["delivery"], shown["event"]) == (200, newest, json.loads(EVENT.body))
    assert (await ask(http, "GET", f"{url}/nothing"))[1]["error"]["reason"] == "unknown_delivery"
    assert (await ask(http, "GET", f"{url}?show=pending"))[1]["deliveries"] == []
    for wrong in ("show=everything", "limit=0", "limit=501", "limit=x"):
        assert (await ask(http, "GET", f"{url}?{wrong}"))[0] == 400


async def test_what_is_replayed_is_due_again_and_a_disabled_receiver_must_be_enabled_first(
    site: str, http: aiohttp.ClientSession, database: Database, outbox: Woken
) -> None:
    url = f"{site}/api/v1/deliveries/replay"
    assert (await ask(http, "POST", url, {**WHY, "all": True}, VIEWER))[0] == 403
    assert await ask(http, "POST", url, {**WHY, "all": True}, RESPONDER) == (200, {"changed": 3})
    assert outbox.times == 1
    assert await ask(http, "POST", url, {**WHY, "receiver": "b"}, RESPONDER) == (200, {"changed": 0})
    enable = f"{site}/api/v1/receivers/b/enable"
    assert (await ask(http, "POST", enable, WHY, RESPONDER))[0] == 403
    assert (await ask(http, "POST", enable, {"why": ""}))[0] == 400
    assert (await ask(http, "POST", enable, WHY))[0] == 204
    assert (await ask(http, "POST", enable, WHY))[1]["error"]["reason"] == "not_disabled"
    assert await ask(http, "POST", url, {**WHY, "receiver": "b"}, RESPONDER) == (200, {"changed": 3})
    async with database.reading() as connection:
        assert {one.status for one in await deliveries.of_incident(connection, "incident-1")} == {"pending"}
        noted = [(one.action, one.actor, one.detail["why"]) for one in await audit.entries(connection)]
    assert noted == [
        ("alerts_replayed", "ana", "they are back"),
        ("receiver_enabled", "root", "they are back"),
        ("alerts_replayed", "ana", "they are back"),
    ]


async def test_what_is_discarded_stays_visible_and_can_still_be_replayed_by_its_id(
    site: str, http: aiohttp.ClientSession, database: Database
) -> None:
    url = f"{site}/api/v1/deliveries"
    _, listed = await ask(http, "GET", f"{url}?receiver=a")
    chosen = [listed["deliveries"][0]["delivery_id"]]
    assert (await ask(http, "POST", f"{url}/discard", {**WHY, "ids": chosen}, RESPONDER))[0] == 403
    assert await ask(http, "POST", f"{url}/discard", {**WHY, "ids": chosen}) == (200, {"changed": 1})
    assert await ask(http, "POST", f"{url}/replay", {**WHY, "all": True}) == (200, {"changed": 2})
    _, shown = await ask(http, "GET", f"{url}/{chosen[0]}")
    assert shown["delivery"]["status"] == "discarded"
    assert await ask(http, "POST", f"{url}/replay", {**WHY, "ids": chosen}) == (200, {"changed": 1})
    async with database.reading() as connection:
        assert (await delivery_desk.standings(connection))["a"].pending == 3


@pytest.mark.parametrize(
    "choice", [{}, {"all": True, "receiver": "a"}, {"ids": []}, {"ids": ["x"] * 501}, {"ids": "x"}, {"everything": 1}]
)
async def test_which_alerts_are_meant_must_be_clear(
    site: str, http: aiohttp.ClientSession, choice: dict[str, Any]
) -> None:
    for what in ("replay", "discard"):
        status, refused = await ask(http, "POST", f"{site}/api/v1/deliveries/{what}", {**WHY, **choice})
        assert (status, refused["error"]["reason"]) == (400, "invalid_field")


async def test_the_page_shows_it_all_and_its_forms_do_it(site: str, http: aiohttp.ClientSession) -> None:
    _, page = await ask(http, "GET", f"{site}/deliveries", token=VIEWER)
    assert "3 given up" in page
    assert "It answered 410" in page
    assert "<form" not in page.partition("<main")[2]
    headers = {"Authorization": f"Bearer {ADMIN}"}
    for path, form, wanted in (
        ("/deliveries/replay", {"receiver": "a", "why": "no"}, 400),
        ("/deliveries/replay", {"receiver": "a", **WHY}, 303),
        ("/receivers/b/enable", WHY, 303),
        ("/receivers/b/enable", WHY, 404),
        ("/deliveries/discard", {"receiver": "b", **WHY}, 303),
    ):
        async with http.post(site + path, data=form, headers=headers, allow_redirects=False) as reply:
            assert reply.status == wanted, path
    _, page = await ask(http, "GET", f"{site}/deliveries")
    assert "3 waiting" in page
    assert "Nothing was given up." in page


async def test_the_command_does_the_same(site: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(ADMIN)

    async def run(*arguments: str) -> tuple[int, str]:
        result = await asyncio.to_thread(
            CliRunner().invoke,
            command,
            [*arguments, "--url", site, "--token-file", str(token)],
            standalone_mode=False,
        )
        if result.exception is not None:
            raise result.exception
        # Around it are the daemon's own log lines, which runs in the same process here.
        return result.return_value, "".join(line for line in result.output.splitlines(True) if "[warning" not in line)

    status, listed = await run("list")
    assert status == 1
    assert "a: 0 waiting, 3 given up, 0 delivered; not configured" in listed
    assert "b: 0 waiting, 3 given up, 0 delivered; DISABLED since 1970-01-01T00:06:40Z (answered 410)" in listed
    letter = next(line.split()[0] for line in listed.splitlines() if "to a" in line)
    assert json.loads((await run("show", letter))[1])["event"]["data"] == {"label": "violence"}
    assert await run("discard", letter, "--why", "an old exercise") == (0, "1 alert discarded\n")
    assert await run("replay", "--all", "--why", "they are back") == (0, "2 alerts sent again\n")
    assert await run("replay", "--receiver", "b", "--why", "they are back") == (1, "0 alerts sent again\n")
    assert await run("enable", "b", "--why", "they asked for it") == (0, "b: enabled\n")
    assert await run("replay", "--receiver", "b", "--why", "they are back") == (0, "3 alerts sent again\n")
    status, listed = await run("list", "--show", "pending", "--json")
    assert status == 0
    assert len(json.loads(listed)["deliveries"]) == 5
