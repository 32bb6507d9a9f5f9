"""Which streams matter more, where there is more to watch than the machine can: many viewers, new, or with strikes.

Nobody goes unwatched for it: a stream of weight 1 is looked at less often than one of weight 4, not never.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from monitor.clock import Clock
from monitor.daemon.discovery import OnListing
from monitor.daemon.streams import StreamRegistry, WatchedStream
from monitor.servers.port import LiveStream, MediaServer

_VIEWERS: Final = (10, 100)
_NEW_S: Final = 600.0
_MOST_STRIKES: Final = 2


class Weighing(Protocol):
    """Whoever watches."""

    async def set_weight(self, stream_id: str, weight: float) -> None:
        """Say how much a stream matters beside others."""
        ...


class Priorities:
    """Weighs streams after each listing."""

    def __init__(
        self,
        registry: StreamRegistry,
        watchers: Weighing,
        clock: Clock,
        strikes_of: Callable[[LiveStream], int],
        on_listing: OnListing,
    ) -> None:
        """Pass listings on to `on_listing`, and weigh what is live then by viewers, age and `strikes_of` its publisher."""
        self._registry = registry
        self._watchers = watchers
        self._clock = clock
        self._strikes_of = strikes_of
        self._on_listing = on_listing

    async def on_listing(self, server: MediaServer, listing: tuple[LiveStream, ...]) -> None:
        """Take in a listing; see `OnListing`."""
        await self._on_listing(server, listing)
        now = self._clock.now().timestamp()
        for stream_id, stream in self._registry.of_server(server.name).items():
            await self._watchers.set_weight(stream_id, self._weight(stream, now))

    def _weight(self, stream: WatchedStream, now: float) -> float:
        started = stream.live.started_at
        age_s = now - (stream.first_seen_at if started is None else started.timestamp())
        watched_by_many = sum(stream.live.viewers >= limit for limit in _VIEWERS)
        return 1.0 + watched_by_many + (age_s < _NEW_S) + 2 * min(self._strikes_of(stream.live), _MOST_STRIKES)
