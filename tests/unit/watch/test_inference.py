from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from monitor.classify.port import Classifier
from monitor.errors import ClassifierError
from monitor.video.clip import Clip, ClipSpec
from monitor.watch.inference import InferenceThread
from monitor.watch.pending import PendingClip, PendingClips
from tests.fakes.model_packages import grey_frames, make_clip


class Absent(Classifier):
    """Fails as it is told, one batch after the other, and then scores."""

    def __init__(self, *failures: ClassifierError) -> None:
        self.failures = list(failures)
        self.asked = threading.Semaphore(0)

    @property
    @override
    def name(self) -> str:
        return "absent@1.0.0"

    @property
    @override
    def labels(self) -> tuple[str, ...]:
        return ("violence",)

    @property
    @override
    def clip_spec(self) -> ClipSpec:
        return ClipSpec(frames=1, spacing_s=1.0, width=32, height=24)

    @override
    def classify(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        self.asked.release()
        if self.failures:
            raise self.failures.pop(0)
        return np.full((len(clips), 1), 0.25, np.float32)


class Run:
    def __init__(self, classifier: Absent) -> None:
        self.classifier, self.pending = classifier, PendingClips()
        self.scored: list[str] = []
        self.faults: list[str] = []
        self.done = threading.Semaphore(0)
        self.thread = InferenceThread(
            classifier, self.pending, on_scored=self._on_scored, on_fault=self._on_fault, batch=1, fill_s=0.0
        )
        self.thread.start()

    def put(self, name: str) -> None:
        self.pending.put(PendingClip(name, make_clip(grey_frames(1))))
        assert self.classifier.asked.acquire(timeout=10)

    def _on_scored(self, pending: PendingClip, scores: tuple[float, ...], scored_at: float) -> None:
        assert scores == (0.25,)
        self.scored.append(pending.stream_id)
        self.done.release()

    def _on_fault(self, reason: str, detail: str) -> None:
        self.faults.append(reason)
        self.done.release()


def away() -> ClassifierError:
    return ClassifierError("not there", reason="classifier_away", retryable=True)


def test_clips_that_an_absent_classifier_did_not_score_are_counted_and_the_next_are_tried() -> None:
    run = Run(Absent(away(), away()))
    for name in ("a", "b", "c"):
        run.put(name)
    assert run.done.acquire(timeout=10)
    assert run.scored == ["c"]
    assert run.faults == []
    assert run.pending.dropped() == {"no_classifier": 2}
    assert run.thread.running_for_s() == 0
    run.pending.close()
    run.thread.join(10)


def test_a_failure_for_good_is_a_fault_also_after_an_absence() -> None:
    run = Run(Absent(away(), ClassifierError("nonsense")))
    run.put("a")
    run.put("b")
    assert run.done.acquire(timeout=10)
    assert run.faults == ["classifier_failed"]
    assert run.scored == []
    run.thread.join(10)
