"""Listens: one site for everything, or a second one for the publish gate."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self
from urllib.parse import quote

import structlog
from aiohttp import web

from monitor.clock import Clock, SystemClock
from monitor.errors import ConfigError, Problem
from monitor.web.acknowledge_port import AcknowledgeService
from monitor.web.app import gate_app, main_app
from monitor.web.deliveries_port import DeliveryService
from monitor.web.enforcement_port import ReportService, StrikeService
from monitor.web.partners_port import PartnerService
from monitor.web.people_port import DrillService, QuietService
from monitor.web.port import BlockService, DaemonView, GateService, IncidentService
from monitor.web.settings import Listen, WebSettings

_log = structlog.get_logger()

IDLE_TIMEOUT_S = 30.0
"""A connection that has not sent a whole request head by then, or no next request, is closed."""
LINGER_S = 1.0
"""How long the rest of a refused body is read and thrown away, so that its sender sees the refusal."""
SHUTDOWN_S = 3.0
MAX_HEADER_BYTES = 8190
MAX_HEADERS = 64


class WebServer:
    """The daemon's HTTP surface. An async context manager: listens inside the block.

    Raises (on entry):
        ConfigError: the settings are unsafe, or an address cannot be listened on.
    """

    def __init__(
        self,
        settings: WebSettings,
        *,
        daemon: DaemonView,
        incidents: IncidentService,
        blocks: BlockService,
        quiet: QuietService,
        gate: GateService,
        clock: Clock | None = None,
        drills: DrillService | None = None,
        strikes: StrikeService | None = None,
        reports: ReportService | None = None,
        deliveries: DeliveryService | None = None,
        partners: PartnerService | None = None,
        acknowledgements: AcknowledgeService | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self._settings = settings
        self._app = main_app(
            settings,
            daemon=daemon,
            incidents=incidents,
            blocks=blocks,
            quiet_service=quiet,
            gate_service=gate,
            clock=clock,
            drill_service=drills,
            strikes=strikes,
            reports=reports,
            delivery_service=deliveries,
            partner_service=partners,
            acknowledgements=acknowledgements,
        )
        self._gate_app = (
            None if settings.gate_listen is None else gate_app(settings, daemon=daemon, gate_service=gate, clock=clock)
        )
        self._stack = AsyncExitStack()
        self._url = ""
        self._gate_url = ""

    @property
    def url(self) -> str:
        """Where page and API are, without a trailing slash, such as ``http://127.0.0.1:8930``."""
        return self._url

    def gate_url(self, server_name: str) -> str:
        """Return the address that this media server's hook must call; holds the gate's token: never log it."""
        token = self._settings.gate_token
        query = "" if token is None else f"?token={quote(token, safe='')}"
        return f"{self._gate_url}/gate/{quote(server_name, safe='')}{query}"

    async def __aenter__(self) -> Self:
        problems = self._settings.problems()
        if problems:
            raise ConfigError(problems)
        async with AsyncExitStack() as stack:
            self._url = self._gate_url = await self._listen(stack, self._app, self._settings.listen, "web.listen")
            if self._gate_app is not None and self._settings.gate_listen is not None:
                self._gate_url = await self._listen(
                    stack, self._gate_app, self._settings.gate_listen, "web.gate_listen"
                )
            self._stack = stack.pop_all()
        _log.info("web_listening", url=self._url)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @staticmethod
    async def _listen(stack: AsyncExitStack, app: web.Application, listen: Listen, where: str) -> str:
        runner = web.AppRunner(
            app,
            # Request lines of the gate hold stream names and tokens.
            access_log=None,
            keepalive_timeout=IDLE_TIMEOUT_S,
            lingering_time=LINGER_S,
            shutdown_timeout=SHUTDOWN_S,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            # A few compressed kilobytes could become gigabytes.
            auto_decompress=False,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, listen.host, listen.port).start()
        except OSError as error:
            problem = Problem("", where, f"cannot listen there: {error.strerror}", "free the port or choose another")
            raise ConfigError([problem]) from error
        host, port = runner.addresses[0][:2]
        if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            host = "127.0.0.1"
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
