from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from monitor.watch.messages import WatcherStats
from monitor.watch.view import WatcherView, count_more, show_room
from tests.fakes.samples import growth, sample


def stats(decode_cpu_s: float, inference_s: float, *, dropped: int = 0) -> WatcherStats:
    return WatcherStats(10, {"overload": dropped}, decode_cpu_s, inference_s, resident_bytes=1000)


def test_what_watchers_add_up_is_counted_over_their_deaths() -> None:
    decoding = growth("livecordon_decode_cpu_seconds_total")
    inference = growth("livecordon_inference_seconds_total")
    dropped = growth("livecordon_clips_dropped_total", reason="overload")
    child: Any = SimpleNamespace(stats=None)
    for total in (stats(2.0, 1.0, dropped=3), stats(5.0, 1.5, dropped=3), stats(0.5, 0.0, dropped=0)):
        # The last one is a new process, which begins at zero.
        child.stats = None if total.decode_cpu_s < 1 else child.stats
        count_more(child, total)
        child.stats = total
    assert (round(decoding(), 6), round(inference(), 6), dropped()) == (5.5, 1.5, 3)


def test_the_memory_of_all_watchers_is_shown() -> None:
    view = WatcherView(
        pid=7,
        ready=True,
        spare=False,
        quarantine=False,
        streams=(),
        restarts=0,
        reserved_cores=0.5,
        capacity_cores=1.0,
        stats=stats(0, 0),
    )
    show_room([view, view])
    assert sample("livecordon_watchers_resident_bytes") == 2000
    assert sample("livecordon_watcher_fullest_ratio") == 0.5
