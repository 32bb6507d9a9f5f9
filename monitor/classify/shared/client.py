"""A watcher's end of the shared classifier: clips go into shared memory, scores come back over a socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray
from typing_extensions import override

from monitor.classify.manifest import Manifest
from monitor.classify.package import clip_spec_of, name_of
from monitor.classify.port import Classifier
from monitor.classify.preparation import feeds_of
from monitor.classify.scores import check_clips
from monitor.classify.shared.messages import (
    MAX_MESSAGE_BYTES,
    Refusal,
    ScoreRequest,
    Scores,
    Welcome,
    decode_answer,
    encode,
)
from monitor.classify.shared.slots import Segment, SlotLayout
from monitor.errors import ClassifierError
from monitor.video.clip import Clip, ClipSpec

log = structlog.get_logger()

CONNECT_PATIENCE_S: Final = 1.0
"""For so long, in seconds, clips wait for a classifier that is not there; newer ones are then worth more."""

ANSWER_PATIENCE_S: Final = 5.0
"""After so long, in seconds, a request is given up, and its connection and slots with it."""

_RETRY_S: Final = 0.05
_MOST_SLOTS: Final = 64


class SharedClassifier(Classifier):
    """Has clips scored by the daemon's shared classifier; prepares them here. Not thread-safe: one thread calls it.

    While the classifier is away, `classify` waits for a moment and then fails with a retryable error; it connects again
    by itself. Each connection has slots of its own, and a request that was given up takes its connection with it: no
    answer can ever be taken for another request's.
    """

    def __init__(
        self,
        manifest: Manifest,
        variant: str | None,
        address: str,
        *,
        is_trusted: Callable[[socket.socket], bool],
        connect_patience_s: float = CONNECT_PATIENCE_S,
        answer_patience_s: float = ANSWER_PATIENCE_S,
    ) -> None:
        """Prepare; nothing is connected before `wait_until_there` or `classify`.

        Args:
            manifest: Of the package that the classifier runs.
            variant: Which of its variants; None for the main file.
            address: As `monitor.classify.shared.peers.address_of` gives it.
            is_trusted: Whether a connection leads to the daemon's own listener; pictures go nowhere else.
            connect_patience_s: How long `classify` waits for a connection, in seconds.
            answer_patience_s: How long it waits for an answer, in seconds.
        """
        self._manifest = manifest
        self._name = name_of(manifest, variant)
        self._variant = variant
        self._address = f"\0{address}"
        self._is_trusted = is_trusted
        self._connect_patience_s = connect_patience_s
        self._answer_patience_s = answer_patience_s
        self._socket: socket.socket | None = None
        self._segment: Segment | None = None
        self._slots = 0
        self._provider = ""
        self._generation = 0

    @property
    @override
    def name(self) -> str:
        """``name@version``, and ``+variant`` where there is one."""
        return self._name

    @property
    @override
    def labels(self) -> tuple[str, ...]:
        """The labels that have operating points, in the order of the score columns."""
        return self._manifest.labels

    @property
    @override
    def clip_spec(self) -> ClipSpec:
        """What sampling must deliver."""
        return clip_spec_of(self._manifest)

    @property
    def provider(self) -> str:
        """The provider in use, as the classifier last told; empty before the first connection."""
        return self._provider

    def wait_until_there(self, patience_s: float) -> bool:
        """Connect, waiting up to `patience_s` seconds for the classifier to be there; whether it is.

        Raises:
            ClassifierError: reason ``classifier_changed``: it runs another model.
        """
        deadline_s = time.monotonic() + patience_s
        while not self._connect(deadline_s):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(_RETRY_S, left_s))
        return True

    @override
    def classify(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """Score `clips`; waits for the classifier for a moment if it is not there.

        Returns:
            float32, shape ``(len(clips), len(labels))``.

        Raises:
            ClassifierError: a clip has the wrong shape or cannot be scored; retryable, with reason ``classifier_away``,
                if the classifier did not come or did not answer in time; reason ``classifier_changed`` if it runs
                another model.
        """
        check_clips(self, clips)
        rows: list[tuple[float, ...]] = []
        while len(rows) < len(clips):
            if not self.wait_until_there(self._connect_patience_s):
                raise _away("the shared classifier is not there")
            rows += self._scored(clips[len(rows) : len(rows) + self._slots])
        return np.asarray(rows, np.float32).reshape(len(clips), len(self.labels))

    def close(self) -> None:
        """Give up connection and slots."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._segment = None
        self._slots = 0

    def _scored(self, clips: Sequence[Clip]) -> tuple[tuple[float, ...], ...]:
        connection, segment = self._socket, self._segment
        assert connection is not None  # noqa: S101 - for mypy: it has just been waited for
        assert segment is not None  # noqa: S101 - as above
        feeds = feeds_of(self._manifest, clips)
        self._generation += 1
        for index in range(len(clips)):
            segment.write(index, self._generation, feeds, index)
        try:
            connection.settimeout(self._answer_patience_s)
            connection.send(encode(ScoreRequest(self._generation, tuple(range(len(clips))))))
            answer = decode_answer(connection.recv(MAX_MESSAGE_BYTES))
        except (OSError, ClassifierError) as error:
            # Also what comes of a classifier that ended: nothing, which is no message.
            self.close()
            raise _away("the shared classifier did not answer") from error
        if isinstance(answer, Refusal) and answer.generation == self._generation:
            self.close()
            raise ClassifierError(f"the shared classifier refused a clip: {answer.detail}"[:300])
        if not isinstance(answer, Scores) or answer.generation != self._generation or len(answer.scores) != len(clips):
            self.close()
            raise _away("the shared classifier answered something else")
        return answer.scores

    def _connect(self, deadline_s: float) -> bool:
        """Whether there is a connection with slots; one that waits to be accepted stays for the next call."""
        if self._segment is not None:
            return True
        try:
            if self._socket is None:
                self._socket = self._dialled()
            self._socket.settimeout(max(0.001, deadline_s - time.monotonic()))
            body, descriptors, _, _ = socket.recv_fds(self._socket, MAX_MESSAGE_BYTES, 1)
        except TimeoutError:
            return False
        except OSError:
            self.close()
            return False
        try:
            self._enter(body, descriptors)
        except ClassifierError as error:
            self.close()
            if error.reason == "classifier_changed":
                raise
            return False
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        log.info("shared_classifier_connected", model=self._name, provider=self._provider)
        return True

    def _dialled(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.settimeout(self._connect_patience_s)
            connection.connect(self._address)
            if not self._is_trusted(connection):
                log.error("shared_classifier_not_trusted")
                message = "the listener is not the daemon's"
                raise PermissionError(message)
        except OSError:
            connection.close()
            raise
        return connection

    def _enter(self, body: bytes, descriptors: Sequence[int]) -> None:
        welcome = decode_answer(body)
        if not isinstance(welcome, Welcome) or len(descriptors) != 1 or not 1 <= welcome.slots <= _MOST_SLOTS:
            raise ClassifierError("no welcome", reason="bad_message")
        layout = SlotLayout.of(self._manifest, self._variant, welcome.slots)
        if welcome.fingerprint != layout.fingerprint:
            raise ClassifierError("the shared classifier runs another model", reason="classifier_changed")
        self._segment = Segment(layout, descriptors[0])
        self._slots, self._provider = welcome.slots, welcome.provider


def _away(message: str) -> ClassifierError:
    return ClassifierError(message, reason="classifier_away", retryable=True)
