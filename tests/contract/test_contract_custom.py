"""The adapters' contract, on a media server that only an operator's own programs or webhooks can control."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from monitor.servers.contract.site import Site
from monitor.servers.contract.suite import MediaServerContract
from tests.fakes.custom_site import custom_site


class TestCustomWebhooks(MediaServerContract):
    @pytest.fixture
    async def media_server_site(self) -> AsyncIterator[Site]:
        async with custom_site("webhook") as site:
            yield site


class TestCustomPrograms(MediaServerContract):
    @pytest.fixture
    async def media_server_site(self) -> AsyncIterator[Site]:
        async with custom_site("program") as site:
            yield site
