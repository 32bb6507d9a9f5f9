"""A store on disk that can be told to refuse, and rows to put into it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from alembic import command
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from monitor.errors import StoreError
from monitor.store.database import Database
from monitor.store.incidents import IncidentRecord
from monitor.store.migrating import _alembic, migrate
from monitor.store.sqlite import SqliteBackend
from monitor.vocabulary import StreamRef

CAM1 = StreamRef("edge", "live", "cam1")


class FlakyDatabase(Database):
    """Refuses writes while `broken`; `refuse_commits` lets a transaction run and fails at its end."""

    broken = False
    refuse_commits = 0
    written = 0

    @override
    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        if self.broken:
            raise StoreError("told to refuse")
        async with super().transaction() as connection:
            yield connection
            if self.refuse_commits:
                self.refuse_commits -= 1
                raise StoreError("told to refuse at the end")
        self.written += 1


@cache
def _empty_store() -> Path:
    path = Path(tempfile.mkdtemp(prefix="livecordon-tests-")) / "store.sqlite3"
    migrate(path)
    return path


def copy_empty_store(path: Path) -> None:
    """Put an empty store, with all its tables, to `path`, unless there is one."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_empty_store(), path)


@asynccontextmanager
async def flaky_store(place: Path | URL) -> AsyncIterator[FlakyDatabase]:
    """Open the store at `place`; a new file is copied from a template, because creating one waits for the disk."""
    if isinstance(place, Path):
        copy_empty_store(place)
    async with FlakyDatabase(place) as database:
        yield database


def incident_record(number: int = 1, *, ref: StreamRef = CAM1, opened_at: float = 100.0) -> IncidentRecord:
    """A plausible open incident; its definition is ``d`` times 64."""
    return IncidentRecord(
        id=f"incident-{number:04d}",
        server=ref.server,
        app=ref.app,
        name=ref.name,
        stream_id=ref.stream_id,
        session="s1",
        definition_digest="d" * 64,
        protocol="assisted",
        state="urgent",
        entered_at=opened_at,
        sequence=1,
        severities={"violence": "act"},
        max_severity="act",
        label="violence",
        score=0.9,
        posture="full",
        dry_run=False,
        model="toy@1",
        opened_at=opened_at,
        changed_at=opened_at,
    )


def downgrade(path: Path, revision: str) -> None:
    """Leave the store as the version with this newest migration left it."""
    config = _alembic()
    engine = SqliteBackend(path).migrating_engine()
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, revision)
    finally:
        engine.dispose()
