"""The embedded relay as somebody else's media server, controlled through an operator's own webhooks or programs."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiohttp import ClientSession, web

from monitor.config.servers import CustomServer
from monitor.servers.contract.site import Encoder, Site
from monitor.servers.custom.adapter import CustomMediaServer
from monitor.servers.embedded.relay import Relay
from monitor.servers.port import MediaServer
from tests.fakes import custom_program
from tests.fakes.publishers import RelayPublisher
from tests.fakes.sites import deciding, free_port

TOKEN = "0123456789abcdef"
ENVIRON = {"HOOK_TOKEN": TOKEN}
_CALLS = ("list", "cut", "hold", "release")


def custom_section(**settings: object) -> CustomServer:
    """Return an entry of this kind."""
    entry: dict[str, Any] = {"kind": "custom", "name": "edge", "webhook_token": {"env": "HOOK_TOKEN"}}
    return CustomServer.model_validate(entry | settings)


def by_program(relay_url: str) -> dict[str, object]:
    """Return settings that ask by a program."""
    program = [sys.executable, "-I", "-S", custom_program.__file__, relay_url]
    return {f"on_{word}": {"command": [*program, word, *(["{session}"] * (word != "list"))]} for word in _CALLS}


def by_webhook(hook_url: str) -> dict[str, object]:
    """Return settings that ask by webhooks."""
    return {f"on_{word}": {"webhook": f"{hook_url}/{word}"} for word in _CALLS}


class CustomSite:
    """The relay, and what asks it."""

    has_gate = True
    app = "live"

    def __init__(
        self, relay: Relay, server: MediaServer, stack: AsyncExitStack, refused: set[str], *, how: str
    ) -> None:
        self.server = server
        self.refused = refused
        self._relay = relay
        self._stack = stack
        self._how = how

    async def publish(self, name: str) -> Encoder:
        encoder = RelayPublisher(f"{self._relay.url}/live/{name}")
        self._stack.push_async_callback(encoder.stop)
        return encoder

    def view_url(self, name: str) -> str:
        return f"{self._relay.url}/live/{name}"

    def unreachable(self) -> MediaServer:
        nobody = f"http://127.0.0.1:{free_port()}"
        settings = by_webhook(nobody) if self._how == "webhook" else by_program(nobody)
        return CustomMediaServer(custom_section(**settings), environ=ENVIRON)


@asynccontextmanager
async def hooks_for(relay_url: str) -> AsyncIterator[str]:
    """An operator's small service in front of the relay; yields its address."""
    async with ClientSession() as client:

        async def handle(request: web.Request) -> web.Response:
            asked = await request.json()
            assert request.path == f"/{asked['call']}"
            if request.headers["Authorization"] != f"Bearer {TOKEN}":
                return web.Response(status=401)
            if asked["call"] == "list":
                async with client.get(f"{relay_url}/control/streams") as answer:
                    return web.json_response(custom_program.listing(relay_url, await answer.json()))
            path, body = custom_program.command(asked)
            async with client.post(relay_url + path, json=body) as answer:
                return web.json_response(await answer.json(), status=answer.status)

        app = web.Application()
        app.router.add_post("/{word}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


@asynccontextmanager
async def custom_site(how: str) -> AsyncIterator[Site]:
    """One relay, asked by ``webhook`` or ``program``."""
    refused: set[str] = set()
    adapters: list[MediaServer] = []
    async with AsyncExitStack() as stack:
        gate = await stack.enter_async_context(deciding(adapters, refused))
        relay = await stack.enter_async_context(Relay(gate_url=gate.url))
        hooks = await stack.enter_async_context(hooks_for(relay.url))
        section = custom_section(
            **(by_webhook(hooks) if how == "webhook" else by_program(relay.url)),
            pull_url=f"{relay.url}/{{app}}/{{name}}",
            promises=["publisher_address", "synchronous_block", "seen_while_held"],
        )
        server = await stack.enter_async_context(CustomMediaServer(section, environ=ENVIRON))
        adapters.append(server)
        yield CustomSite(relay, server, stack, refused, how=how)
