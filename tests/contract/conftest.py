"""Every kind of store, for what must hold on each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from monitor.store.database import Database
from tests.fakes.postgres import RealPostgres, real_postgres
from tests.fakes.store import copy_empty_store


@pytest.fixture(scope="session")
def postgres() -> Iterator[RealPostgres]:
    with real_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | URL:
    """An empty store with all its tables."""
    if request.param == "postgres":
        server: RealPostgres = request.getfixturevalue("postgres")
        return server.store()
    path = tmp_path / "store.sqlite3"
    copy_empty_store(path)
    return path


@pytest.fixture
async def database(place: Path | URL) -> AsyncIterator[Database]:
    async with Database(place) as opened:
        yield opened
