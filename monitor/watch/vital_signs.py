"""What the system knows of a process that does not answer: stopped, asleep, or only short of processor time. Linux only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class VitalSigns:
    """One look at a process.

    Attributes:
        stopped: It was stopped by a signal, and runs again only when somebody says so.
        wants_to_run: At least one of its threads runs, waits for a processor, or waits for a disk.
        cpu_s: Processor time of all its threads so far, in seconds.
    """

    stopped: bool
    wants_to_run: bool
    cpu_s: float


def look_at(pid: int) -> VitalSigns | None:
    """Return how a process is; None where the system does not tell, or it is gone."""
    process = Path(f"/proc/{pid}")
    try:
        fields = _fields(process / "stat")
        states = [fields[0]]
        for thread in (process / "task").iterdir():
            try:
                states.append(_fields(thread / "stat")[0])
            except (FileNotFoundError, ProcessLookupError):
                # Threads end while one looks.
                continue
    except (OSError, IndexError):
        return None
    # User and system time, the 14th and 15th field of the line.
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return VitalSigns(stopped=fields[0] == "T", wants_to_run=not {"R", "D"}.isdisjoint(states), cpu_s=cpu_s)


def _fields(stat: Path) -> list[str]:
    # The name, in brackets, may hold blanks and brackets; the state is what follows it.
    return stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
