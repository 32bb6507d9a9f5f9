"""Alerts that come thick and fast, told together: the first at once, the others in one message a while later.

What is a crisis is never kept back. What is kept back counts as under way: when the daemon dies meanwhile, it is sent
after the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from monitor.alerts.port import Attempt
from monitor.clock import Clock
from monitor.store.deliveries import DeliveryRecord, Priority

GATHERED_AT_ONCE: Final = 64
"""So many alerts of different incidents fit into one message; more make another."""

Tell = Callable[[Sequence[DeliveryRecord]], Awaitable[Attempt]]
"""Tells people one alert, or several in one message. Raises nothing but cancellation."""


@dataclass(slots=True)
class Gathering:
    """A carrier that sends through `tell`; without `window_s` each alert by itself."""

    tell: Tell
    clock: Clock
    window_s: float | None
    _quiet_until_s: float = float("-inf")
    _waiting: list[tuple[DeliveryRecord, asyncio.Future[Attempt]]] = field(default_factory=list)
    _sending: asyncio.Task[None] | None = None

    async def attempt(self, delivery: DeliveryRecord) -> Attempt:
        """Send it now, or together with others when the window ends; see `monitor.alerts.port.Carrier`."""
        now_s = self.clock.monotonic_s()
        if self.window_s is None or delivery.priority == Priority.CRISIS.value:
            return await self.tell([delivery])
        if now_s >= self._quiet_until_s and not self._waiting:
            self._quiet_until_s = now_s + self.window_s
            return await self.tell([delivery])
        future: asyncio.Future[Attempt] = asyncio.get_running_loop().create_future()
        entry = (delivery, future)
        self._waiting.append(entry)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_later(), name="gathered alerts")
        try:
            return await future
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    async def aclose(self) -> None:
        """Send nothing more; what waits stays in the outbox."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
            self._sending = None

    async def _send_later(self) -> None:
        while self._waiting:
            await self.clock.sleep(max(0.0, self._quiet_until_s - self.clock.monotonic_s()))
            together, self._waiting = self._waiting[:GATHERED_AT_ONCE], self._waiting[GATHERED_AT_ONCE:]
            if not together:
                break
            self._quiet_until_s = self.clock.monotonic_s() + (self.window_s or 0.0)
            attempt = await self.tell([delivery for delivery, _ in together])
            for _, future in together:
                if not future.done():
                    future.set_result(attempt)
        self._sending = None
