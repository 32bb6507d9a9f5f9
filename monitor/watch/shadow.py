"""A second model that scores the same clips as the first, to be compared with it, and that must never be in its way.

It has a thread of its own, at a lower priority than decoding, and works only while no clip waits for the model that judges.
What it cannot take in time it leaves out, and counts. If it fails it is switched off for good, and says so.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import structlog

from monitor.classify.port import Classifier
from monitor.errors import ClassifierError, LivecordonError
from monitor.watch.confinement import lower_thread_priority
from monitor.watch.pending import PendingClip

log = structlog.get_logger()

NICER: Final = 4
"""Added to the niceness of decoding threads. More would let other processes starve it while it holds Python's lock."""

_MOST_WAITING: Final = 16
"""Streams whose encoders began together are scored together, and then nothing for a while: so many wait for that."""

_LOOK_AGAIN_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class ShadowModel:
    """A model beside the acting one.

    Attributes:
        classifier: Takes the acting model's clips.
        share: Share of the clips that it is given, above 0, at most 1.
    """

    classifier: Classifier
    share: float = 1.0


@dataclass(slots=True, eq=False)
class ShadowThread:
    """Scores what `offer` gives it. Thread-safe.

    Attributes:
        is_busy: Whether the acting model, or sampling for it, needs this process now.
        on_scored: Called with a clip, the acting model's scores of it, and these.
        nice: Added to the thread's niceness.
        clips_scored, clips_dropped: Running totals; clips beyond `share` are in neither.
        cpu_s: Processor time of the thread so far, in seconds.
        trouble: Why it was switched off, a static snake_case word; empty while it works.
    """

    model: ShadowModel
    is_busy: Callable[[], bool]
    on_scored: Callable[[PendingClip, tuple[float, ...], tuple[float, ...]], None]
    nice: int = 0
    clips_scored: int = 0
    clips_dropped: int = 0
    cpu_s: float = 0.0
    trouble: str = ""
    _due: float = 0.0
    _waiting: deque[tuple[PendingClip, tuple[float, ...]]] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _running_since_s: float | None = None
    _closed: bool = False
    _thread: threading.Thread = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Stop, and wait up to `timeout_s` seconds for the thread to end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def offer(self, pending: PendingClip, scores: tuple[float, ...]) -> None:
        """Take a clip that the acting model has scored, or leave it; never waits for inference, never raises."""
        with self._changed:
            if self._closed or self.trouble:
                return
            self._due += self.model.share
            if self._due < 1:
                return
            self._due -= 1
            if len(self._waiting) >= _MOST_WAITING:
                # Whatever is compared should be of now.
                self._waiting.popleft()
                self.clips_dropped += 1
            self._waiting.append((pending, scores))
            self._changed.notify()

    def running_for_s(self) -> float:
        """Return for how long it has been at its present clip, in seconds; 0 between clips."""
        running_since_s = self._running_since_s
        return 0.0 if running_since_s is None else time.monotonic() - running_since_s

    def switch_off(self, reason: str) -> None:
        """Give it no more clips; what it was at is not waited for."""
        with self._changed:
            if self.trouble:
                return
            self.trouble = reason
            self.clips_dropped += len(self._waiting)
            self._waiting.clear()
            self._changed.notify()
        log.error("shadow_switched_off", model=self.model.classifier.name, reason=reason)

    def _run(self) -> None:
        lower_thread_priority(self.nice, threading.get_native_id())
        try:
            while (waiting := self._next()) is not None:
                self._score(*waiting)
        except LivecordonError as error:
            self.switch_off(error.reason)
        except Exception as error:
            log.exception("shadow_failed", error=type(error).__name__)
            self.switch_off(ClassifierError.reason)

    def _next(self) -> tuple[PendingClip, tuple[float, ...]] | None:
        """Wait for a clip, and until nobody else needs the processor; None when there will be no more."""
        with self._changed:
            while not self._closed and not self.trouble:
                if self._waiting and not self.is_busy():
                    return self._waiting.popleft()
                self._changed.wait(_LOOK_AGAIN_S if self._waiting else None)
        return None

    def _score(self, pending: PendingClip, acting: tuple[float, ...]) -> None:
        classifier = self.model.classifier
        self._running_since_s = time.monotonic()
        try:
            scores = classifier.classify([pending.clip])
        finally:
            self._running_since_s = None
            self.cpu_s = time.thread_time()
        if scores.shape != (1, len(classifier.labels)) or not bool(np.all((scores >= 0) & (scores <= 1))):
            message = f"{classifier.name} returned something that is no score"
            raise ClassifierError(message)
        if self.trouble:
            return
        self.clips_scored += 1
        self.on_scored(pending, acting, tuple(scores[0].tolist()))
