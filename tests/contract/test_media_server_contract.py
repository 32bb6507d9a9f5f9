"""What every media server adapter promises, tried on every one of them against a live server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.servers.contract.site import Site
from monitor.servers.contract.suite import MediaServerContract
from tests.fakes.livekit_site import livekit_site
from tests.fakes.mediamtx_site import mediamtx_site
from tests.fakes.ovenmediaengine_site import ovenmediaengine_site
from tests.fakes.sites import embedded_site, nginx_site, static_site
from tests.fakes.srs_site import srs_site


@pytest.mark.real_server
class TestNginxRtmp(MediaServerContract):
    @pytest.fixture
    async def media_server_site(self, tmp_path: Path) -> AsyncIterator[Site]:
        async with nginx_site(tmp_path) as site:
            yield site


class TestEmbedded(MediaServerContract):
    @pytest.fixture
    async def media_server_site(self) -> AsyncIterator[Site]:
        async with embedded_site() as site:
            yield site


class TestStatic(MediaServerContract):
    @pytest.fixture
    async def media_server_site(self) -> AsyncIterator[Site]:
        async with static_site() as site:
            yield site


class TestMediaMtx(MediaServerContract):
    @pytest.fixture
    async def media_server_site(self) -> AsyncIterator[Site]:
        async with mediamtx_site() as site:
            yield site


class TestLiveKit(MediaServerContract):
    @pytest.fixture
    async def media_server_site(self) -> AsyncIterator[Site]:
        async with livekit_site() as site:
            yield site


class TestSrs(MediaServerContract):
    @pytest.fixture
    async def media_server_site(self) -> AsyncIterator[Site]:
        async with srs_site() as site:
            yield site


class TestOvenMediaEngine(MediaServerContract):
    @pytest.fixture
    async def media_server_site(self) -> AsyncIterator[Site]:
        async with ovenmediaengine_site() as site:
            yield site
