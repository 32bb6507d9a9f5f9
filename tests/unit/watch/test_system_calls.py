"""A process that gave up system calls, tried for real."""

from __future__ import annotations

import platform
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="seccomp as it is known here"
)

_BEGIN = """
import ctypes, os, signal, socket, subprocess, threading
from monitor.watch import confinement
from monitor.watch.system_calls import give_up_system_calls

def said(what):
    try:
        return what()
    except OSError as error:
        return f"errno {error.errno}"

def give_up():
    confinement.forbid_new_privileges()
    assert give_up_system_calls()
"""


def in_child(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "what",
    [
        "os.execv('/bin/true', ['true'])",
        "subprocess.run(['/bin/true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.fork()",
        "os.kill(os.getppid(), 0)",
        "os.kill(os.getpid(), 0)",
        "socket.create_server(('127.0.0.1', 0))",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
        "os.chroot('/')",
    ],
)
def test_what_a_watcher_has_no_use_for_is_refused(what: str) -> None:
    assert in_child(f"give_up(); print(said(lambda: {what}))") == "errno 1"


def test_other_processes_cannot_be_looked_into() -> None:
    code = """
    libc = ctypes.CDLL(None, use_errno=True)
    give_up()
    for call in (lambda: libc.ptrace(0, 0, 0, 0), lambda: libc.process_vm_readv(os.getppid(), 0, 0, 0, 0, 0)):
        print(call(), ctypes.get_errno())
    """
    assert in_child(code).split() == ["-1", "1", "-1", "1"]


def test_threads_that_run_already_are_held_to_it_too() -> None:
    code = """
    go = threading.Event()
    thread = threading.Thread(target=lambda: (go.wait(), print(said(lambda: os.execv("/bin/true", ["true"])))))
    thread.start()
    give_up()
    go.set()
    thread.join()
    """
    assert in_child(code) == "errno 1"


def test_what_a_watcher_needs_still_works() -> None:
    code = """
    server = socket.create_server(("127.0.0.1", 0))
    give_up()
    print(socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM) != [])
    socket.create_connection(server.getsockname()).close()
    found = []
    thread = threading.Thread(target=lambda: found.append(os.getpid()))
    thread.start()
    thread.join()
    print(found == [os.getpid()])
    """
    assert in_child(code).split() == ["True", "True"]


def test_a_crash_still_ends_it_with_its_signal() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + "give_up(); confinement.forbid_core_dumps(); os.abort()"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -6
