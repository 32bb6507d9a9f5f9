from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.errors import ClassifierError
from monitor.video.clip import Clip, ClipSpec
from monitor.vocabulary import Posture, WatchState
from monitor.watch import engine as engine_module
from monitor.watch.cost import Cost
from monitor.watch.engine import Engine, EngineSettings
from monitor.watch.messages import (
    Assign,
    Evidence,
    Message,
    Observation,
    Ping,
    Pong,
    Release,
    RequestEvidence,
    SetPosture,
    StreamStatus,
    WatcherFault,
)
from tests.fakes.recorder import Recorder
from tests.fakes.sources import HANG, SPEC, UNTIL_STOPPED, Script, clip, sample

Classify = Callable[[Sequence[Clip]], NDArray[np.float32]]

SETTINGS = EngineSettings(nice=0)


class Classifier:
    """Scores each clip with its end time divided by 100, or does what the test says."""

    name = "fake@1"
    labels = ("violence", "weapon")
    clip_spec: ClipSpec = SPEC

    def __init__(self, classify: Classify | None = None) -> None:
        self._classify = classify
        self.batches: list[int] = []

    def classify(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        self.batches.append(len(clips))
        if self._classify is not None:
            return self._classify(clips)
        return np.array([[clip.times_s[-1] / 100, 0.0] for clip in clips], np.float32)


class Bench:
    def __init__(self, script: Script, classifier: Classifier, settings: EngineSettings) -> None:
        self.sent: Recorder[Message] = Recorder()
        self.script = script
        self.failed = threading.Event()
        self.engine = Engine(classifier, settings, script.open, self.sent, self.failed.set)

    def assign(self, stream_id: str = "s", url: str = "rtmp://h/a/k", posture: Posture = Posture.CALM) -> None:
        self.engine.handle(Assign(stream_id, url, posture))

    def observations(self, count: int = 1) -> list[Observation]:
        self.sent.until(lambda items: sum(isinstance(item, Observation) for item in items) >= count)
        return [item for item in self.sent.items if isinstance(item, Observation)]

    def pong(self, number: int) -> Pong:
        self.engine.handle(Ping(number))
        (pong,) = [item for item in self.sent.items if isinstance(item, Pong) and item.number == number]
        return pong

    def evidence(self, stream_id: str) -> Evidence:
        self.engine.handle(RequestEvidence(1, stream_id))
        return [item for item in self.sent.items if isinstance(item, Evidence)][-1]


@contextmanager
def running(
    script: Script, classifier: Classifier | None = None, settings: EngineSettings = SETTINGS
) -> Iterator[Bench]:
    bench = Bench(script, classifier or Classifier(), settings)
    bench.engine.start()
    try:
        yield bench
    finally:
        script.unhang.set()
        assert bench.engine.close(timeout_s=10)


def test_a_clip_becomes_an_observation_with_all_that_the_daemon_needs() -> None:
    script = Script([[clip(50.0, Posture.CLOSE, arrived_at=123.0), UNTIL_STOPPED]])
    with running(script) as bench:
        bench.assign(posture=Posture.CLOSE)
        (observation,) = bench.observations()
        assert observation.stream_id == "s"
        assert observation.scores == (0.5, 0.0)
        assert (observation.clip_start_s, observation.clip_end_s) == (49.9, 50.0)
        assert observation.arrived_at == 123.0 < observation.scored_at
        assert observation.posture is Posture.CLOSE
        assert observation.spacing_honoured


def test_totals_and_progress_grow_and_outlive_their_streams() -> None:
    with running(Script([[clip(1.0), clip(2.0), UNTIL_STOPPED]])) as bench:
        before = bench.pong(1)
        assert (before.progress, before.stats.clips_scored) == (0, 0)
        bench.assign()
        bench.sent.until(lambda items: any(isinstance(item, Observation) and item.clip_end_s == 2.0 for item in items))
        running_pong = bench.pong(2)
        assert running_pong.progress >= 3
        assert running_pong.stats.clips_scored + running_pong.stats.clips_dropped.get("superseded", 0) == 2
        assert running_pong.stats.resident_bytes > 1_000_000
        bench.engine.handle(Release("s"))
        for watch in list(bench.engine._leaving):
            watch.join(10)
        after = bench.pong(3)
        assert after.progress >= running_pong.progress
        assert bench.engine._leaving == []
        assert after.stats.decode_cpu_s >= running_pong.stats.decode_cpu_s


def test_a_pong_tells_what_a_few_streams_cost_and_the_next_pong_what_others_do() -> None:
    with running(Script([[UNTIL_STOPPED]])) as bench:
        names = [f"s{number}" for number in range(20)]
        for name in names:
            bench.assign(name)
            bench.engine._streams[name].cost.latest = Cost(Posture.CALM, 0.02, 0.5)
        told = [[cost.stream_id for cost in bench.pong(number).stats.costs] for number in range(1, 5)]
        assert [len(streams) for streams in told] == [8, 8, 4, 0]
        assert sorted(stream_id for streams in told for stream_id in streams) == sorted(names)
        bench.engine._inference.cpu_s, bench.engine._inference.clips_scored = 0.6, 100
        for name in names:
            bench.engine._streams[name].cost.latest = Cost(Posture.CALM, 0.02, 0.5)
        (first, *_) = bench.pong(5).stats.costs
        # Where the last round ended, the next one begins; and inference counts.
        assert first.stream_id == told[2][0]
        assert first.cores == pytest.approx(0.02 + 0.5 * 0.006)


def test_evidence_holds_samples_and_scores_and_survives_release() -> None:
    script = Script([[sample(1.0, 5.0, b"picture"), clip(2.0), UNTIL_STOPPED]])
    with running(script) as bench:
        bench.assign()
        bench.observations()
        bench.engine.handle(Release("s"))
        evidence = bench.evidence("s")
        assert [frame.jpeg for frame in evidence.frames] == [b"picture"]
        assert [score.clip_end_s for score in evidence.scores] == [2.0]
        assert bench.evidence("unknown").frames == ()


def test_a_second_assignment_changes_the_posture_without_a_reconnect() -> None:
    with running(Script([[clip(1.0), UNTIL_STOPPED]])) as bench:
        bench.assign()
        bench.observations()
        bench.assign(posture=Posture.FULL)
        bench.engine.handle(SetPosture("s", Posture.CLOSE))
        assert bench.engine._streams["s"].posture is Posture.CLOSE
        assert bench.script.opened == 1


def test_another_address_is_a_reconnect() -> None:
    with running(Script([[clip(1.0), UNTIL_STOPPED], [clip(2.0), UNTIL_STOPPED]])) as bench:
        bench.assign()
        bench.observations()
        bench.assign(url="rtmp://h/a/other")
        assert bench.observations(2)[1].clip_end_s == 2.0
        bench.sent.until(lambda _: bench.script.closed == 1)


def test_messages_about_streams_that_are_not_there_are_ignored() -> None:
    with running(Script([[UNTIL_STOPPED]])) as bench:
        bench.engine.handle(Release("ghost"))
        bench.engine.handle(SetPosture("ghost", Posture.FULL))
        assert bench.pong(1).progress == 0


def test_many_streams_share_batches_of_at_most_eight() -> None:
    gate = threading.Event()

    def classify(clips: Sequence[Clip]) -> NDArray[np.float32]:
        gate.wait(10)
        return np.zeros((len(clips), 2), np.float32)

    classifier = Classifier(classify)
    with running(Script([[clip(1.0), UNTIL_STOPPED]]), classifier) as bench:
        for number in range(20):
            bench.assign(f"s{number}")
        bench.sent.until(
            lambda items: (
                sum(isinstance(item, StreamStatus) and item.state is WatchState.WATCHING for item in items) == 20
            )
        )
        gate.set()
        assert {observation.stream_id for observation in bench.observations(20)} == {f"s{n}" for n in range(20)}
        assert max(classifier.batches) <= 8


def raises(error: Exception) -> Classify:
    def classify(clips: Sequence[Clip]) -> NDArray[np.float32]:
        raise error

    return classify


@pytest.mark.parametrize(
    ("classify", "detail"),
    [
        (raises(ClassifierError("device lost")), "device lost"),
        (raises(RuntimeError("rtmp://secret")), "RuntimeError"),
        (lambda clips: np.full((len(clips), 2), np.nan, np.float32), "no score"),
        (lambda clips: np.full((len(clips), 2), 1.5, np.float32), "no score"),
        (lambda clips: np.zeros((len(clips), 1), np.float32), "wrong shape"),
    ],
)
def test_inference_that_fails_is_a_fault_and_ends_the_process(classify: Classify, detail: str) -> None:
    with running(Script([[clip(1.0), UNTIL_STOPPED]]), Classifier(classify)) as bench:
        bench.assign()
        assert bench.failed.wait(10)
        (fault,) = [item for item in bench.sent.items if isinstance(item, WatcherFault)]
        assert fault.reason == "classifier_failed"
        assert detail in fault.detail
        assert not any(isinstance(item, Observation) for item in bench.sent.items)


def test_a_batch_that_does_not_come_back_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "INFERENCE_HUNG_S", 0.05)
    gate = threading.Event()

    def classify(clips: Sequence[Clip]) -> NDArray[np.float32]:
        gate.wait(10)
        return np.zeros((len(clips), 2), np.float32)

    settings = EngineSettings(open_timeout_s=0.1, read_timeout_s=0.05, nice=0)
    with running(Script([[clip(1.0), UNTIL_STOPPED]]), Classifier(classify), settings) as bench:
        bench.assign()
        assert bench.failed.wait(10)
        assert WatcherFault in {type(item) for item in bench.sent.items}
        gate.set()


