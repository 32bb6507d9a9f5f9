from __future__ import annotations

import os
import time

import pytest

from monitor.bench.accounting import Snapshot, process_cpu_s, used
from monitor.watch.messages import WatcherStats


def snapshot(at_s: float, cpu_s: float | None, decode_cpu_s: float, *, dropped: int = 0) -> Snapshot:
    stats = WatcherStats(
        clips_scored=0,
        clips_dropped={"superseded": dropped, "stopped": 1},
        decode_cpu_s=decode_cpu_s,
        inference_s=0.0,
        resident_bytes=100,
    )
    return Snapshot(at_s, cpu_s, stats)


def test_each_watchers_use_is_measured_over_its_own_time() -> None:
    busy = [snapshot(0.0, 5.0, 4.0, dropped=2), snapshot(1.0, 5.7, 4.5), snapshot(4.0, 7.0, 5.6, dropped=5)]
    idle = [snapshot(0.5, 1.0, 0.5), snapshot(2.5, 1.2, 0.6)]
    usage = used([busy, idle])
    assert usage is not None
    assert usage.cores == pytest.approx(0.5 + 0.1)
    assert usage.decode_cores == pytest.approx(0.4 + 0.05)
    assert usage.dropped == 3
    assert usage.resident_bytes == 200


def test_a_watcher_that_did_not_answer_twice_leaves_nothing_to_tell() -> None:
    assert used([[snapshot(0.0, 1.0, 1.0)], [snapshot(0.0, 1.0, 1.0), snapshot(1.0, 2.0, 2.0)]]) is None


def test_a_system_that_does_not_tell_processor_time() -> None:
    usage = used([[snapshot(0.0, None, 1.0), snapshot(1.0, None, 1.2)]])
    assert usage is not None
    assert usage.cores is None
    assert usage.decode_cores == pytest.approx(0.2)


def test_processor_time_of_a_process_is_read() -> None:
    until_s = time.process_time() + 0.1
    while time.process_time() < until_s:
        pass
    told = process_cpu_s(os.getpid())
    # The system counts in hundredths of a second.
    assert told == pytest.approx(time.process_time(), abs=0.15)
    assert process_cpu_s(2**22 + 1) is None
