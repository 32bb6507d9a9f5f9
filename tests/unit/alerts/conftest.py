from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.store.database import Database
from monitor.store.migrating import migrate
from tests.fakes.clock import ManualClock
from tests.fakes.receiver import FakeReceiver


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated, empty store to copy: creating one waits half a second for the disk."""
    path = tmp_path_factory.mktemp("empty") / "store.sqlite3"
    migrate(path)
    return path


@pytest.fixture
async def database(tmp_path: Path, empty_store: Path) -> AsyncIterator[Database]:
    path = tmp_path / "livecordon.sqlite3"
    shutil.copyfile(empty_store, path)
    async with Database(path) as opened:
        yield opened


@pytest.fixture
async def partner() -> AsyncIterator[FakeReceiver]:
    async with FakeReceiver() as receiver:
        yield receiver
