"""A shared classifier inside the test's own process, and watchers' ends for it: real sockets and memory, a toy scorer."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.classify.manifest import Manifest
from monitor.classify.package import read_manifest
from monitor.classify.shared import peers
from monitor.classify.shared.client import SharedClassifier
from monitor.classify.shared.peers import Peer
from monitor.classify.shared.server import ClassifierServer
from monitor.classify.shared.slots import SlotLayout
from monitor.errors import ClassifierError

SLOTS = 4


@dataclass
class Scorer:
    """Scores the toy motion package: brightness and slowness. Can be held, and can be made to fail.

    Attributes:
        go: Cleared, it keeps every batch until it is set again.
        broken: Every batch fails.
        batches: How many clips each batch had.
    """

    go: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    broken: bool = False
    batches: list[int] = field(default_factory=list)
    provider: str = "cpu"

    def score_prepared(self, feeds: dict[str, NDArray[Any]], clips: int) -> NDArray[np.float32]:
        """Score; pixels of value 13 break a batch."""
        self.batches.append(clips)
        self.entered.release()
        assert self.go.wait(30)
        if self.broken:
            raise ClassifierError("the device is gone")
        if bool((feeds["pixels"] == 13).any()):
            raise ClassifierError("unlucky pixels")
        return np.stack([feeds["pixels"].mean(axis=(1, 2, 3)) / 255, feeds["spacing"]], axis=1).astype(np.float32)


@dataclass
class Hall:
    """The running server and what is needed to reach it."""

    manifest: Manifest
    listener: socket.socket
    scorer: Scorer
    peers: list[Peer | None]
    faults: list[tuple[str, str]] = field(default_factory=list)
    server: ClassifierServer | None = None
    batch: int = SLOTS
    fill_s: float = 0.0
    ends: ExitStack = field(default_factory=ExitStack)

    def open(self) -> None:
        """Start a server, as a new classifier process would."""
        self.server = ClassifierServer(
            scorer=self.scorer,
            layout=SlotLayout.of(self.manifest, None, SLOTS),
            listener=self.listener,
            admit=self._admit,
            is_sound=lambda: not self.scorer.broken,
            on_fault=lambda reason, detail: self.faults.append((reason, detail)),
            batch=self.batch,
            fill_s=self.fill_s,
        )
        self.server.start()

    def _admit(self, connection: socket.socket) -> Peer | None:
        # Each connection plays another process, unless a test says who comes.
        return self.peers.pop(0) if self.peers else Peer(id(connection), 0)

    def close(self) -> None:
        """End the server; the listener stays, as it does in the daemon."""
        if self.server is not None:
            self.server.close(5)
            self.server = None

    def client(self, *, connect_patience_s: float = 5.0, answer_patience_s: float = 10.0) -> SharedClassifier:
        """Return a watcher's end."""
        client = SharedClassifier(
            self.manifest,
            None,
            peers.address_of(self.listener),
            is_trusted=lambda connection: peers.belongs_to(connection, os.getpid()),
            connect_patience_s=connect_patience_s,
            answer_patience_s=answer_patience_s,
        )
        self.ends.callback(client.close)
        return client

    def raw(self) -> socket.socket:
        """Return a bare connection, for those who do not keep to the rules."""
        connection = self.ends.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        connection.settimeout(10)
        connection.connect(f"\0{peers.address_of(self.listener)}")
        return connection


@contextmanager
def hall(package: Path, *, fill_s: float = 0.0) -> Iterator[Hall]:
    """Run a server for the toy motion package in `package` until the context ends."""
    manifest, _ = read_manifest(package)
    scorer = Scorer()
    scorer.go.set()
    with peers.listen(16) as listener:
        running = Hall(manifest, listener, scorer, [], fill_s=fill_s)
        running.open()
        try:
            yield running
        finally:
            scorer.go.set()
            running.ends.close()
            running.close()
