"""Writes down what receivers answered: together, so that a burst of alerts waits for the disk a few times only."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock
from monitor.errors import StoreError
from monitor.metrics import STORE_FAILURES
from monitor.store import deliveries
from monitor.store.database import Database
from monitor.store.deliveries import Taken

_T = TypeVar("_T")

_TOGETHER: Final = 256
_RETRY_S: Final = 1.0

log = structlog.get_logger()


class Recorder:
    """What was answered must not be forgotten for a moment's trouble with the store: it is tried again every second."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Write to `database`, which is open for as long as this is used."""
        self._database = database
        self._clock = clock
        self._waiting: deque[tuple[Taken, asyncio.Future[None]]] = deque()
        self._flushing: asyncio.Task[None] | None = None
        self._stopping = False

    def stop_trying(self) -> None:
        """Let what the store refuses from now on fail: the daemon stops."""
        self._stopping = True

    async def delivered(self, taken: Taken) -> None:
        """Note that a receiver took an alert, together with what others take meanwhile; durable on return.

        Raises:
            StoreError: it could not be written, and `stop_trying` was called.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((taken, done))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush(), name="delivery recorder")
        await done

    async def write(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        """Do what `monitor.store.database.Database.write` does, again and again.

        Raises:
            StoreError: it could not be written, and `stop_trying` was called.
        """
        while True:
            try:
                return await self._database.write(work)
            except StoreError as error:
                STORE_FAILURES.inc()
                log.error("delivery_not_recorded", reason=error.reason)  # noqa: TRY400  # messages quote what was to be written
                if self._stopping:
                    raise
                await self._clock.sleep(_RETRY_S)

    async def _flush(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_TOGETHER, len(self._waiting)))]
            taken = [one for one, _ in batch]
            try:
                await self.write(lambda connection, taken=taken: deliveries.record_delivered(connection, taken))  # type: ignore[misc]  # a default binds this round's list
            except Exception as error:  # noqa: BLE001  # handed to whoever wanted it written
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)
        self._flushing = None
