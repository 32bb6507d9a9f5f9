"""A stand-in for another platform's webhook endpoint, on loopback. Checks signatures with the `standardwebhooks` package."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from multidict import CIMultiDict
from standardwebhooks import Webhook, WebhookVerificationError

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" * 2
_REAL_DEADLINE_S = 20.0


@dataclass(frozen=True)
class Answer:
    """How to answer one request."""

    status: int = 204
    headers: Mapping[str, str] | None = None
    body: bytes = b""
    hang: bool = False
    reset: bool = False


@dataclass(frozen=True)
class Taken:
    """One request that came in; `verified` says whether its signature held."""

    id: str
    timestamp: int
    event: dict[str, Any]
    headers: CIMultiDict[str]
    body: bytes
    status: int
    verified: bool


class FakeReceiver:
    """Answers 204 unless told otherwise; `script` holds the answers to the next requests, first one first.

    With `check_time` false the signature is checked for the time that the request names, for tests with a manual clock.
    """

    def __init__(self, *, secret: str = SECRET, check_time: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.requests: list[Taken] = []
        self.script: deque[Answer] = deque()
        self.default = Answer()
        self.other_paths: list[str] = []
        self._webhook = Webhook(secret)
        self._check_time = check_time
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?key=not-for-logs"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/hook", self._take)
        app.router.add_route("*", "/{other:.*}", self._other)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def wait_for(self, requests: int) -> list[Taken]:
        """Wait, in real time, until so many requests have come; TimeoutError after twenty seconds."""
        async with asyncio.timeout(_REAL_DEADLINE_S):
            while len(self.requests) < requests:
                self._changed.clear()
                await self._changed.wait()
        return self.requests

    def ids(self) -> list[str]:
        return [request.id for request in self.requests]

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        answer = self.script.popleft() if self.script else self.default
        self.requests.append(
            Taken(
                id=request.headers.get("webhook-id", ""),
                timestamp=int(request.headers.get("webhook-timestamp", "0")),
                event=json.loads(body),
                headers=CIMultiDict(request.headers),
                body=body,
                status=answer.status,
                verified=self._verify(request.headers, body),
            )
        )
        self._changed.set()
        if answer.hang:
            await asyncio.Event().wait()
        if answer.reset:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    async def _other(self, request: web.Request) -> web.StreamResponse:
        self.other_paths.append(request.path)
        return web.Response(status=200)

    def _verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        given = {name: headers.get(name, "") for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
        if not self._check_time:
            # The package refuses times far from the machine's own, so its comparison is used without that check.
            at = datetime.fromtimestamp(int(given["webhook-timestamp"]), UTC)
            return self._webhook.sign(given["webhook-id"], at, body.decode()) in given["webhook-signature"].split(" ")
        try:
            self._webhook.verify(body, given)
        except WebhookVerificationError:
            return False
        return True
