"""Watchers as operators see them."""

from __future__ import annotations

from collections.abc import Sequence
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
        spare: Whether it has no part in the watching: it waits to take over from another, or keeps what it saw of streams
            that it has given away.
        quarantine: Whether it holds streams that are suspected of killing watchers.
        streams: `stream_id` of each stream that it has.
        restarts: How often it has been replaced.
        reserved_cores: What its streams are reckoned to take, in core seconds per second: measured, or else typical.
        capacity_cores: What it can give, in the same unit.
        stats: Its latest running totals, or None before the first.
    """

    pid: int | None
    ready: bool
    spare: bool
    quarantine: bool
    streams: tuple[str, ...]
    restarts: int
    reserved_cores: float
    capacity_cores: float
    stats: WatcherStats | None


def view_of(
    child: WatcherChild, *, spare: bool, quarantine: bool, restarts: int, reserved_cores: float, capacity_cores: float
) -> WatcherView:
    """Return what operators see of a watcher."""
    return WatcherView(
        pid=child.pid,
        ready=child.ready is not None,
        spare=spare,
        quarantine=quarantine,
        streams=tuple(child.streams),
        restarts=restarts,
        reserved_cores=reserved_cores,
        capacity_cores=capacity_cores,
        stats=child.stats,
    )


def count_more(child: WatcherChild, stats: WatcherStats) -> None:
    """Add to the metrics what a watcher's new totals have more than its last ones."""
    before, dropped_before = child.stats, {} if child.stats is None else child.stats.clips_dropped
    metrics.SPOOL_FAILURES.inc(max(0, stats.spool_failures - (0 if before is None else before.spool_failures)))
    metrics.CLIPS_FALLBACK.inc(max(0, stats.clips_stood_in - (0 if before is None else before.clips_stood_in)))
    past = before or WatcherStats(0, {}, 0.0, 0.0, 0)
    metrics.SHADOW_CLIPS.labels("scored").inc(max(0, stats.shadow_scored - past.shadow_scored))
    metrics.SHADOW_CLIPS.labels("dropped").inc(max(0, stats.shadow_dropped - past.shadow_dropped))
    metrics.SHADOW_CPU.inc(max(0.0, stats.shadow_cpu_s - past.shadow_cpu_s))
    metrics.DECODE_CPU.inc(max(0.0, stats.decode_cpu_s - past.decode_cpu_s))
    metrics.INFERENCE_SECONDS.inc(max(0.0, stats.inference_s - past.inference_s))
    if stats.shadow_trouble and not past.shadow_trouble:
        metrics.SHADOW_FAILURES.inc()
    for reason in metrics.DROP_REASONS:
        if (more := stats.clips_dropped.get(reason, 0) - dropped_before.get(reason, 0)) > 0:
            metrics.CLIPS_DROPPED.labels(reason).inc(more)


def show_room(views: Sequence[WatcherView]) -> None:
    """Put what is reserved, what there is to reserve, and what watchers take into the metrics."""
    metrics.WATCHERS_RESIDENT.set(sum(view.stats.resident_bytes for view in views if view.stats is not None))
    sharing = [view for view in views if view.ready and not view.spare and not view.quarantine]
    metrics.WATCHERS_RESERVED_CORES.set(sum(view.reserved_cores for view in sharing))
    metrics.WATCHERS_CAPACITY_CORES.set(sum(view.capacity_cores for view in sharing))
    metrics.WATCHER_FULLEST.set(max((view.reserved_cores / view.capacity_cores for view in sharing), default=0.0))
