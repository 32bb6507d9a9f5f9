from __future__ import annotations

import asyncio

import aiohttp
import pytest

from monitor.web import live as live_module
from monitor.web.changes import ChangeSignal
from monitor.web.server import WebServer
from monitor.web.settings import WebSettings
from tests.fakes.web_daemon import FakeDaemon


async def next_event(reply: aiohttp.ClientResponse) -> str:
    """Return the data of the next event."""
    async with asyncio.timeout(5):
        async for line in reply.content:
            if line.startswith(b"data: "):
                return line[6:].decode().strip()
    raise AssertionError("the stream of events ended")


async def test_a_page_is_told_the_revision_at_once_and_every_change(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.notify()
    async with http.get(open_web.url + "/events") as reply:
        assert reply.content_type == "text/event-stream"
        assert reply.headers["Cache-Control"] == "no-store"
        assert await next_event(reply) == "1"
        daemon.notify()
        assert await next_event(reply) == "2"


async def test_a_burst_of_changes_is_told_in_few_events_the_last_included(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    async with http.get(open_web.url + "/events") as reply:
        assert await next_event(reply) == "0"
        told = []
        for _ in range(200):
            daemon.notify()
            await asyncio.sleep(0)
        while (event := await next_event(reply)) != "200":
            told.append(event)
    assert len(told) <= 2


async def test_every_page_is_told(open_web: WebServer, daemon: FakeDaemon) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        replies = [await session.get(open_web.url + "/events") for _ in range(20)]
        for reply in replies:
            assert await next_event(reply) == "0"
        daemon.notify()
        for reply in replies:
            assert await next_event(reply) == "1"
            reply.close()


async def test_a_page_too_many_is_refused_and_room_comes_back(
    open_web: WebServer, http: aiohttp.ClientSession, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "MAX_PAGES", 1)
    monkeypatch.setattr(live_module, "HEARTBEAT_S", 0.05)
    first = await http.get(open_web.url + "/events")
    async with http.get(open_web.url + "/events") as refused:
        assert refused.status == 503
    first.close()
    async with asyncio.timeout(5):
        while True:
            async with http.get(open_web.url + "/events") as again:
                if again.status == 200:
                    break


async def test_silence_is_broken_by_a_heartbeat(
    open_web: WebServer, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "HEARTBEAT_S", 0.05)
    async with asyncio.timeout(5), http.get(open_web.url + "/events") as reply:
        async for line in reply.content:
            if line.startswith(b":"):
                break
        else:
            pytest.fail("no heartbeat")


async def test_open_pages_do_not_hold_up_a_shutdown(daemon: FakeDaemon, http: aiohttp.ClientSession) -> None:
    loop = asyncio.get_running_loop()
    async with WebServer(
        WebSettings(), daemon=daemon, incidents=daemon, blocks=daemon, quiet=daemon, gate=daemon
    ) as web:
        reply = await http.get(web.url + "/events")
        assert await next_event(reply) == "0"
        began = loop.time()
    assert loop.time() - began < 1
    reply.close()


async def test_waiters_see_changes_made_before_they_waited() -> None:
    signal = ChangeSignal()
    signal.notify()
    signal.notify()
    assert await asyncio.wait_for(signal.wait_changed(0), 1) == 2
    waiting = asyncio.create_task(signal.wait_changed(2))
    await asyncio.sleep(0)
    assert not waiting.done()
    signal.notify()
    assert await asyncio.wait_for(waiting, 1) == 3
