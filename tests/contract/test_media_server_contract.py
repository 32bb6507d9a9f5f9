"""What every media server adapter promises, tried on every one of them against a live server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
from aiohttp import ClientSession, web
from pydantic import TypeAdapter

from monitor.config.models import AnyServer, EmbeddedServer, StaticServer
from monitor.demo.nginx import RealNginx
from monitor.errors import MediaServerUnreachable, UnsafeCallRefused
from monitor.servers.embedded.adapter import EmbeddedMediaServer
from monitor.servers.embedded.relay import Relay
from monitor.servers.factory import build_server
from monitor.servers.nginx_rtmp.adapter import NginxRtmpMediaServer
from monitor.servers.port import GateReply, LiveStream, MediaServer, RawGateRequest
from monitor.servers.static.adapter import StaticMediaServer
from monitor.vocabulary import StreamRef
from tests.fakes.hook import HookServer
from tests.fakes.nginx import section_for
from tests.fakes.publishers import RelayPublisher, ffmpeg_publishing
from tests.fakes.reading import can_be_watched
from tests.fakes.waiting import eventually

HOSTILE_NAMES = (
    "../cam1",
    "cam1/..",
    "cam1&name=cam2",
    "x&app=&name=",
    "cam1%00",
    "cam%31",
    "cam1 ",
    " cam1",
    "cam1\n",
    "cam1\r\nX-Injected: 1",
    "cam1#",
    "cam1?",
    "cam1?name=cam2",
    "'cam1'",
    '"cam1"',
    "cаm1",  # noqa: RUF001 - the second letter is Cyrillic: that is the trick
    "*",
    "cam1;cam2",
    "cam1,cam2",
    "cam1\0",
    "\ud800",
    ".",
    "..",
    "",
)


class Encoder(Protocol):
    """A publisher that the test started."""

    @property
    def live(self) -> bool: ...

    async def ended(self) -> None: ...

    async def stop(self) -> None: ...


class Site(Protocol):
    """A media server with its adapter, and a way to publish on it."""

    server: MediaServer
    app: str
    has_gate: bool
    refused: set[str]

    async def publish(self, name: str) -> Encoder: ...


class _FfmpegEncoder:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def live(self) -> bool:
        return self._process.returncode is None

    async def ended(self) -> None:
        await self._process.wait()

    async def stop(self) -> None:
        self._process.kill()
        await self._process.wait()


class NginxSite:
    has_gate = True
    app = "live"

    def __init__(self, nginx: RealNginx, server: MediaServer, stack: AsyncExitStack, refused: set[str]) -> None:
        self.server = server
        self.refused = refused
        self._nginx = nginx
        self._stack = stack

    async def publish(self, name: str) -> Encoder:
        url = f"{self._nginx.rtmp_url}/live/{name}"
        return _FfmpegEncoder(await self._stack.enter_async_context(ffmpeg_publishing(url)))


class RelaySite:
    def __init__(
        self, relay_url: str, server: MediaServer, stack: AsyncExitStack, refused: set[str], *, has_gate: bool, app: str
    ) -> None:
        self.server = server
        self.has_gate = has_gate
        self.app = app
        self.refused = refused
        self._relay_url = relay_url
        self._stack = stack

    async def publish(self, name: str) -> Encoder:
        encoder = RelayPublisher(f"{self._relay_url}/live/{name}")
        self._stack.push_async_callback(encoder.stop)
        return encoder


def _deciding(server_of: list[MediaServer], refused: set[str]) -> HookServer:
    def decide(raw: RawGateRequest) -> GateReply:
        request = server_of[0].parse_gate_request(raw)
        assert request.ref is not None
        allow = request.call != "publish" or request.ref.name not in refused
        return server_of[0].gate_reply(request, allow=allow)

    return HookServer(decide)


@asynccontextmanager
async def nginx_site(directory: Path) -> AsyncIterator[Site]:
    refused: set[str] = set()
    adapters: list[MediaServer] = []
    async with AsyncExitStack() as stack:
        hook = await stack.enter_async_context(_deciding(adapters, refused))
        nginx = await stack.enter_async_context(RealNginx(directory, gate_url=hook.url, fail_open=False))
        server = await stack.enter_async_context(NginxRtmpMediaServer(section_for(nginx)))
        adapters.append(server)
        yield NginxSite(nginx, server, stack, refused)


@asynccontextmanager
async def embedded_site(directory: Path) -> AsyncIterator[Site]:
    refused: set[str] = set()
    adapters: list[MediaServer] = []
    section = EmbeddedServer.model_validate(
        {"kind": "embedded", "name": "edge", "url": f"http://127.0.0.1:{_free_port()}"}
    )
    async with AsyncExitStack() as stack:
        hook = await stack.enter_async_context(_deciding(adapters, refused))
        server = await stack.enter_async_context(EmbeddedMediaServer(section, gate_url=hook.url))
        adapters.append(server)
        yield RelaySite(server.relay_url, server, stack, refused, has_gate=True, app="live")


@asynccontextmanager
async def static_site(directory: Path) -> AsyncIterator[Site]:
    """Plain addresses on a relay that the adapter knows nothing of; the operator's webhook cuts on it."""
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(Relay())
        client = await stack.enter_async_context(ClientSession())

        async def cut(request: web.Request) -> web.Response:
            asked = await request.json()
            command = {"app": "live", "name": asked["name"]}
            async with client.post(f"{relay.url}/control/cut", json=command) as answer:
                return web.Response(status=answer.status)

        app = web.Application()
        app.router.add_post("/cut", cut)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        section = StaticServer.model_validate(
            {
                "kind": "static",
                "name": "edge",
                "streams": [{"name": name, "url": f"{relay.url}/live/{name}"} for name in ("cam1", "cam2")],
                "cut_webhook": f"http://127.0.0.1:{runner.addresses[0][1]}/cut",
            }
        )
        server = await stack.enter_async_context(StaticMediaServer(section))
        yield RelaySite(relay.url, server, stack, set(), has_gate=False, app="static")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


