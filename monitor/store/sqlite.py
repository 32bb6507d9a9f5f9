"""What only SQLite needs: its file, its pragmas, its way to begin a transaction, its words for what went wrong."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from monitor.errors import StoreError
from monitor.store.one_hop import OneHopConnection

_BUSY_TIMEOUT_MS: Final = 1_000
"""How long a write waits for another program's lock. Decisions then go on without the store: see `monitor.incidents`."""

_CHECKED_UP_TO_BYTES: Final = 256 * 1024 * 1024
"""A larger file is not read through at every start; ``livecordon db check`` does that."""

_ROWS_AT_ONCE: Final = 64
"""How many rows the driver fetches for whoever goes through them one by one."""

_REASONS: Final = {
    "SQLITE_FULL": "disk_full",
    "SQLITE_BUSY": "locked",
    "SQLITE_LOCKED": "locked",
    "SQLITE_CORRUPT": "corrupt",
    "SQLITE_NOTADB": "corrupt",
    "SQLITE_READONLY": "read_only",
    "SQLITE_IOERR": "io_error",
    "SQLITE_CANTOPEN": "open_failed",
}

log = structlog.get_logger()


class SqliteBackend:
    """The embedded store: one file in WAL mode with ``synchronous=FULL``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def shown(self) -> str:
        """How messages name it."""
        return str(self.path)

    mend = "check the folder's permissions, free space and that the file is a Livecordon database"

    def prepare(self) -> None:
        """Make the file if there is none, readable by its owner only, and refuse one that is damaged. Blocking.

        Raises:
            StoreError: the file is damaged (`reason` ``corrupt``).
            OSError: it cannot be made.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        # Stream names may be keys: nobody else on the machine may read them. SQLite gives its side files the same mode.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o640))
        if self.path.stat().st_size > _CHECKED_UP_TO_BYTES:
            log.info("store_not_read_through", reason="large")
        elif (trouble := self.damage()) is not None:
            raise StoreError(
                f"{self.path}: the store is damaged ({trouble}); move the file away and restore the newest copy with "
                "`livecordon db restore`, or salvage it with `sqlite3 FILE .recover`",
                reason="corrupt",
                retryable=False,
            )

    def damage(self) -> str | None:
        """Read the whole file and say what is wrong with it; None if nothing is, or if it is no database at all."""
        try:
            with closing(sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_MS / 1_000)) as plain:
                found = [str(row[0]) for row in plain.execute("PRAGMA quick_check(1)")]
        except sqlite3.DatabaseError as error:
            name = getattr(error, "sqlite_errorname", "")
            return "its pages do not fit together" if name.startswith("SQLITE_CORRUPT") else None
        return None if found == ["ok"] else "its pages do not fit together"

    def save_copy(self, target: Path) -> None:
        """Write a consistent copy to `target`, which must not exist, while others read and write. Blocking.

        Raises:
            sqlite3.Error: it cannot be read or written; nothing half-written stays.
            OSError: likewise.
        """
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640))
        try:
            with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(target)) as copy:
                source.backup(copy)
            with target.open("rb") as written:
                os.fsync(written.fileno())
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def size_bytes(self) -> int:
        """Return the size of the file and of what is not merged into it yet. Blocking.

        Raises:
            StoreError: it cannot be looked at.
        """
        try:
            waiting = self.path.with_name(f"{self.path.name}-wal")
            return self.path.stat().st_size + (waiting.stat().st_size if waiting.exists() else 0)
        except OSError as error:
            raise StoreError("the store's file cannot be looked at", reason="io_error") from error

    def engine(self) -> AsyncEngine:
        """Return the engine that the daemon works with."""
        # Without hide_parameters the driver's errors quote stream names and alerts, and land in the log.
        engine = create_async_engine(self._url("sqlite+aiosqlite"), hide_parameters=True, async_creator=self._connect)
        event.listen(engine.sync_engine, "connect", _set_pragmas)
        event.listen(engine.sync_engine, "begin", _begin_immediate)
        return engine

    def migrating_engine(self) -> Engine:
        """Return an engine on which changes of the schema are in the caller's transaction."""
        engine = create_engine(self._url("sqlite"), poolclass=NullPool, hide_parameters=True)
        event.listen(engine, "connect", _own_transactions)
        event.listen(engine, "begin", _begin_immediate)
        return engine

    def before_migration(self, revision: str) -> None:
        """Keep the file as it was under `revision` beside it; a copy that is there already is kept. Blocking."""
        copy = self.path.with_name(f"{self.path.name}.before-{revision}")
        if not copy.exists():
            self.save_copy(copy)
            log.info("store_copied_before_migration", revision=revision)

    def reason_of(self, error: SQLAlchemyError) -> str | None:
        """Return the static word for what went wrong; None when there is none."""
        name = getattr(error.orig, "sqlite_errorname", "") if isinstance(error, DBAPIError) else ""
        # SQLITE_IOERR_WRITE and its like are kinds of SQLITE_IOERR.
        return next((word for code, word in _REASONS.items() if name.startswith(code)), None)

    async def _connect(self) -> OneHopConnection:
        connection = OneHopConnection(lambda: sqlite3.connect(self.path), _ROWS_AT_ONCE)
        # A thread that waits for a disk must not keep the process from ending.
        connection._thread.daemon = True
        _ = await connection
        return connection

    def _url(self, driver: str) -> URL:
        return URL.create(driver, database=str(self.path))


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


def _begin_immediate(connection: Connection) -> None:
    # A deferred transaction that later writes can fail with "database is locked" in the middle; taking the write
    # lock first waits for it instead.
    read_only = connection.get_execution_options().get("livecordon_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
