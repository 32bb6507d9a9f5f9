"""What a watcher may do to its machine: little. Linux only; elsewhere each function does nothing and says so."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


def die_with_parent(parent_pid: int) -> bool:
    """Have the kernel kill this process when its parent ends, and end now if the parent is gone already.

    Returns:
        False where the system offers no such thing; the end of standard input must do then.
    """
    if not _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL):
        return False
    if os.getppid() != parent_pid:
        # The parent died between fork and prctl: no signal will come any more.
        os._exit(0)
    return True


def forbid_new_privileges() -> bool:
    """Make set-user-id programs useless to whatever might take over this process. Returns whether it worked."""
    return _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def limit_address_space(limit_bytes: int) -> None:
    """Bound this process's virtual memory; 0 sets no bound. A lower hard limit stays in force."""
    if limit_bytes <= 0:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        limit_bytes = min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def forbid_core_dumps() -> None:
    """Write no core file on a crash: it would hold decoded pictures and stream addresses."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def forbid_inspection() -> bool:
    """Let no other process of this user read this one's memory or take its descriptors. Returns whether it worked."""
    return _prctl(_PR_SET_DUMPABLE, 0)


def lower_thread_priority(nice: int, thread_id: int) -> bool:
    """Add `nice` (0-19) to the niceness of one native thread of this process.

    Returns:
        False where niceness belongs to whole processes, or the system refused.
    """
    if sys.platform != "linux":
        return False
    try:
        base = os.getpriority(os.PRIO_PROCESS, os.getpid())
        os.setpriority(os.PRIO_PROCESS, thread_id, min(19, base + nice))
    except OSError:
        return False
    return True


def resident_bytes() -> int:
    """Return this process's resident memory; its peak where the present value cannot be read."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * resource.getpagesize()


def return_free_memory() -> bool:
    """Give memory that is free but held by the C library back to the system; takes a few milliseconds.

    Returns:
        Whether any was given back; False where the C library offers no such thing.
    """
    if sys.platform != "linux":
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(ctypes.c_size_t(0)))


def _prctl(option: int, value: int) -> bool:
    if sys.platform != "linux":
        return False
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return int(prctl(option, ctypes.c_ulong(value), 0, 0, 0)) == 0
