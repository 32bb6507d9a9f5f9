"""The connection to the store: opening, transactions, and writes that share one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from sqlalchemy import URL, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from monitor.errors import StoreError
from monitor.metrics import STORE_SECONDS
from monitor.store.migrating import migrate
from monitor.store.one_hop import run_in_one_hop
from monitor.store.postgres import PostgresBackend
from monitor.store.sqlite import SqliteBackend
from monitor.store.tables import writer

_T = TypeVar("_T")

_TOGETHER: Final = 64
"""How many writes share one commit at most: enough to outrun the disk, few enough that none waits long."""


@dataclass(frozen=True, slots=True, eq=False)
class _Write:
    work: Callable[[AsyncConnection], Awaitable[Any]]
    done: asyncio.Future[Any]


class Database:
    """The store: an SQLite file (WAL, ``synchronous=FULL``) or a PostgreSQL database. A commit that returned is durable.

    An async context manager; entering migrates the schema to the newest version. One writer at a time:
    `transaction` holds a lock, so that a read inside it is never stale.
    """

    def __init__(self, place: Path | URL, *, migrates: bool = True) -> None:
        """Prepare to open the SQLite file, whose folder is created on entering, or the PostgreSQL database at `place`.

        Args:
            place: Where the store is.
            migrates: Make what is missing, and bring it to the newest schema; else it is opened as it is.

        Raises:
            StoreError: PostgreSQL is asked for, and its driver is not installed.
        """
        self._backend = SqliteBackend(place) if isinstance(place, Path) else PostgresBackend(place)
        self._migrates = migrates
        self._engine: AsyncEngine | None = None
        self._write_lock = asyncio.Lock()
        self._queue: deque[_Write] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._epoch: int | None = None

    @property
    def engine(self) -> AsyncEngine:
        """The SQLAlchemy engine; RuntimeError before entering."""
        if self._engine is None:
            message = "the database is not open"
            raise RuntimeError(message)
        return self._engine

    async def __aenter__(self) -> Self:
        backend = self._backend
        try:
            if self._migrates:
                await asyncio.to_thread(_prepare, backend)
            self._engine = backend.engine()
            async with self._engine.connect() as connection:
                await connection.execute(text("SELECT 1 FROM incident LIMIT 1"))
        except (SQLAlchemyError, OSError) as error:
            await self.__aexit__(None, None, None)
            word = backend.reason_of(error) if isinstance(error, SQLAlchemyError) else None
            refused = StoreError(
                f"{backend.shown}: the store cannot be opened ({word or type(error).__name__}); {backend.mend}",
                reason="corrupt" if word == "corrupt" and _is_torn(error) else "open_failed",
            )
            # PostgreSQL's messages quote values and addresses.
            raise refused from (error if isinstance(backend, SqliteBackend) else None)
        except BaseException:
            # A connection that is left open keeps its thread, and the process, from ending.
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is not None:
            await asyncio.wait({self._writer})
        if self._engine is not None:
            engine, self._engine = self._engine, None
            await engine.dispose()

    async def claim(self) -> None:
        """Become the one daemon of this store: whoever claimed it before can write no more.

        A second guard behind `monitor.store.ownership`, for a daemon that lost its lock with its connection to
        PostgreSQL and does not know it.

        Raises:
            StoreError: nothing was claimed.
        """
        async with self.transaction() as connection:
            await connection.execute(update(writer).values(epoch=writer.c.epoch + 1))
            epoch: int = (await connection.execute(select(writer.c.epoch))).scalar_one()
        self._epoch = epoch

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection inside one write transaction; commits on leaving, rolls back on any exception.

        Raises:
            StoreError: the database refused, or another daemon has claimed it (`reason` ``in_use``); nothing of the
                transaction was kept. Where the connection broke at the commit (``unreachable``), it may have been.
        """
        with STORE_SECONDS.labels("write").time():
            async with self._write_lock:
                try:
                    async with self.engine.begin() as connection:
                        if isinstance(self._backend, PostgresBackend):
                            await self._wait_turn(connection)
                        yield connection
                except SQLAlchemyError as error:
                    refusal = self._refusal("write", error)
                    raise refusal from (error if isinstance(self._backend, SqliteBackend) else None)

    async def write(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        """Run `work` in a write transaction that it may share with others; durable on return.

        What several callers want written at the same time is committed together: the disk is waited for once. If one of
        them fails, nothing of any is kept, and each is run again in a transaction of its own: `work` may run twice,
        must leave no trace but in the database, may await nothing but its connection, and runs in another thread. A caller
        that is cancelled may find its work done or not done.

        Raises:
            StoreError: the database refused; nothing of `work` was kept; see `transaction`.
        """
        done: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Write(work, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._work_off(), name="store writer")
        return await done

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection for reading only; sees a consistent snapshot and blocks no writer.

        Raises:
            StoreError: the database refused.
        """
        with STORE_SECONDS.labels("read").time():
            try:
                async with self.engine.connect() as connection:
                    yield await connection.execution_options(livecordon_read_only=True)
            except SQLAlchemyError as error:
                raise self._refusal("read", error) from (error if isinstance(self._backend, SqliteBackend) else None)

    async def size_bytes(self) -> int:
        """Return how much room the store takes on its disk.

        Raises:
            StoreError: nobody knows.
        """
        if isinstance(self._backend, SqliteBackend):
            return await asyncio.to_thread(self._backend.size_bytes)
        async with self.reading() as connection:
            size: int = (await connection.execute(text("SELECT pg_database_size(current_database())"))).scalar_one()
        return size

    async def check_writable(self) -> None:
        """Write something harmless, so that a full or read-only disk is noticed before an incident needs it.

        Raises:
            StoreError: nothing can be written now.
        """
        async with self.transaction() as connection:
            await connection.execute(update(writer).values(epoch=writer.c.epoch))

    async def _wait_turn(self, connection: AsyncConnection) -> None:
        # The row's lock is what BEGIN IMMEDIATE is in SQLite, and its content tells who may write.
        epoch = (await connection.execute(select(writer.c.epoch).with_for_update())).scalar_one()
        if self._epoch not in (None, epoch):
            raise StoreError(
                "another Livecordon daemon has taken over this store", reason="in_use", retryable=False
            ) from None

    async def _work_off(self) -> None:
        batch: list[_Write] = []
        try:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(_TOGETHER, len(self._queue)))]
                batch = [one for one in batch if not one.done.done()]
                if batch and not await self._write_together(batch):
                    for one in batch:
                        await self._write_together([one])
        finally:
            self._writer = None
            # Whoever waits to the end, come what may, must not wait for a writer that was cancelled.
            for one in (*batch, *self._queue):
                one.done.cancel()
            self._queue.clear()

    async def _write_together(self, batch: list[_Write]) -> bool:
        """Commit a batch at once; False when it failed and each is worth a transaction of its own."""
        try:
            async with self.transaction() as connection:
                results = await run_in_one_hop(connection, _each(connection, batch))
        except Exception as error:  # noqa: BLE001 - handed to whoever wanted it written
            # A store that takes nothing now is not asked again for each.
            if len(batch) > 1 and not (isinstance(error, StoreError) and error.reason != "write_failed"):
                return False
            for one in batch:
                if not one.done.done():
                    one.done.set_exception(error)
        else:
            for one, result in zip(batch, results, strict=True):
                if not one.done.done():
                    one.done.set_result(result)
        return True

    def _refusal(self, what: str, error: SQLAlchemyError) -> StoreError:
        reason = self._backend.reason_of(error)
        return StoreError(
            f"a {what} {'to' if what == 'write' else 'from'} the store failed ({reason or type(error).__name__})",
            reason=reason or f"{what}_failed",
        )


async def _each(connection: AsyncConnection, batch: Sequence[_Write]) -> list[Any]:
    return [await one.work(connection) for one in batch]


def _prepare(backend: SqliteBackend | PostgresBackend) -> None:
    backend.prepare()
    migrate(backend)


def _is_torn(error: BaseException) -> bool:
    return getattr(getattr(error, "orig", None), "sqlite_errorname", "").startswith("SQLITE_CORRUPT")
