"""The shared classifier's end: watchers come and go, their clips are scored in batches, and none can harm the others.

One thread listens, another scores. A watcher reaches only its own slots; what it says is bounded, checked and counted;
clips of its making that break a batch are found out and cost only itself.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from monitor.classify.shared.messages import (
    MAX_MESSAGE_BYTES,
    Refusal,
    ScoreRequest,
    Scores,
    Welcome,
    decode_request,
    encode,
)
from monitor.classify.shared.peers import Peer
from monitor.classify.shared.slots import Segment, SlotLayout, empty_feeds, make_segment
from monitor.classify.shared.waiting import Waiting, WaitingRequests
from monitor.errors import ClassifierError

log = structlog.get_logger()

MOST_CLIENTS: Final = 512
"""Most watchers at a time."""

_EVENTS_PER_S: Final = 2000
_REMEMBERED_PEERS: Final = 4096


class PreparedScorer(Protocol):
    """What scores prepared clips; `monitor.classify.onnx_classifier.OnnxClassifier` does."""

    @property
    def provider(self) -> str:
        """The provider in use."""
        ...

    def score_prepared(self, feeds: dict[str, NDArray[Any]], clips: int) -> NDArray[np.float32]:
        """As `OnnxClassifier.score_prepared`."""
        ...


@dataclass(slots=True, eq=False)
class _Client:
    """One connected watcher."""

    connection: socket.socket
    peer: Peer
    segment: Segment
    newest: int = 0

    def say(self, message: Welcome | Scores | Refusal, descriptors: Sequence[int] = ()) -> bool:
        """Send without waiting; False if the watcher is gone or does not read."""
        try:
            if descriptors:
                socket.send_fds(self.connection, [encode(message)], list(descriptors))
            else:
                self.connection.send(encode(message))
        except OSError:
            return False
        return True


@dataclass(slots=True, eq=False)
class ClassifierServer:
    """Scores clips for every watcher that connects to `listener`, from `start` until `close` or a fault.

    Attributes:
        layout: Of one watcher's slots.
        admit: Returns who has connected, or None for somebody who has no business here.
        is_sound: Whether the scorer still gives the scores that it should; asked when it has failed.
        on_fault: Called once, with a reason and a safe sentence, when the scorer has failed; nothing is scored any more.
        batch: Largest batch over all watchers, in clips.
        fill_s: How long a request may wait for others to be scored with, in seconds.
        clips_scored: Running total.
        inference_s: Running total of time spent scoring, in seconds.
    """

    scorer: PreparedScorer
    layout: SlotLayout
    listener: socket.socket
    admit: Callable[[socket.socket], Peer | None]
    is_sound: Callable[[], bool]
    on_fault: Callable[[str, str], None]
    batch: int
    fill_s: float
    clips_scored: int = 0
    inference_s: float = 0.0
    _waiting: WaitingRequests[_Client] = field(default_factory=WaitingRequests)
    _clients: dict[Peer, _Client] = field(default_factory=dict)
    _events: dict[Peer, tuple[int, int]] = field(default_factory=dict)
    _banned: set[Peer] = field(default_factory=set)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _running_since_s: float | None = None
    _closing: bool = False
    _threads: list[threading.Thread] = field(default_factory=list)
    _wake: tuple[int, int] = field(default_factory=os.pipe)

    def start(self) -> None:
        """Start both threads."""
        self.listener.setblocking(False)
        self._selector.register(self.listener, selectors.EVENT_READ)
        self._selector.register(self._wake[0], selectors.EVENT_READ)
        for name, work in (("listen", self._listen), ("score", self._score)):
            thread = threading.Thread(target=work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self, timeout_s: float) -> None:
        """Hang up on everybody and wait up to `timeout_s` seconds for each thread; the listener stays open."""
        self._closing = True
        self._waiting.close()
        os.write(self._wake[1], b"x")
        for thread in self._threads:
            thread.join(timeout_s)
        self._selector.close()
        for end in self._wake:
            os.close(end)

    def running_for_s(self) -> float:
        """Return for how long the present batch has been running, in seconds; 0 between batches."""
        running_since_s = self._running_since_s
        return 0.0 if running_since_s is None else time.monotonic() - running_since_s

    def _listen(self) -> None:
        try:
            while not self._closing:
                for key, _ in self._selector.select():
                    if key.fileobj is self.listener:
                        self._accept()
                    elif isinstance(key.data, _Client):
                        self._hear(key.data)
        except Exception as error:
            log.exception("shared_classifier_deaf", error=type(error).__name__)
            self.on_fault(ClassifierError.reason, type(error).__name__)
        for client in tuple(self._clients.values()):
            self._hang_up(client)

    def _accept(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            # Out of descriptors: the listener stays readable, and this thread must not spin on it.
            log.warning("shared_classifier_cannot_accept", errno=error.errno)
            time.sleep(0.1)
            return
        peer = self.admit(connection)
        if peer is None or not self._is_bearable(peer):
            connection.close()
            return
        if (before := self._clients.get(peer)) is not None:
            self._hang_up(before)
        if len(self._clients) >= MOST_CLIENTS:
            log.warning("shared_classifier_full", clients=len(self._clients))
            connection.close()
            return
        connection.setblocking(False)
        self._welcome(connection, peer)

    def _welcome(self, connection: socket.socket, peer: Peer) -> None:
        try:
            descriptor = make_segment(self.layout)
        except OSError as error:
            log.warning("shared_classifier_out_of_memory", errno=error.errno)
            connection.close()
            return
        try:
            client = _Client(connection, peer, Segment(self.layout, descriptor))
            welcome = Welcome(self.layout.fingerprint, self.layout.slots, self.scorer.provider)
            if not client.say(welcome, [descriptor]):
                connection.close()
                return
        finally:
            os.close(descriptor)
        self._clients[peer] = client
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _hear(self, client: _Client) -> None:
        try:
            body = client.connection.recv(MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            body = b""
        if not body:
            self._hang_up(client)
            return
        if not self._is_bearable(client.peer):
            self._hang_up(client)
            return
        try:
            request = decode_request(body)
            self._check(client, request)
        except ClassifierError as error:
            self._ban(client.peer, error.reason)
            self._hang_up(client)
            return
        client.newest = request.generation
        self._waiting.put(client, request.generation, request.slots)

    def _check(self, client: _Client, request: ScoreRequest) -> None:
        slots = request.slots
        allowed = 0 < len(slots) == len(set(slots)) and all(0 <= slot < self.layout.slots for slot in slots)
        if not allowed or not client.newest < request.generation < 2**63:
            raise ClassifierError("a request that is not allowed", reason="bad_message")

    def _is_bearable(self, peer: Peer) -> bool:
        """Count what a peer does; whether that may go on."""
        second = int(time.monotonic())
        then, events = self._events.get(peer, (second, 0))
        events = events + 1 if then == second else 1
        if len(self._events) >= _REMEMBERED_PEERS and peer not in self._events:
            self._events.pop(next(iter(self._events)))
        self._events[peer] = (second, events)
        if events > _EVENTS_PER_S and peer not in self._banned:
            self._ban(peer, "flood")
        return peer not in self._banned

    def _ban(self, peer: Peer, reason: str) -> None:
        log.error("shared_classifier_client_refused", pid=peer.pid, reason=reason)
        if len(self._banned) >= _REMEMBERED_PEERS:
            self._banned.clear()
        self._banned.add(peer)

    def _hang_up(self, client: _Client) -> None:
        self._waiting.forget(client)
        if self._clients.get(client.peer) is client:
            del self._clients[client.peer]
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(client.connection)
        client.connection.close()

    def _score(self) -> None:
        try:
            while batch := self._waiting.take(self.batch, self.fill_s):
                self._score_together(batch)
        except ClassifierError as error:
            self.on_fault(error.reason, str(error)[:200])
        except Exception as error:
            log.exception("shared_classifier_failed", error=type(error).__name__)
            self.on_fault(ClassifierError.reason, type(error).__name__)

    def _score_together(self, batch: Sequence[Waiting[_Client]]) -> None:
        copied = [(one, feeds) for one in batch if (feeds := self._copied(one)) is not None]
        if not copied:
            return
        together = {item.name: np.concatenate([feeds[item.name] for _, feeds in copied]) for item in self.layout.fields}
        try:
            scores = self._scored(together, sum(one.clips for one, _ in copied))
        except ClassifierError:
            # The very same pictures, one watcher after the other: whoever brought the batch down cannot hide.
            for one, feeds in copied:
                self._score_alone(one, feeds)
            return
        rows = iter(scores)
        for one, _ in copied:
            self._answer(one, [next(rows) for _ in one.slots])

    def _score_alone(self, one: Waiting[_Client], feeds: dict[str, NDArray[Any]]) -> None:
        try:
            self._answer(one, self._scored(feeds, one.clips))
        except ClassifierError as error:
            # This watcher's clips, or the scorer itself? What is known to come out decides.
            if not self.is_sound():
                raise
            one.client.say(Refusal(one.generation, str(error)[:200]))
            self._expel(one.client, "unscorable")

    def _copied(self, one: Waiting[_Client]) -> dict[str, NDArray[Any]] | None:
        """Copy a request's clips: whatever its watcher writes from now on changes nothing."""
        feeds = empty_feeds(self.layout, one.clips)
        segment = one.client.segment
        if all(segment.read(slot, one.generation, feeds, place) for place, slot in enumerate(one.slots)):
            return feeds
        self._expel(one.client, "wrong_generation")
        return None

    def _scored(self, feeds: dict[str, NDArray[Any]], clips: int) -> list[list[float]]:
        self._running_since_s = started_s = time.monotonic()
        try:
            scores: list[list[float]] = self.scorer.score_prepared(feeds, clips).tolist()
        finally:
            self._running_since_s = None
            self.inference_s += time.monotonic() - started_s
        return scores

    def _answer(self, one: Waiting[_Client], rows: Sequence[Sequence[float]]) -> None:
        self.clips_scored += one.clips
        one.client.say(Scores(one.generation, tuple(tuple(row) for row in rows)))

    def _expel(self, client: _Client, reason: str) -> None:
        """Have a client thrown out by the thread that listens: it sees the end of the connection."""
        self._ban(client.peer, reason)
        with contextlib.suppress(OSError):
            client.connection.shutdown(socket.SHUT_RDWR)
