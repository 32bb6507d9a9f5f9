"""Time that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

START = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)
_REAL_DEADLINE_S = 10.0
_SETTLE_ROUNDS = 20


@dataclass(order=True)
class _Sleeper:
    due_s: float
    order: int
    woken: asyncio.Future[None] = field(compare=False)


class ManualClock:
    """A `monitor.clock.Clock` whose sleepers wake only when `advance` reaches them, in the order of their due times.

    Wall clock and monotonic clock move together, from `START` and from 0.
    """

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed_s = 0.0
        self._sleepers: list[_Sleeper] = []
        self._order = count()
        self._changed = asyncio.Event()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic_s(self) -> float:
        return self._elapsed_s

    async def sleep(self, delay_s: float) -> None:
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        sleeper = _Sleeper(self._elapsed_s + delay_s, next(self._order), asyncio.get_running_loop().create_future())
        heapq.heappush(self._sleepers, sleeper)
        self._changed.set()
        try:
            await sleeper.woken
        finally:
            if sleeper in self._sleepers:  # cancelled, not woken
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    @property
    def sleepers(self) -> int:
        """How many tasks sleep now."""
        return len(self._sleepers)

    @property
    def next_due_in_s(self) -> float | None:
        """Seconds until the first sleeper wakes, or None when nobody sleeps."""
        return self._sleepers[0].due_s - self._elapsed_s if self._sleepers else None

    async def wait_for_sleepers(self, at_least: int = 1) -> None:
        """Wait, in real time, until so many tasks sleep; TimeoutError after ten real seconds."""
        async with asyncio.timeout(_REAL_DEADLINE_S):
            while len(self._sleepers) < at_least:
                self._changed.clear()
                await self._changed.wait()

    async def advance(self, seconds: float) -> None:
        """Move time on; every sleeper due on the way wakes at its own due time and may sleep again on the way.

        Tasks that only compute between two sleeps are followed exactly. Tasks that wait for files or sockets in between
        are not: there, use `wait_for_sleepers` before the next `advance`.
        """
        target_s = self._elapsed_s + seconds
        while self._sleepers and self._sleepers[0].due_s <= target_s:
            sleeper = heapq.heappop(self._sleepers)
            self._elapsed_s = max(self._elapsed_s, sleeper.due_s)
            if not sleeper.woken.done():
                sleeper.woken.set_result(None)
            await self._settle()
        self._elapsed_s = target_s
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(_SETTLE_ROUNDS):
            await asyncio.sleep(0)
