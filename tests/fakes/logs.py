"""What is logged, as values: rendering the traceback of each refused write takes seconds."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """Every log event of the test."""
    with capture_logs() as events:
        yield events
