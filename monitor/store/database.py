"""The connection to the store: opening, migrating, transactions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from monitor.errors import StoreError

_BUSY_TIMEOUT_MS = 5_000


class Database:
    """The embedded SQLite store (WAL, ``synchronous=FULL``: a commit that returned survives a power cut).

    An async context manager; entering migrates the schema to the newest version. One writer at a time:
    `transaction` holds a lock, so that a read inside it is never stale.
    """

    def __init__(self, path: Path) -> None:
        """Prepare to open the SQLite file at `path`; its folder is created on entering."""
        self._path = path
        self._engine: AsyncEngine | None = None
        self._write_lock = asyncio.Lock()

    @property
    def engine(self) -> AsyncEngine:
        """The SQLAlchemy engine; RuntimeError before entering."""
        if self._engine is None:
            message = "the database is not open"
            raise RuntimeError(message)
        return self._engine

    async def __aenter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            await asyncio.to_thread(migrate, self._path)
            # Without hide_parameters the driver's errors quote stream names and alerts, and land in the log.
            engine = create_async_engine(f"sqlite+aiosqlite:///{self._path}", hide_parameters=True)
            event.listen(engine.sync_engine, "connect", _set_pragmas)
            event.listen(engine.sync_engine, "begin", _begin_immediate)
            self._engine = engine
            async with self.reading() as connection:
                await connection.execute(text("SELECT 1 FROM incident LIMIT 1"))
        except (SQLAlchemyError, OSError) as error:
            await self.__aexit__(None, None, None)
            raise StoreError(
                f"{self._path}: the store cannot be opened ({type(error).__name__}); "
                "check the folder's permissions, free space and that the file is a Livecordon database",
                reason="open_failed",
            ) from error
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._engine is not None:
            engine, self._engine = self._engine, None
            await engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection inside one write transaction; commits on leaving, rolls back on any exception.

        Raises:
            StoreError: the database refused; nothing of the transaction was kept.
        """
        async with self._write_lock:
            try:
                async with self.engine.begin() as connection:
                    yield connection
            except SQLAlchemyError as error:
                raise StoreError(
                    f"a write to the store failed ({type(error).__name__})", reason="write_failed"
                ) from error

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection for reading only; sees a consistent snapshot and blocks no writer.

        Raises:
            StoreError: the database refused.
        """
        try:
            async with self.engine.connect() as connection:
                yield await connection.execution_options(livecordon_read_only=True)
        except SQLAlchemyError as error:
            raise StoreError(f"a read from the store failed ({type(error).__name__})", reason="read_failed") from error


def migrate(path: Path) -> None:
    """Bring the SQLite file at `path` to the newest schema; creates it when absent. Blocking."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}")
    command.upgrade(config, "head")


def _set_pragmas(dbapi_connection: Any, _record: Any) -> None:
    # Transactions are begun by us (BEGIN IMMEDIATE), so the driver must not begin its own.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    # A deferred transaction that later writes can fail with "database is locked" in the middle; taking the write
    # lock first waits for it instead.
    read_only = connection.get_execution_options().get("livecordon_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
