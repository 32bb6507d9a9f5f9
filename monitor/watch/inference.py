"""The one thread of a watcher that calls the classifier."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import structlog
from numpy.typing import NDArray

from monitor.classify.port import Classifier
from monitor.errors import ClassifierError, LivecordonError
from monitor.watch.pending import PendingClip, PendingClips
from monitor.watch.settings import MAX_BATCH, MAX_FILL_S

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class InferenceThread:
    """Scores pending clips in batches until the store closes or the classifier fails.

    A classifier elsewhere may be away for a while: clips that it did not score in time are given up and counted
    (``no_classifier``), and the newest ones are tried next. How late its streams are, everybody sees by their verdicts.

    Attributes:
        on_scored: Called for each clip with its scores, in the order of the classifier's labels, and the Unix time.
        on_fault: Called once, with a reason and a safe sentence, when inference fails; the thread has then ended.
        batch: Largest batch, at most 8.
        fill_s: How long a clip may wait for others to fill its batch, in seconds, at most 0.02.
        cpu_s: Processor time of this thread so far, in seconds.
    """

    classifier: Classifier
    pending: PendingClips
    on_scored: Callable[[PendingClip, tuple[float, ...], float], None]
    on_fault: Callable[[str, str], None]
    batch: int = MAX_BATCH
    fill_s: float = MAX_FILL_S
    clips_scored: int = 0
    inference_s: float = 0.0
    cpu_s: float = 0.0
    _away: bool = False
    _running_since_s: float | None = None
    _thread: threading.Thread | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def running_for_s(self) -> float:
        """Return for how long the present batch has been running, in seconds; 0 between batches."""
        running_since_s = self._running_since_s
        return 0.0 if running_since_s is None else time.monotonic() - running_since_s

    def _run(self) -> None:
        try:
            while batch := self.pending.take(min(self.batch, MAX_BATCH), min(self.fill_s, MAX_FILL_S)):
                scores = self._scored(batch)
                if scores is None:
                    continue
                scored_at = time.time()
                for pending, row in zip(batch, scores.tolist(), strict=True):
                    self.clips_scored += 1
                    self.on_scored(pending, tuple(row), scored_at)
        except LivecordonError as error:
            self.on_fault(error.reason, str(error)[:200])
        except Exception as error:
            log.exception("inference_failed", error=type(error).__name__)
            self.on_fault(ClassifierError.reason, type(error).__name__)

    def _scored(self, batch: list[PendingClip]) -> NDArray[np.float32] | None:
        """Return a row per clip, or None if the classifier is away and may come back."""
        try:
            scores = self._classified(batch)
        except ClassifierError as error:
            if not error.retryable:
                raise
            if not self._away:
                log.error("classifier_away", reason=error.reason)  # noqa: TRY400 - no mistake of this process
            self._away = True
            self.pending.lost(len(batch))
            return None
        if self._away:
            log.info("classifier_back", model=self.classifier.name)
            self._away = False
        return scores

    def _classified(self, batch: list[PendingClip]) -> NDArray[np.float32]:
        self._running_since_s = started_s = time.monotonic()
        try:
            scores = self.classifier.classify([pending.clip for pending in batch])
        finally:
            self._running_since_s = None
        self.inference_s += time.monotonic() - started_s
        self.cpu_s = time.thread_time()
        if scores.shape != (len(batch), len(self.classifier.labels)):
            raise ClassifierError("the classifier returned scores of the wrong shape")
        if not bool(np.all((scores >= 0) & (scores <= 1))):
            # NaN fails both comparisons.
            raise ClassifierError("the classifier returned something that is no score")
        return scores
