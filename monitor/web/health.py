"""Probes and metrics: for orchestrators and Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog
from aiohttp import web
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from monitor.web import keys
from monitor.web.display import displayable
from monitor.web.keys import Area, Route
from monitor.web.port import Check
from monitor.web.refusals import RequestRefused
from monitor.web.settings import Role

_log = structlog.get_logger()

RENDERING = web.AppKey("rendering", asyncio.Lock)
"""One exposition at a time: a thousand scrapers must not become a thousand threads."""


async def live(request: web.Request) -> web.Response:
    """Answer 200 while the daemon makes progress."""
    return _report(request, request.app[keys.DAEMON].live, "live")


async def ready(request: web.Request) -> web.Response:
    """Answer 200 when the daemon can do its work, else 503."""
    return _report(request, request.app[keys.DAEMON].ready, "ready")


async def started(request: web.Request) -> web.Response:
    """Answer 200 once the daemon has started, whatever fails later; before that 503."""
    return _report(request, request.app[keys.DAEMON].started, "started")


def _report(request: web.Request, ask: Callable[[], Sequence[Check]], word: str) -> web.Response:
    try:
        checks = ask()
    except Exception as error:  # noqa: BLE001 - a check that breaks is a check that fails
        _log.error("health_check_broke", probe=word, error=type(error).__name__)
        checks = [Check("checks", ok=False, detail="the checks themselves failed")]
    good = all(check.ok for check in checks)
    lines = [word if good else f"not {word}"]
    if "verbose" in request.query:
        # Names and states are for everybody who can reach a probe; details only for those who may read the API.
        trusted = _is_known(request)
        for check in checks:
            detail = f": {displayable(check.detail)}" if check.detail and trusted else ""
            lines.append(f"[{'+' if check.ok else '-'}] {check.name}{detail}")
    return web.Response(status=200 if good else 503, text="\n".join(lines) + "\n")


def _is_known(request: web.Request) -> bool:
    try:
        return request.app[keys.AUTHENTICATOR].identify(request) is not None
    except RequestRefused:
        return False


async def metrics(request: web.Request) -> web.Response:
    """Serve all metrics in the format asked for, rendered in a thread so that the event loop goes on."""
    encode, content_type = choose_encoder(",".join(request.headers.getall("Accept", [])))
    async with request.app[RENDERING]:
        body = await asyncio.to_thread(encode, REGISTRY)
    response = web.Response(body=body, headers={"Content-Type": content_type})
    response.enable_compression()
    return response


ROUTES = (
    Route("GET", "/livez", live, Area.HEALTH, None),
    Route("GET", "/healthz", live, Area.HEALTH, None),
    Route("GET", "/readyz", ready, Area.HEALTH, None),
    Route("GET", "/startupz", started, Area.HEALTH, None),
    Route("GET", "/metrics", metrics, Area.HEALTH, Role.VIEWER),
)
