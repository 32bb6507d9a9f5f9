"""The part that pytest loads: ``pytest_plugins = ["monitor.servers.contract.plugin"]`` in the topmost conftest.py.

Nothing is loaded unasked, through an entry point: that would bring Livecordon into every run of pytest beside it.
"""

from __future__ import annotations

import pytest

# Before anything imports it, so that its assertions show both sides like those of any test file.
pytest.register_assert_rewrite("monitor.servers.contract.suite")


@pytest.fixture
def media_server_site() -> None:
    """Fail with the way out: whoever runs `MediaServerContract` says on which site."""
    pytest.fail("MediaServerContract needs a fixture `media_server_site` that yields a Site: see docs/adapters.md")