SITES = {"nginx_rtmp": nginx_site, "embedded": embedded_site, "static": static_site}


@pytest.fixture(params=[pytest.param("nginx_rtmp", marks=pytest.mark.real_server), "embedded", "static"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    async with SITES[request.param](tmp_path) as ready:
        yield ready


async def _listed(site: Site, name: str) -> LiveStream:
    async def look() -> LiveStream | None:
        ref = StreamRef("edge", site.app, name)
        return next((stream for stream in await site.server.list_streams() if stream.ref == ref), None)

    return await eventually(look)


async def _gone(site: Site, name: str) -> None:
    async def look() -> bool:
        return all(stream.ref.name != name for stream in await site.server.list_streams())

    await eventually(look)


async def test_a_published_stream_is_listed_with_all_that_is_known(site: Site) -> None:
    await site.publish("cam1")

    stream = await _listed(site, "cam1")

    assert stream.ref == StreamRef("edge", site.app, "cam1")
    assert stream.session
    assert stream.started_at is not None
    assert abs(datetime.now(UTC) - stream.started_at) < timedelta(seconds=30)
    if site.server.capabilities.publisher_address:
        assert stream.publisher_address == "127.0.0.1"
    assert site.server.name == "edge"


async def test_a_probe_of_a_healthy_server_does_not_fail(site: Site) -> None:
    warnings = await site.server.probe()

    assert all("edge" not in warning and "http" not in warning for warning in warnings)


async def test_a_watcher_reads_the_stream_under_its_pull_url(site: Site) -> None:
    await site.publish("cam1")
    await _listed(site, "cam1")
    url = site.server.pull_url(StreamRef("edge", site.app, "cam1"))

    assert await eventually(lambda: can_be_watched(url))


async def test_a_cut_ends_exactly_the_stream_that_is_meant(site: Site) -> None:
    first, second = await site.publish("cam1"), await site.publish("cam2")
    stream = await _listed(site, "cam1")
    await _listed(site, "cam2")

    result = await site.server.cut(stream.ref, stream.session)

    assert (result.matched, result.verified) == (1, True)
    await asyncio.wait_for(first.ended(), 10)
    assert [stream.ref.name for stream in await site.server.list_streams()] == ["cam2"]
    assert second.live
    assert await can_be_watched(site.server.pull_url(StreamRef("edge", site.app, "cam2")))


async def test_a_cut_without_a_session_ends_whoever_publishes_now(site: Site) -> None:
    encoder = await site.publish("cam1")
    stream = await _listed(site, "cam1")

    result = await site.server.cut(stream.ref)

    assert (result.matched, result.verified) == (1, True)
    await asyncio.wait_for(encoder.ended(), 10)


async def test_a_second_cut_finds_nothing_and_says_so(site: Site) -> None:
    await site.publish("cam1")
    stream = await _listed(site, "cam1")
    await site.server.cut(stream.ref)

    again = await site.server.cut(stream.ref)

    assert (again.matched, again.verified) == (0, True)


async def test_a_stream_that_nobody_publishes_counts_as_cut(site: Site) -> None:
    result = await site.server.cut(StreamRef("edge", site.app, "nobody"))

    assert (result.matched, result.verified) == (0, True)


async def test_a_cut_of_an_earlier_session_leaves_the_present_one_alone(site: Site) -> None:
    encoder = await site.publish("cam1")
    stream = await _listed(site, "cam1")
    earlier = str(int(stream.session) + 1_000_000) if stream.session.isdigit() else "0123456789abcdef"

    result = await site.server.cut(stream.ref, earlier)

    assert (result.matched, result.verified) == (0, True)
    assert encoder.live
    assert (await _listed(site, "cam1")).session == stream.session


async def test_a_publisher_that_comes_back_after_a_cut_has_another_session(site: Site) -> None:
    if not site.has_gate:
        pytest.skip("plain addresses do not tell when their publisher comes back")
    await site.publish("cam1")
    stream = await _listed(site, "cam1")
    await site.server.cut(stream.ref, stream.session)
    await site.publish("cam1")

    assert (await _listed(site, "cam1")).session != stream.session


async def test_a_stream_that_ends_by_itself_is_listed_no_more(site: Site) -> None:
    if not site.has_gate:
        pytest.skip("plain addresses do not tell when their publisher leaves")
    encoder = await site.publish("cam1")
    await _listed(site, "cam1")

    await encoder.stop()

    await _gone(site, "cam1")


async def test_the_gate_lets_in_and_keeps_out(site: Site) -> None:
    if not site.has_gate:
        pytest.skip("plain addresses have no gate")
    site.refused.add("banned")
    banned, welcome = await site.publish("banned"), await site.publish("welcome")

    await asyncio.wait_for(banned.ended(), 10)
    await _listed(site, "welcome")
    assert welcome.live
    assert [stream.ref.name for stream in await site.server.list_streams()] == ["welcome"]
    if isinstance(banned, RelayPublisher):
        assert banned.status in {403, None}


async def test_hostile_names_are_cut_without_hitting_anybody_else(site: Site) -> None:
    encoder = await site.publish("cam1")
    innocent = await _listed(site, "cam1")
    hostile = [StreamRef("edge", site.app, name) for name in HOSTILE_NAMES]
    hostile += [StreamRef("edge", app, "cam1") for app in HOSTILE_NAMES]

    for ref in hostile:
        for session in (None, innocent.session):
            try:
                result = await site.server.cut(ref, session)
            except UnsafeCallRefused:
                continue
            assert (result.matched, result.verified) == (0, True), ascii(ref)

    assert encoder.live
    assert (await _listed(site, "cam1")).session == innocent.session


async def test_the_address_of_a_hostile_name_is_nobody_elses(site: Site) -> None:
    await site.publish("cam1")
    await _listed(site, "cam1")
    addresses = {site.server.pull_url(StreamRef("edge", site.app, "cam1"))}

    for name in HOSTILE_NAMES:
        try:
            address = site.server.pull_url(StreamRef("edge", site.app, name))
        except UnsafeCallRefused:
            continue
        assert address not in addresses, ascii(name)
        assert address.isprintable()
        addresses.add(address)


@pytest.mark.parametrize("kind", [pytest.param("nginx_rtmp", marks=pytest.mark.real_server), "embedded"])
async def test_a_server_that_is_down_is_unreachable_and_not_empty(kind: str, tmp_path: Path) -> None:
    port = _free_port()
    section = {
        "nginx_rtmp": {
            "kind": "nginx_rtmp",
            "name": "edge",
            "stat_url": f"http://127.0.0.1:{port}/stat",
            "control_url": f"http://127.0.0.1:{port}/control",
            "rtmp_url": "rtmp://127.0.0.1:1",
        },
        "embedded": {"kind": "embedded", "name": "edge", "url": f"http://127.0.0.1:{port}", "serve": False},
    }[kind]
    adapter: TypeAdapter[AnyServer] = TypeAdapter(AnyServer)
    async with build_server(adapter.validate_python(section), gate_url="http://127.0.0.1:1/gate") as server:
        with pytest.raises(MediaServerUnreachable):
            await server.list_streams()
        with pytest.raises(MediaServerUnreachable):
            await server.cut(StreamRef("edge", "live", "cam1"))
        with pytest.raises(MediaServerUnreachable):
            await server.probe()
