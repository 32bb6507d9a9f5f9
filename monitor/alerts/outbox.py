"""Delivers alerts from the store until each is taken or given up. Everything it must remember is in the store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.alerts.line import Line, OnDisabled, Surroundings
from monitor.alerts.port import Receiver
from monitor.alerts.reader import Reader
from monitor.alerts.recorder import Recorder
from monitor.clock import Clock
from monitor.store import deliveries
from monitor.store.database import Database

log = structlog.get_logger()


class Outbox:
    """An async context manager that delivers in the background while it is open, one `monitor.alerts.line.Line` per receiver.

    No receiver waits for another. New alerts go first and in order, then those to be tried again. Delivery is at least
    once: a daemon that dies between a receiver's answer and its record repeats the alert under the same id. Leaving the
    context breaks attempts off; their rows stay pending for the next start.

    Attributes:
        on_disabled: Has people told that a receiver answered 410, in the transaction that notes it.
    """

    def __init__(
        self,
        database: Database,
        receivers: Sequence[Receiver],
        clock: Clock,
        *,
        jitter: Callable[[], float] = random.random,
        on_disabled: OnDisabled | None = None,
    ) -> None:
        """Prepare to deliver the rows in `database` to `receivers`.

        Args:
            database: Open for as long as the outbox is.
            receivers: Their names are the rows' receivers.
            clock: Says when rows are due; attempts time out in real time.
            jitter: Returns a random number in [0, 1) for each retry.
            on_disabled: See above; nobody is told by default.
        """
        self._database = database
        self._clock = clock
        self._jitter = jitter
        self.on_disabled = on_disabled or _nobody_is_told
        self._reader = Reader(database)
        self._recorder = Recorder(database, clock)
        self._lines = self._lines_to(receivers)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def receiver_names(self) -> tuple[str, ...]:
        """Whom to enqueue alerts for."""
        return tuple(line.name for line in self._lines)

    async def __aenter__(self) -> Self:
        await self._warn_of_orphans()
        self._tasks = [asyncio.create_task(line.run(), name=f"outbox {line.name}") for line in self._lines]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._recorder.stop_trying()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._reader.finish()

    def wake(self) -> None:
        """Look for due rows at once; call it after the transaction that wrote them has committed."""
        for line in self._lines:
            line.wake()

    async def use(self, receivers: Sequence[Receiver]) -> None:
        """Deliver to these receivers from now on, with their secrets and addresses as they are now.

        Attempts under way are broken off and made anew under the same id. What waits for a receiver that is gone stays
        in the store, for the day on which it is back.
        """
        running = bool(self._tasks)
        await self.__aexit__(None, None, None)
        self._recorder = Recorder(self._database, self._clock)
        self._lines = self._lines_to(receivers)
        if running:
            await self.__aenter__()

    def _lines_to(self, receivers: Sequence[Receiver]) -> list[Line]:
        around = Surroundings(
            self._database,
            self._reader,
            self._recorder,
            self._clock,
            self._jitter,
            wake_all=self.wake,
            on_disabled=self._tell_of_disabled,
        )
        return [Line(receiver, around) for receiver in receivers]

    async def _tell_of_disabled(self, connection: AsyncConnection, receiver: str, cancelled: int, at: float) -> None:
        await self.on_disabled(connection, receiver, cancelled, at)

    async def _warn_of_orphans(self) -> None:
        async with self._database.reading() as connection:
            for receiver in sorted(await deliveries.awaited_receivers(connection) - set(self.receiver_names)):
                if (backlog := await deliveries.backlog(connection, receiver)).pending:
                    log.warning("alerts_wait_for_unknown_receiver", receiver=receiver, pending=backlog.pending)


async def _nobody_is_told(connection: AsyncConnection, receiver: str, cancelled: int, at: float) -> None:
    """Tell nobody."""
