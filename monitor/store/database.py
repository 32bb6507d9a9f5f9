"""The connection to the store: opening, migrating, transactions."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.util import CommandError
from sqlalchemy import URL, Connection, NullPool, create_engine, event, inspect, text
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
            await asyncio.to_thread(_prepare, self._path)
            # Without hide_parameters the driver's errors quote stream names and alerts, and land in the log.
            engine = create_async_engine(_url("sqlite+aiosqlite", self._path), hide_parameters=True)
            event.listen(engine.sync_engine, "connect", _set_pragmas)
            event.listen(engine.sync_engine, "begin", _begin_immediate)
            self._engine = engine
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1 FROM incident LIMIT 1"))
        except (SQLAlchemyError, OSError) as error:
            await self.__aexit__(None, None, None)
            raise StoreError(
                f"{self._path}: the store cannot be opened ({type(error).__name__}); "
                "check the folder's permissions, free space and that the file is a Livecordon database",
                reason="open_failed",
            ) from error
        except BaseException:
            # A connection that is left open keeps its thread, and the process, from ending.
            await self.__aexit__(None, None, None)
            raise
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

    async def check_writable(self) -> None:
        """Write something harmless, so that a full or read-only disk is noticed before an incident needs it.

        Raises:
            StoreError: nothing can be written now.
        """
        async with self.transaction() as connection:
            await connection.execute(text("PRAGMA user_version = 1"))


def migrate(path: Path) -> None:
    """Bring the SQLite file at `path` to the newest schema, in one transaction; creates it when absent. Blocking.

    Raises:
        StoreError: the file belongs to another program, or to a newer version of this one.
        sqlalchemy.exc.SQLAlchemyError: it cannot be read or written.
    """
    config = AlembicConfig()
    # Options go through an interpolation that gives % a meaning; attributes do not.
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    engine = create_engine(_url("sqlite", path), poolclass=NullPool, hide_parameters=True)
    event.listen(engine, "connect", _own_transactions)
    event.listen(engine, "begin", _begin_immediate)
    try:
        with engine.begin() as connection:
            _refuse_foreign(connection, path)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(
            f"{path}: the store was written by a newer Livecordon; run that version, or restore the copy of the store "
            "from before the upgrade",
            reason="newer_schema",
            retryable=False,
        ) from error
    finally:
        engine.dispose()


def _prepare(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    # Stream names may be keys: nobody else on the machine may read them. SQLite gives its side files the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o640))
    migrate(path)


def _refuse_foreign(connection: Connection, path: Path) -> None:
    tables = set(inspect(connection).get_table_names())
    if tables and "alembic_version" not in tables:
        raise StoreError(
            f"{path}: this is the database of another program; name another file in store.path",
            reason="foreign_database",
            retryable=False,
        )


def _url(driver: str, path: Path) -> URL:
    return URL.create(driver, database=str(path))


def _own_transactions(dbapi_connection: Any, _record: Any) -> None:
    # The driver must not begin transactions: under its own rules, changes of the schema are in none at all.
    dbapi_connection.isolation_level = None
    _set(dbapi_connection, f"busy_timeout={_BUSY_TIMEOUT_MS}")


def _set_pragmas(dbapi_connection: Any, record: Any) -> None:
    # The timeout comes first: switching to WAL takes a lock, for which another process may have to be waited.
    _own_transactions(dbapi_connection, record)
    _set(dbapi_connection, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")


def _set(dbapi_connection: Any, *pragmas: str) -> None:
    cursor = dbapi_connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    # A deferred transaction that later writes can fail with "database is locked" in the middle; taking the write
    # lock first waits for it instead.
    read_only = connection.get_execution_options().get("livecordon_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
