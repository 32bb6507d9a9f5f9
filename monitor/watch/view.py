"""Watchers as operators see them."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.watch.messages import WatcherStats


@dataclass(frozen=True, slots=True)
class WatcherView:
    """One watcher as operators see it.

    Attributes:
        pid: Its process, or None while there is none.
        ready: Whether its model is loaded.
        spare: Whether it waits to take over from another.
        quarantine: Whether it holds streams that are suspected of killing watchers.
        streams: `stream_id` of each stream that it has.
        restarts: How often it has been replaced.
        stats: Its latest running totals, or None before the first.
    """

    pid: int | None
    ready: bool
    spare: bool
    quarantine: bool
    streams: tuple[str, ...]
    restarts: int
    stats: WatcherStats | None
