from __future__ import annotations

from collections.abc import AsyncIterator
from weakref import WeakKeyDictionary

import aiohttp
import pytest

from monitor.alerts.links import Links
from monitor.web.server import WebServer
from monitor.web.settings import AccessToken, Role, WebSettings
from tests.fakes.web_acknowledging import FakeAcknowledging
from tests.fakes.web_daemon import FakeDaemon
from tests.fakes.web_enforcement import FakeReports, FakeStrikes

VIEWER = "viewer-token-0123456789"
RESPONDER = "responder-token-0123456789"
ADMIN = "admin-token-0123456789"
REPORTER = "reporter-token-0123456789"
TOKENS = (
    AccessToken("app", Role.REPORTER, REPORTER),
    AccessToken("vera", Role.VIEWER, VIEWER),
    AccessToken("ana", Role.RESPONDER, RESPONDER),
    AccessToken("root", Role.ADMIN, ADMIN),
)


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


_ENFORCING: WeakKeyDictionary[FakeDaemon, tuple[FakeStrikes, FakeReports]] = WeakKeyDictionary()


def enforcing(daemon: FakeDaemon) -> tuple[FakeStrikes, FakeReports]:
    """Return the strikes and reports that are served beside a daemon."""
    return _ENFORCING.setdefault(daemon, (FakeStrikes(), FakeReports()))


@pytest.fixture
def strikes(daemon: FakeDaemon) -> FakeStrikes:
    return enforcing(daemon)[0]


@pytest.fixture
def answering(daemon: FakeDaemon) -> FakeAcknowledging:
    return acknowledging(daemon)


@pytest.fixture
def reports(daemon: FakeDaemon) -> FakeReports:
    return enforcing(daemon)[1]


_ANSWERING: WeakKeyDictionary[FakeDaemon, FakeAcknowledging] = WeakKeyDictionary()


def acknowledging(daemon: FakeDaemon) -> FakeAcknowledging:
    """Return the acknowledgements that are served beside a daemon."""
    made = FakeAcknowledging(daemon, Links(b"k" * 32, "https://watch.example"))
    return _ANSWERING.setdefault(daemon, made)


def serve(settings: WebSettings, daemon: FakeDaemon) -> WebServer:
    return WebServer(
        settings,
        daemon=daemon,
        incidents=daemon,
        blocks=daemon,
        quiet=daemon,
        gate=daemon,
        clock=daemon.clock,
        strikes=enforcing(daemon)[0],
        reports=enforcing(daemon)[1],
        acknowledgements=acknowledging(daemon),
    )


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
