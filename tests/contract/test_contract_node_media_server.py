"""The adapters' contract, on a real Node-Media-Server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.servers.contract.site import Site
from monitor.servers.contract.suite import MediaServerContract
from tests.fakes.node_media_server import node_media_server_site


@pytest.mark.node_media_server
class TestNodeMediaServer(MediaServerContract):
    @pytest.fixture
    async def media_server_site(self, tmp_path: Path) -> AsyncIterator[Site]:
        async with node_media_server_site(tmp_path) as site:
            yield site
