"""Media servers with their adapters, as the contract suite wants them: one real or in-process server for each test."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import ClientSession, web

from monitor.config.servers import EmbeddedServer, StaticServer
from monitor.demo.nginx import RealNginx
from monitor.servers.contract.helpers import FfmpegEncoder
from monitor.servers.contract.site import Encoder, Site
from monitor.servers.embedded.adapter import EmbeddedMediaServer
from monitor.servers.embedded.relay import Relay
from monitor.servers.nginx_rtmp.adapter import NginxRtmpMediaServer
from monitor.servers.port import GateReply, MediaServer, RawGateRequest
from monitor.servers.static.adapter import StaticMediaServer
from tests.fakes.hook import HookServer
from tests.fakes.nginx import section_for
from tests.fakes.publishers import RelayPublisher, ffmpeg_publishing


class NginxSite:
    """A real nginx-rtmp that asks a gate before anybody may publish."""

    has_gate = True
    app = "live"

    def __init__(self, nginx: RealNginx, server: MediaServer, stack: AsyncExitStack, refused: set[str]) -> None:
        self.server = server
        self.refused = refused
        self._nginx = nginx
        self._stack = stack

    async def publish(self, name: str) -> Encoder:
        url = f"{self._nginx.rtmp_url}/live/{name}"
        return FfmpegEncoder(await self._stack.enter_async_context(ffmpeg_publishing(url)))

    def view_url(self, name: str) -> str:
        return f"{self._nginx.rtmp_url}/{self.app}/{name}"

    def unreachable(self) -> MediaServer:
        nobody = f"http://127.0.0.1:{free_port()}"
        return NginxRtmpMediaServer(
            section_for(self._nginx, stat_url=f"{nobody}/stat", control_url=f"{nobody}/control")
        )


class RelaySite:
    """The embedded relay, or plain addresses on it."""

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

    def view_url(self, name: str) -> str:
        return f"{self._relay_url}/live/{name}"

    def unreachable(self) -> MediaServer | None:
        if not self.has_gate:
            return None
        entry = {"kind": "embedded", "name": "edge", "url": f"http://127.0.0.1:{free_port()}", "serve": False}
        return EmbeddedMediaServer(EmbeddedServer.model_validate(entry))


def deciding(server_of: list[MediaServer], refused: set[str]) -> HookServer:
    """Return a gate that refuses the names in `refused`, in the words of the one adapter in `server_of`."""

    def decide(raw: RawGateRequest) -> GateReply:
        request = server_of[0].parse_gate_request(raw)
        assert request.ref is not None
        allow = request.call != "publish" or request.ref.name not in refused
        return server_of[0].gate_reply(request, allow=allow)

    return HookServer(decide)


@asynccontextmanager
async def nginx_site(directory: Path) -> AsyncIterator[Site]:
    """A real nginx of the test's own."""
    refused: set[str] = set()
    adapters: list[MediaServer] = []
    async with AsyncExitStack() as stack:
        hook = await stack.enter_async_context(deciding(adapters, refused))
        nginx = await stack.enter_async_context(RealNginx(directory, gate_url=hook.url, fail_open=False))
        server = await stack.enter_async_context(NginxRtmpMediaServer(section_for(nginx)))
        adapters.append(server)
        yield NginxSite(nginx, server, stack, refused)


@asynccontextmanager
async def embedded_site() -> AsyncIterator[Site]:
    """A relay that the adapter itself runs."""
    refused: set[str] = set()
    adapters: list[MediaServer] = []
    section = EmbeddedServer.model_validate(
        {"kind": "embedded", "name": "edge", "url": f"http://127.0.0.1:{free_port()}"}
    )
    async with AsyncExitStack() as stack:
        hook = await stack.enter_async_context(deciding(adapters, refused))
        server = await stack.enter_async_context(EmbeddedMediaServer(section, gate_url=hook.url))
        adapters.append(server)
        yield RelaySite(server.relay_url, server, stack, refused, has_gate=True, app="live")


@asynccontextmanager
async def static_site() -> AsyncIterator[Site]:
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


def free_port() -> int:
    """Return a port on loopback on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
