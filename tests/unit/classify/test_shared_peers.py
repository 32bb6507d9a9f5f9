from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap

from monitor.classify.shared import peers

VISITOR = """
import socket, sys, os
if sys.argv[2] == "grandchild":
    if os.fork():
        os.wait()
        sys.exit()
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect("\\0" + sys.argv[1])
connection.recv(1)
"""


def visited(kind: str) -> tuple[peers.Peer | None, int]:
    """Return what the listener makes of a child of this process, or of a child of that."""
    with peers.listen(1) as listener:
        listener.settimeout(20)
        command = [sys.executable, "-c", textwrap.dedent(VISITOR), peers.address_of(listener), kind]
        with subprocess.Popen(command) as process:
            connection, _ = listener.accept()
            with connection:
                return peers.child_of(connection, os.getpid()), process.pid


def test_the_daemons_own_children_are_let_in_and_told_apart() -> None:
    peer, pid = visited("child")
    assert peer is not None
    assert peer.pid == pid
    assert peer.started > 0


def test_what_a_watcher_starts_is_not_let_in() -> None:
    assert visited("grandchild")[0] is None


def test_a_connection_tells_who_listens() -> None:
    with peers.listen(1) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(f"\0{peers.address_of(listener)}")
        assert peers.belongs_to(connection, os.getpid())
        assert not peers.belongs_to(connection, os.getppid())


def test_names_cannot_be_guessed_and_leave_no_file() -> None:
    with peers.listen(1) as one, peers.listen(1) as other:
        assert peers.address_of(one) != peers.address_of(other)
        assert len(peers.address_of(one)) > 40
        assert one.getsockname().startswith(b"\0")
