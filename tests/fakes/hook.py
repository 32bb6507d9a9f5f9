"""A publish gate of the simplest kind, over real HTTP."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from monitor.servers.port import GateReply, RawGateRequest


class HookServer:
    """Hands every request to `decide` and answers as it says; closes the connection, as nginx-rtmp needs.

    Args:
        decide: Called with each request.
    """

    def __init__(self, decide: Callable[[RawGateRequest], GateReply | Awaitable[GateReply]]) -> None:
        self.requests: list[RawGateRequest] = []
        self._decide = decide
        app = web.Application()
        app.router.add_post("/gate", self._handle)
        self._runner = web.AppRunner(app, access_log=None)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/gate?token=t0ken"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop listening; may be called again."""
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        raw = RawGateRequest(
            content_type=request.headers.get("Content-Type", ""),
            body=await request.read(),
            query=dict(request.query),
            headers={key.lower(): value for key, value in request.headers.items()},
        )
        self.requests.append(raw)
        decided = self._decide(raw)
        reply = await decided if inspect.isawaitable(decided) else decided
        response = web.Response(status=reply.status, body=reply.body, content_type=reply.content_type)
        response.force_close()
        return response
