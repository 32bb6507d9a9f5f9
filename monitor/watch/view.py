"""Watchers as operators see them."""

from __future__ import annotations

from dataclasses import dataclass

from monitor import metrics
from monitor.watch.child import WatcherChild
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


def view_of(child: WatcherChild, spare: bool, quarantine: bool, restarts: int) -> WatcherView:
    """Return what operators see of a watcher."""
    return WatcherView(
        pid=child.pid,
        ready=child.ready is not None,
        spare=spare,
        quarantine=quarantine,
        streams=tuple(child.streams),
        restarts=restarts,
        stats=child.stats,
    )


def count_more(child: WatcherChild, stats: WatcherStats) -> None:
    """Add to the metrics what a watcher's new totals have more than its last ones."""
    before, dropped_before = child.stats, {} if child.stats is None else child.stats.clips_dropped
    metrics.SPOOL_FAILURES.inc(max(0, stats.spool_failures - (0 if before is None else before.spool_failures)))
    for reason in metrics.DROP_REASONS:
        if (more := stats.clips_dropped.get(reason, 0) - dropped_before.get(reason, 0)) > 0:
            metrics.CLIPS_DROPPED.labels(reason).inc(more)
