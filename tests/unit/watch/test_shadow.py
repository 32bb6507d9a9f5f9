from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.classify.port import Classifier
from monitor.errors import ClassifierError
from monitor.video.clip import Clip, ClipSpec
from monitor.watch.pending import PendingClip
from monitor.watch.shadow import ShadowModel, ShadowThread
from tests.fakes.model_packages import grey_frames, make_clip
from tests.fakes.recorder import Recorder

ACTING = (0.25, 0.5)


@dataclass
class Toy(Classifier):
    """Gives what it is told to, or raises that."""

    gives: list[NDArray[np.float32] | Exception] = field(default_factory=list)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go_on: threading.Event = field(default_factory=threading.Event)

    name = "toy@1"
    labels = ("violence",)
    clip_spec = ClipSpec(4, 0.1, 32, 24)

    def classify(self, clips: Sequence[Clip]) -> NDArray[np.float32]:  # type: ignore[explicit-override] # a fake
        self.begun.release()
        assert self.go_on.wait(10)
        given = self.gives.pop(0) if self.gives else np.full((len(clips), 1), 0.75, np.float32)
        if isinstance(given, Exception):
            raise given
        return given


@dataclass
class Stage:
    toy: Toy = field(default_factory=Toy)
    busy: bool = False
    seen: Recorder[tuple[str, tuple[float, ...], tuple[float, ...]]] = field(default_factory=Recorder)

    def thread(self, share: float = 1.0) -> ShadowThread:
        return ShadowThread(
            ShadowModel(self.toy, share),
            lambda: self.busy,
            lambda pending, acting, scores: self.seen((pending.stream_id, acting, scores)),
        )


def clip(stream_id: str) -> PendingClip:
    return PendingClip(stream_id, make_clip(grey_frames(0, 1, 2, 3)))


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    made.toy.go_on.set()
    yield made
    made.toy.go_on.set()


def test_what_it_scores_comes_with_what_the_acting_model_said(stage: Stage) -> None:
    thread = stage.thread()
    thread.start()
    thread.offer(clip("a"), ACTING)
    assert stage.seen.until(bool) == [("a", ACTING, (0.75,))]
    thread.close(10)
    assert (thread.clips_scored, thread.clips_dropped, thread.trouble) == (1, 0, "")
    assert thread.cpu_s > 0


def test_it_scores_nothing_while_the_acting_model_needs_the_process(stage: Stage) -> None:
    stage.busy = True
    thread = stage.thread()
    thread.start()
    for number in range(18):
        thread.offer(clip(f"s{number}"), ACTING)
    assert not stage.toy.begun.acquire(timeout=0.2)
    # Only the newest wait; what they push out is counted.
    assert thread.clips_dropped == 2
    stage.busy = False
    stage.seen.until(lambda seen: [one[0] for one in seen] == [f"s{number}" for number in range(2, 18)])
    thread.close(10)


def test_offering_never_waits_for_it(stage: Stage) -> None:
    stage.toy.go_on.clear()
    thread = stage.thread()
    thread.start()
    thread.offer(clip("a"), ACTING)
    assert stage.toy.begun.acquire(timeout=10)
    for _ in range(100):
        thread.offer(clip("b"), ACTING)
    assert thread.running_for_s() > 0
    assert thread.clips_dropped == 84
    stage.toy.go_on.set()
    thread.close(10)


@pytest.mark.parametrize(("share", "taken"), [(1.0, 12), (0.5, 6), (0.25, 3), (0.01, 0)])
def test_a_share_of_the_clips_is_taken_evenly_and_the_rest_is_not_counted(
    stage: Stage, share: float, taken: int
) -> None:
    stage.busy = True
    thread = stage.thread(share)
    for _ in range(12):
        thread.offer(clip("a"), ACTING)
    assert len(thread._waiting) + thread.clips_dropped == taken


@pytest.mark.parametrize(
    ("gives", "trouble"),
    [
        (ClassifierError("told to"), "classifier_failed"),
        (MemoryError(), "classifier_failed"),
        (np.full((1, 1), np.nan, np.float32), "classifier_failed"),
        (np.full((1, 2), 0.5, np.float32), "classifier_failed"),
        (np.full((1, 1), 1.5, np.float32), "classifier_failed"),
    ],
)
def test_a_failure_switches_it_off_for_good(stage: Stage, gives: NDArray[np.float32] | Exception, trouble: str) -> None:
    stage.toy.gives = [gives]
    thread = stage.thread()
    thread.start()
    thread.offer(clip("a"), ACTING)
    thread._thread.join(10)
    assert thread.trouble == trouble
    thread.offer(clip("b"), ACTING)
    assert not thread._waiting
    assert (thread.clips_scored, stage.seen.items) == (0, [])


def test_one_that_hangs_is_switched_off_and_what_it_says_later_is_not_heard(stage: Stage) -> None:
    stage.toy.go_on.clear()
    thread = stage.thread()
    thread.start()
    thread.offer(clip("a"), ACTING)
    assert stage.toy.begun.acquire(timeout=10)
    thread.switch_off("inference_hung")
    stage.toy.go_on.set()
    thread._thread.join(10)
    assert (thread.trouble, thread.clips_scored, stage.seen.items) == ("inference_hung", 0, [])
