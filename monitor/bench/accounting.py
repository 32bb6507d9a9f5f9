"""What watcher processes use, from what each tells with its answers to pings and from what the system knows of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.watch.messages import WatcherStats


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One watcher's running totals at one moment.

    Attributes:
        at_s: When, on the monotonic clock.
        cpu_s: Processor time of the process, or None where the system does not tell.
        stats: What it said itself.
    """

    at_s: float
    cpu_s: float | None
    stats: WatcherStats


@dataclass(frozen=True, slots=True)
class Usage:
    """What all watchers together used.

    Attributes:
        cores: Processor seconds per second, or None where the system does not tell.
        decode_cores: The same for the streams' own threads.
        dropped: Clips given up.
        resident_bytes: Memory at the end.
    """

    cores: float | None
    decode_cores: float
    dropped: int
    resident_bytes: int


def used(watchers: Sequence[Sequence[Snapshot]]) -> Usage | None:
    """Return what was used from the first to the last snapshot of each watcher; None where one has fewer than two."""
    if any(len(snapshots) < 2 for snapshots in watchers):
        return None
    ends = [(snapshots[0], snapshots[-1]) for snapshots in watchers]
    cores = [
        None if first.cpu_s is None or last.cpu_s is None else (last.cpu_s - first.cpu_s) / (last.at_s - first.at_s)
        for first, last in ends
    ]
    return Usage(
        cores=None if None in cores else sum(one or 0.0 for one in cores),
        decode_cores=sum(
            (last.stats.decode_cpu_s - first.stats.decode_cpu_s) / (last.at_s - first.at_s) for first, last in ends
        ),
        dropped=sum(_dropped(last) - _dropped(first) for first, last in ends),
        resident_bytes=sum(last.stats.resident_bytes for _, last in ends),
    )


def _dropped(snapshot: Snapshot) -> int:
    return sum(snapshot.stats.clips_dropped.values())


def process_cpu_s(pid: int | None) -> float | None:
    """Return the processor time of a process so far, its threads included; None where there is no /proc."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The name, in brackets, may hold blanks; user and system time are the 14th and 15th field.
    fields = told.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
