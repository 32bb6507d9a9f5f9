"""A MediaMTX of the tests' own, with its adapter behind a publish gate, as the contract suite wants it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from monitor.config.servers import MediaMtxServer
from monitor.servers.contract.site import Encoder, Site
from monitor.servers.mediamtx.adapter import MediaMtxMediaServer
from monitor.servers.port import MediaServer, RawGateRequest
from tests.fakes.fake_mediamtx import FakeMediaMtx
from tests.fakes.misbehaving import serving
from tests.fakes.sites import free_port


class MediaMtxSite:
    """Publishers on paths below ``live/``."""

    has_gate = True
    app = "live"

    def __init__(self, mediamtx: FakeMediaMtx, server: MediaMtxMediaServer, refused: set[str]) -> None:
        self.server: MediaServer = server
        self.refused = refused
        self._mediamtx = mediamtx

    async def publish(self, name: str) -> Encoder:
        return await self._mediamtx.publish(f"live/{name}")

    def unreachable(self) -> MediaServer:
        return MediaMtxMediaServer(mediamtx_section(self._mediamtx, api_url=f"http://127.0.0.1:{free_port()}"))


def mediamtx_section(mediamtx: FakeMediaMtx, **settings: object) -> MediaMtxServer:
    """Return the configuration's entry for it."""
    entry = {"kind": "mediamtx", "name": "edge", "api_url": mediamtx.api_url, "pull_url": mediamtx.hls_url}
    return MediaMtxServer.model_validate(entry | settings)


@asynccontextmanager
async def gate_for(servers: list[MediaMtxMediaServer], refused: set[str]) -> AsyncIterator[str]:
    """Serve the publish gate of the one adapter in `servers`, as the daemon does; yields its address."""

    async def decide(request: web.Request) -> web.Response:
        server = servers[0]
        raw = RawGateRequest(content_type=request.content_type, body=await request.read())
        asked = server.parse_gate_request(raw)
        if asked.call == "publish" and asked.ref is not None and asked.ref.name in refused:
            reply = server.gate_reply(asked, allow=False)
        else:
            reply = await server.refusal(raw, asked) or server.gate_reply(asked, allow=True)
        return web.Response(status=reply.status, body=reply.body)

    app = web.Application()
    app.router.add_post("/gate/edge", decide)
    async with serving(app) as url:
        yield f"{url}/gate/edge"


@asynccontextmanager
async def mediamtx_site() -> AsyncIterator[Site]:
    """A server that asks the gate about everything, the adapter's own calls included."""
    refused: set[str] = set()
    servers: list[MediaMtxMediaServer] = []
    async with (
        gate_for(servers, refused) as gate_url,
        FakeMediaMtx(auth_url=gate_url, linger_s=0.02) as mediamtx,
        MediaMtxMediaServer(mediamtx_section(mediamtx)) as server,
    ):
        servers.append(server)
        yield MediaMtxSite(mediamtx, server, refused)
