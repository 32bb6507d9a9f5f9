from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from monitor.web.server import WebServer
from monitor.web.settings import AccessToken, Role, WebSettings
from tests.fakes.web_daemon import FakeDaemon

VIEWER = "viewer-token-0123456789"
RESPONDER = "responder-token-0123456789"
ADMIN = "admin-token-0123456789"
TOKENS = (
    AccessToken("vera", Role.VIEWER, VIEWER),
    AccessToken("ana", Role.RESPONDER, RESPONDER),
    AccessToken("root", Role.ADMIN, ADMIN),
)


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


def serve(settings: WebSettings, daemon: FakeDaemon) -> WebServer:
    return WebServer(settings, daemon=daemon, incidents=daemon, blocks=daemon, quiet=daemon, gate=daemon, clock=daemon.clock)


@pytest.fixture
async def open_web(daemon: FakeDaemon) -> AsyncIterator[WebServer]:
    async with serve(WebSettings(), daemon) as web:
        yield web


@pytest.fixture
async def token_web(daemon: FakeDaemon) -> AsyncIterator[WebServer]:
    async with serve(WebSettings(tokens=TOKENS), daemon) as web:
        yield web


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session
