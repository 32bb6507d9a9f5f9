"""An SRS of the tests' own, with its adapter behind a publish gate, as the contract suite wants it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from monitor.config.servers import SrsServer
from monitor.servers.contract.site import Encoder, Site
from monitor.servers.port import MediaServer
from monitor.servers.srs.adapter import SrsMediaServer
from tests.fakes.sites import deciding, free_port
from tests.fakes.srs import FakeSrs, fake_srs


class SrsSite:
    """Publishers on the default virtual host, each asked about at the gate."""

    has_gate = True
    app = "live"

    def __init__(self, srs: FakeSrs, server: SrsMediaServer, refused: set[str]) -> None:
        self.server: MediaServer = server
        self.refused = refused
        self._srs = srs

    async def publish(self, name: str) -> Encoder:
        return await self._srs.publish(name)

    def unreachable(self) -> MediaServer:
        return SrsMediaServer(srs_section(self._srs, api_url=f"http://127.0.0.1:{free_port()}"))


def srs_section(srs: FakeSrs, **settings: object) -> SrsServer:
    """Return the configuration's entry for it."""
    entry = {"kind": "srs", "name": "edge", "api_url": srs.url, "flv_url": srs.url, "rtmp_url": "rtmp://127.0.0.1:1935"}
    return SrsServer.model_validate(entry | settings)


@asynccontextmanager
async def srs_site() -> AsyncIterator[Site]:
    """A server of which viewers hold on to streams that are over, on its bad days as on its good ones."""
    refused: set[str] = set()
    servers: list[MediaServer] = []
    async with (
        deciding(servers, refused) as hook,
        fake_srs() as srs,
        SrsMediaServer(srs_section(srs)) as server,
    ):
        servers.append(server)
        srs.hook_url = hook.url
        srs.keep_kicked = True
        yield SrsSite(srs, server, refused)
