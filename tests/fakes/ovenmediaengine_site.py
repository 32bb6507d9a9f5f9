"""An OvenMediaEngine of the tests' own, with its adapter behind a publish gate, as the contract suite wants it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from monitor.config.servers import OvenMediaEngineServer
from monitor.servers.contract.site import Encoder, Site
from monitor.servers.ovenmediaengine.adapter import OvenMediaEngineMediaServer
from monitor.servers.port import MediaServer
from tests.fakes.ovenmediaengine import FakeOvenMediaEngine, fake_ovenmediaengine
from tests.fakes.sites import deciding, free_port

SECRETS = {"OME_TOKEN": "ome-access-token", "OME_WEBHOOK_KEY": "webhook-key"}
"""The environment in which the adapter finds what `FakeOvenMediaEngine` has."""


class OvenMediaEngineSite:
    """Publishers on one application of the default virtual host, each asked about at the gate."""

    has_gate = True
    app = "app"

    def __init__(self, engine: FakeOvenMediaEngine, server: MediaServer, refused: set[str]) -> None:
        self.server = server
        self.refused = refused
        self._engine = engine

    async def publish(self, name: str) -> Encoder:
        return await self._engine.publish(name)

    def unreachable(self) -> MediaServer:
        return adapter_for(self._engine, api_url=f"http://127.0.0.1:{free_port()}")


def adapter_for(engine: FakeOvenMediaEngine, **settings: object) -> OvenMediaEngineMediaServer:
    """Return the adapter for it, not entered."""
    entry: dict[str, object] = {
        "kind": "ovenmediaengine",
        "name": "edge",
        "api_url": engine.url,
        "access_token": {"env": "OME_TOKEN"},
        "webhook_secret": {"env": "OME_WEBHOOK_KEY"},
        "hls_urls": {"default": engine.url},
    }
    section = OvenMediaEngineServer.model_validate(entry | settings)
    return OvenMediaEngineMediaServer(section, environ=SECRETS)


@asynccontextmanager
async def ovenmediaengine_site() -> AsyncIterator[Site]:
    """A server that asks about every publisher."""
    refused: set[str] = set()
    servers: list[MediaServer] = []
    async with (
        deciding(servers, refused) as hook,
        fake_ovenmediaengine() as engine,
        adapter_for(engine) as server,
    ):
        servers.append(server)
        engine.webhook_url = hook.url
        yield OvenMediaEngineSite(engine, server, refused)
