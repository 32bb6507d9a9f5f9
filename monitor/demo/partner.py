"""A stand-in for another platform: takes alerts, checks their signatures with the standard library for that, keeps them."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError


@dataclass(frozen=True, slots=True)
class TakenAlert:
    """One alert whose signature held."""

    id: str
    type: str
    event: dict[str, Any] = field(repr=False)


class Partner:
    """Listens on loopback for signed alerts; an async context manager.

    Attributes:
        secret: The shared signing secret (``whsec_…``), made anew for each partner.
        taken: Alerts whose signature held, in order of arrival, each id once.
        refused: How many requests had no valid signature.
        listen_port: TCP port to listen on; 0, the default, takes a free one.
    """

    def __init__(self) -> None:
        self.secret = "whsec_" + b64encode(secrets.token_bytes(32)).decode()
        self.taken: list[TakenAlert] = []
        self.refused = 0
        self.listen_port = 0
        self._webhook = Webhook(self.secret)
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where alerts go."""
        return f"http://127.0.0.1:{self._port}/alerts"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/alerts", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.listen_port).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            self._webhook.verify(body, dict(request.headers))
        except WebhookVerificationError:
            self.refused += 1
            return web.Response(status=401)
        event = json.loads(body)
        if all(alert.id != event["id"] for alert in self.taken):
            self.taken.append(TakenAlert(event["id"], event["type"], event))
        return web.Response(status=204)