def test_a_thread_that_hangs_is_reported_and_then_costs_the_watcher_its_life() -> None:
    settings = EngineSettings(open_timeout_s=0.1, read_timeout_s=0.05, nice=0)
    with running(Script([[HANG, UNTIL_STOPPED]]), settings=settings) as bench:
        bench.assign()
        assert bench.failed.wait(10)
        statuses = [(item.state, item.reason) for item in bench.sent.items if isinstance(item, StreamStatus)]
        assert statuses[-1] == (WatchState.STALLED, "hung")
        (fault,) = [item for item in bench.sent.items if isinstance(item, WatcherFault)]
        assert fault.reason == "stream_hung"


def test_scores_of_a_released_stream_are_not_sent() -> None:
    gate, called = threading.Event(), threading.Event()

    def classify(clips: Sequence[Clip]) -> NDArray[np.float32]:
        called.set()
        gate.wait(10)
        return np.zeros((len(clips), 2), np.float32)

    with running(Script([[clip(1.0), UNTIL_STOPPED]]), Classifier(classify)) as bench:
        bench.assign()
        assert called.wait(10)
        bench.engine.handle(Release("s"))
        bench.engine.handle(Assign("other", "rtmp://h/a/k", Posture.CALM))
        gate.set()
        assert {observation.stream_id for observation in bench.observations()} == {"other"}
        assert bench.pong(1).stats.clips_dropped["stopped"] == 1
