"""Who is at the other end of a Unix socket: only the daemon's own processes may be. Linux only."""

from __future__ import annotations

import os
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CREDENTIALS: Final = struct.Struct("iII")


@dataclass(frozen=True, slots=True)
class Peer:
    """One process, told apart from a later one of the same number.

    Attributes:
        pid: Its number.
        started: When it started, in clock ticks since the system did.
    """

    pid: int
    started: int


def listen(backlog: int) -> socket.socket:
    """Return a listening socket under a new, unguessable name that leaves no file behind.

    The daemon makes it and keeps it: watchers wait in its queue while no classifier runs, nobody else can take the name,
    and who connects can tell by `belongs_to` that it is the daemon's.

    Raises:
        OSError: the system is out of descriptors.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(f"\0livecordon-{os.urandom(16).hex()}")
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the name under which a listener of `listen` is reached, fit for a command line."""
    name: bytes = listener.getsockname()
    return name[1:].decode("ascii")


def belongs_to(connection: socket.socket, pid: int) -> bool:
    """Whether process `pid` made the listener that `connection` is connected to."""
    return _pid_of(connection) == pid


def child_of(connection: socket.socket, parent_pid: int) -> Peer | None:
    """Return who has connected, if it is a child of `parent_pid`; None for everybody else.

    What a watcher starts, should anything take it over, is no child of the daemon. Users are not compared: watchers may
    run as others than the classifier.
    """
    pid = _pid_of(connection)
    try:
        # The name in parentheses may hold anything; what follows the last one is numbers.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        parent, started = int(fields[1]), int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
    return Peer(pid, started) if parent == parent_pid else None


def _pid_of(connection: socket.socket) -> int:
    assert sys.platform == "linux"  # noqa: S101 - narrows the platform; the settings refuse others
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, _, _ = _CREDENTIALS.unpack(raw)
    return int(pid)
