from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.store.database import Database
from tests.fakes.clock import ManualClock
from tests.fakes.receiver import FakeReceiver


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "livecordon.sqlite3") as opened:
        yield opened


@pytest.fixture
async def partner() -> AsyncIterator[FakeReceiver]:
    async with FakeReceiver() as receiver:
        yield receiver
