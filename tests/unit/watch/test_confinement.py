from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import textwrap

import pytest

from monitor.watch import confinement

linux = pytest.mark.skipif(sys.platform != "linux", reason="prctl and per-thread niceness are Linux's")


def in_child(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: what is confined stays confined."""
    program = "import os, resource, threading\nfrom pathlib import Path\nfrom monitor.watch import confinement\n"
    return subprocess.run(
        [sys.executable, "-c", program + textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=False
    )


@linux
def test_the_parents_death_is_noticed_even_if_it_came_first() -> None:
    done = in_child("confinement.die_with_parent(1 if os.getppid() != 1 else 2); print('still here')")
    assert (done.returncode, done.stdout) == (0, "")
    done = in_child("print(confinement.die_with_parent(os.getppid()))")
    assert done.stdout.strip() == "True"


@linux
def test_no_new_privileges_can_be_gained() -> None:
    done = in_child("confinement.forbid_new_privileges(); print(Path('/proc/self/status').read_text())")
    assert "NoNewPrivs:\t1" in done.stdout


def test_memory_beyond_the_bound_is_refused() -> None:
    done = in_child(
        """
        confinement.limit_address_space(400 * 2**20)
        try:
            bytearray(2**30)
        except MemoryError:
            print("refused")
        """
    )
    assert done.stdout.strip() == "refused"


def test_no_bound_is_set_by_zero() -> None:
    done = in_child(
        """
        before = resource.getrlimit(resource.RLIMIT_AS)
        confinement.limit_address_space(0)
        assert resource.getrlimit(resource.RLIMIT_AS) == before
        confinement.forbid_core_dumps()
        print(resource.getrlimit(resource.RLIMIT_CORE))
        """
    )
    assert done.stdout.strip() == "(0, 0)"


@linux
def test_only_the_threads_priority_is_lowered() -> None:
    done = in_child(
        """
        def lower():
            assert confinement.lower_thread_priority(4, threading.get_native_id())
            print(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) - base)
        base = os.getpriority(os.PRIO_PROCESS, os.getpid())
        thread = threading.Thread(target=lower)
        thread.start()
        thread.join()
        print(os.getpriority(os.PRIO_PROCESS, os.getpid()) - base)
        """
    )
    # Whoever runs the tests at a low priority leaves less to lower, down to nothing.
    room = 19 - os.getpriority(os.PRIO_PROCESS, os.getpid())
    assert done.stdout.split() == [str(min(4, room)), "0"]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="glibc's")
def test_memory_that_threads_left_in_holes_is_given_back() -> None:
    done = in_child(
        """
        import ctypes
        pieces = [ctypes.create_string_buffer(b"x" * 60_000, 60_000) for _ in range(1000)]
        del pieces[:-1]  # the last one stands at the top, so that nothing below goes back by itself
        held = confinement.resident_bytes()
        confinement.return_free_memory()
        print(held - confinement.resident_bytes() > 40_000_000)
        """
    )
    assert done.stdout.strip() == "True", done.stderr


def test_resident_memory_is_that_of_this_process() -> None:
    before = confinement.resident_bytes()
    ballast = bytearray(os.urandom(1024)) * 50_000
    assert confinement.resident_bytes() - before > 30_000_000
    assert len(ballast) > 0
