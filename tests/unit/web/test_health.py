from __future__ import annotations

import asyncio
import threading

import aiohttp
import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain
from prometheus_client.registry import Collector
from typing_extensions import override

from monitor import metrics
from monitor.web.port import Check
from monitor.web.server import WebServer
from monitor.web.settings import AccessToken, Role, WebSettings
from tests.fakes.web_daemon import FakeDaemon


@pytest.mark.parametrize("path", ["/livez", "/healthz"])
async def test_liveness_follows_its_checks(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession, path: str
) -> None:
    daemon.ready_checks = [Check("model", ok=False)]
    async with http.get(open_web.url + path) as reply:
        assert (reply.status, await reply.text()) == (200, "live\n")
    daemon.live_checks = [Check("event_loop", ok=False, detail="stuck for 20 s")]
    async with http.get(open_web.url + path) as reply:
        assert (reply.status, await reply.text()) == (503, "not live\n")


async def test_the_start_is_told_apart_from_readiness(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.ready_checks = [Check("store", ok=False)]
    async with http.get(open_web.url + "/startupz") as reply:
        assert (reply.status, await reply.text()) == (200, "started\n")
    daemon.started_checks = [Check("watcher", ok=False, detail="no model yet")]
    async with http.get(open_web.url + "/startupz?verbose") as reply:
        assert (reply.status, await reply.text()) == (503, "not started\n[-] watcher: no model yet\n")


async def test_readiness_lists_its_checks_when_asked(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.ready_checks = [Check("store", ok=True), Check("model", ok=False, detail="self-test failed\nreally")]
    async with http.get(open_web.url + "/readyz") as reply:
        assert (reply.status, await reply.text()) == (503, "not ready\n")
    async with http.get(open_web.url + "/readyz?verbose") as reply:
        assert reply.status == 503
        assert await reply.text() == "not ready\n[+] store\n[-] model: self-test failed\\u000areally\n"


async def test_strangers_see_no_details(daemon: FakeDaemon, http: aiohttp.ClientSession) -> None:
    token = AccessToken("vera", Role.VIEWER, "viewer-token-0123456789")
    async with WebServer(
        WebSettings(tokens=(token,)), daemon=daemon, incidents=daemon, blocks=daemon, quiet=daemon, gate=daemon
    ) as web:
        async with http.get(web.url + "/readyz?verbose") as reply:
            assert "written 1 s ago" not in await reply.text()
        headers = {"Authorization": f"Bearer {token.secret}"}
        async with http.get(web.url + "/readyz?verbose", headers=headers) as reply:
            assert "written 1 s ago" in await reply.text()


async def test_checks_that_break_are_checks_that_fail(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> list[Check]:
        raise ZeroDivisionError

    monkeypatch.setattr(daemon, "ready", broken)
    async with http.get(open_web.url + "/readyz") as reply:
        assert reply.status == 503


@pytest.mark.parametrize(
    ("accept", "content_type", "parse"),
    [
        ("*/*", "text/plain", parse_plain),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1",
            "application/openmetrics-text",
            parse_openmetrics,
        ),
    ],
)
async def test_metrics_come_in_the_format_asked_for(
    open_web: WebServer, http: aiohttp.ClientSession, accept: str, content_type: str, parse: object
) -> None:
    metrics.initialise()
    async with http.get(open_web.url + "/metrics", headers={"Accept": accept}) as reply:
        assert reply.status == 200
        assert reply.content_type == content_type
        text = await reply.text()
    assert callable(parse)
    names = {family.name for family in parse(text)}
    assert {"livecordon_http_requests", "livecordon_gate_seconds"} <= names


async def test_metrics_are_compressed_for_who_asks(open_web: WebServer) -> None:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(open_web.url + "/metrics", headers={"Accept-Encoding": "gzip"}) as reply,
    ):
        assert reply.headers["Content-Encoding"] == "gzip"


class _Held(Collector):
    """Collects only after it was let go; knows which thread asked, and how many asked at once."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self.thread: threading.Thread | None = None
        self.at_once = 0
        self.most_at_once = 0

    def describe(self) -> list[GaugeMetricFamily]:
        return []

    @override
    def collect(self) -> list[GaugeMetricFamily]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.thread = threading.current_thread()
        self.asked.set()
        assert self.go_on.wait(10)
        self.at_once -= 1
        return []


async def test_rendering_metrics_does_not_hold_up_the_event_loop(
    open_web: WebServer, http: aiohttp.ClientSession
) -> None:
    held = _Held()
    REGISTRY.register(held)
    try:
        async with asyncio.TaskGroup() as tasks:
            scrapes = [tasks.create_task(http.get(open_web.url + "/metrics")) for _ in range(4)]
            assert await asyncio.to_thread(held.asked.wait, 10)
            async with http.get(open_web.url + "/livez") as reply:  # The loop answers while the rendering waits.
                assert reply.status == 200
            assert not any(scrape.done() for scrape in scrapes)
            held.go_on.set()
    finally:
        held.go_on.set()
        REGISTRY.unregister(held)
    for scrape in scrapes:
        async with scrape.result() as reply:
            assert reply.status == 200
    assert held.thread is not threading.main_thread()
    assert held.most_at_once == 1


async def test_requests_are_counted_by_area_and_outcome(open_web: WebServer, http: aiohttp.ClientSession) -> None:
    def count(area: str, code: str) -> float:
        return REGISTRY.get_sample_value("livecordon_http_requests_total", {"area": area, "code": code}) or 0.0

    before = count("api", "2xx"), count("api", "4xx"), count("page", "4xx"), count("health", "2xx")
    for path in ("/api/v1/streams", "/api/v1/nowhere", "/nowhere", "/livez"):
        async with http.get(open_web.url + path) as reply:
            await reply.read()
    after = count("api", "2xx"), count("api", "4xx"), count("page", "4xx"), count("health", "2xx")
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 1, 1, 1]
