"""A LiveKit of the tests' own, with its adapter and its webhooks, as the contract suite wants it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from monitor.config.servers import LiveKitServer
from monitor.errors import MediaServerError
from monitor.servers.contract.site import Encoder, Site
from monitor.servers.livekit.adapter import LiveKitMediaServer
from monitor.servers.port import MediaServer, RawGateRequest
from tests.fakes.fake_livekit import KEY, SECRET, FakeLiveKit
from tests.fakes.misbehaving import serving
from tests.fakes.sites import free_port

ENVIRON = {"LIVEKIT": SECRET}


class LiveKitSite:
    """Participants in the room ``stage``."""

    has_gate = True
    app = "stage"

    def __init__(self, livekit: FakeLiveKit, server: LiveKitMediaServer, refused: set[str]) -> None:
        self.server: MediaServer = server
        self.refused = refused
        self._livekit = livekit

    async def publish(self, name: str) -> Encoder:
        return await self._livekit.join("stage", name)

    def view_url(self, name: str) -> str:
        return f"{self._livekit.hls_url}/stage/{name}/index.m3u8"

    def unreachable(self) -> MediaServer:
        section = livekit_section(self._livekit, api_url=f"http://127.0.0.1:{free_port()}")
        return LiveKitMediaServer(section, environ=ENVIRON)


def livekit_section(livekit: FakeLiveKit, **settings: object) -> LiveKitServer:
    """Return the configuration's entry for it."""
    entry = {
        "kind": "livekit",
        "name": "edge",
        "api_url": livekit.api_url,
        "api_key": KEY,
        "api_secret": {"env": "LIVEKIT"},
        "watch_url": f"{livekit.hls_url}/{{room}}/{{identity}}/index.m3u8",
    }
    return LiveKitServer.model_validate(entry | settings)


@asynccontextmanager
async def webhooks_for(servers: list[LiveKitMediaServer], refused: set[str]) -> AsyncIterator[str]:
    """Take the webhooks for the one adapter in `servers`, and cut whoever is barred, as the daemon does at its next look."""

    async def hear(request: web.Request) -> web.Response:
        server = servers[0]
        headers = {key.lower(): value for key, value in request.headers.items()}
        raw = RawGateRequest(request.content_type, await request.read(), headers=headers)
        asked = server.parse_gate_request(raw)
        if asked.news and asked.ref is not None and asked.ref.name in refused:
            with contextlib.suppress(MediaServerError):
                await server.cut(asked.ref)
        reply = server.gate_reply(asked, allow=True)
        return web.Response(status=reply.status, body=reply.body)

    app = web.Application()
    app.router.add_post("/gate/edge", hear)
    async with serving(app) as url:
        yield f"{url}/gate/edge"


@asynccontextmanager
async def livekit_site() -> AsyncIterator[Site]:
    """A server that tells who comes and goes."""
    refused: set[str] = set()
    servers: list[LiveKitMediaServer] = []
    async with (
        webhooks_for(servers, refused) as url,
        FakeLiveKit(webhook_url=url, linger_s=0.02) as livekit,
        LiveKitMediaServer(livekit_section(livekit), environ=ENVIRON) as server,
    ):
        servers.append(server)
        yield LiveKitSite(livekit, server, refused)
