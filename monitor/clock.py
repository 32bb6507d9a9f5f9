"""Time as a dependency, so that deadlines can be tested without waiting."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where every part of the daemon gets its time from."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds on a clock that never goes back; only differences mean something."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait `delay_s` seconds; cancellation ends the wait at once."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(max(0.0, delay_s))


async def wait_until(clock: Clock, event: asyncio.Event, delay_s: float | None) -> bool:
    """Wait for `event`, at most `delay_s` seconds of `clock` (None: for ever); cancellation ends both waits.

    Returns:
        Whether the event is set.
    """
    if delay_s is None:
        return await event.wait()
    if event.is_set():
        return True
    waiting = asyncio.ensure_future(event.wait())
    sleeping = asyncio.ensure_future(clock.sleep(delay_s))
    try:
        await asyncio.wait((waiting, sleeping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        sleeping.cancel()
        await asyncio.gather(waiting, sleeping, return_exceptions=True)
    return event.is_set()
