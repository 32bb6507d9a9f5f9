"""Both ends of the shared classifier, over real sockets and real shared memory."""

from __future__ import annotations

import mmap
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.package import load_package
from monitor.classify.shared.messages import ScoreRequest, Scores, Welcome, decode_answer, encode
from monitor.classify.shared.peers import Peer
from monitor.classify.shared.slots import Segment, SlotLayout
from monitor.classify.shared.waiting import Waiting
from monitor.errors import ClassifierError
from tests.fakes import model_packages as toys
from tests.fakes.model_packages import grey_frames, make_clip
from tests.fakes.shared_classifier import SLOTS, Hall, hall

BRIGHT, DARK = make_clip(grey_frames(255, 255, 255, 255), 0.2), make_clip(grey_frames(0, 0, 0, 0), 0.1)
UNLUCKY = make_clip(grey_frames(13, 13, 13, 13))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return toys.write_motion_package(tmp_path / "toy")


@pytest.fixture
def served(package: Path) -> Iterator[Hall]:
    with hall(package) as running:
        yield running


def grey(level: int) -> Any:
    return make_clip(grey_frames(level, level, level, level))


def wait_for(look: Callable[[], bool]) -> None:
    """Wait until another thread has got so far; it always does."""
    deadline_s = time.monotonic() + 10
    while not look():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def waiting_in(served: Hall) -> list[Waiting[Any]]:
    assert served.server is not None
    return list(served.server._waiting._waiting.values())


def enter(served: Hall) -> tuple[socket.socket, Segment]:
    """Connect by hand and return the connection with its slots."""
    connection = served.raw()
    body, descriptors, _, _ = socket.recv_fds(connection, 65536, 1)
    assert isinstance(decode_answer(body), Welcome)
    segment = Segment(SlotLayout.of(served.manifest, None, SLOTS), descriptors[0])
    os.close(descriptors[0])
    return connection, segment


def feeds_of_level(level: int) -> dict[str, Any]:
    return {"pixels": np.full((1, 4, 24, 32), level, np.uint8), "spacing": np.array([0.1], np.float32)}


def test_scores_are_those_of_a_classifier_of_ones_own(served: Hall, package: Path) -> None:
    client, own = served.client(), OnnxClassifier(load_package(package))
    clips = [BRIGHT, DARK, grey(77), make_clip(grey_frames(1, 2, 3, 200), 0.33), grey(9), grey(200)]
    np.testing.assert_allclose(client.classify(clips), own.classify(clips), atol=1e-6)
    assert (client.name, client.labels, client.clip_spec) == (own.name, own.labels, own.clip_spec)
    assert client.provider == "cpu"
    assert client.classify([]).shape == (0, 2)
    client.close()


def test_clips_of_many_watchers_are_scored_together_and_nobody_gets_anothers_scores(package: Path) -> None:
    with hall(package) as served, ThreadPoolExecutor(5) as threads:
        served.scorer.go.clear()
        first = threads.submit(served.client().classify, [DARK])
        assert served.scorer.entered.acquire(timeout=10)
        others = {level: threads.submit(served.client().classify, [grey(level)]) for level in (51, 102, 153, 204)}
        wait_for(lambda: len(waiting_in(served)) == 4)
        served.scorer.go.set()
        assert first.result(10)[0, 0] == 0
        for level, scored in others.items():
            assert scored.result(10)[0, 0] == pytest.approx(level / 255, abs=1e-6)
        assert served.scorer.batches == [1, 4]


def test_a_classifier_that_was_away_is_waited_for_and_found_again(served: Hall) -> None:
    client = served.client(connect_patience_s=0.05)
    assert client.classify([BRIGHT])[0, 0] == 1
    served.close()
    for _ in range(3):
        with pytest.raises(ClassifierError) as away:
            client.classify([BRIGHT])
        assert (away.value.reason, away.value.retryable) == ("classifier_away", True)
    served.open()
    assert client.wait_until_there(10)
    assert client.classify([DARK])[0, 0] == 0


def test_an_answer_that_comes_too_late_is_never_taken_for_a_later_requests(served: Hall) -> None:
    hasty = served.client(answer_patience_s=0.1)
    served.scorer.go.clear()
    with pytest.raises(ClassifierError, match="did not answer"):
        hasty.classify([BRIGHT])
    hasty._answer_patience_s = 10
    with ThreadPoolExecutor(1) as threads:
        later = threads.submit(hasty.classify, [DARK])
        served.scorer.go.set()
        assert later.result(10)[0, 0] == 0


def test_a_slot_filled_for_another_request_is_not_scored(served: Hall) -> None:
    connection, segment = enter(served)
    segment.write(0, 1, feeds_of_level(255), 0)
    connection.send(encode(ScoreRequest(2, (0,))))
    assert connection.recv(65536) == b""
    assert served.scorer.batches == []
    assert served.client().classify([BRIGHT])[0, 0] == 1


def test_a_newer_request_takes_the_place_of_one_that_waits(served: Hall) -> None:
    connection, segment = enter(served)
    busy = served.client()
    served.scorer.go.clear()
    with ThreadPoolExecutor(1) as threads:
        holding = threads.submit(busy.classify, [DARK])
        assert served.scorer.entered.acquire(timeout=10)
        for generation, level in ((1, 51), (2, 204)):
            segment.write(generation, generation, feeds_of_level(level), 0)
            connection.send(encode(ScoreRequest(generation, (generation,))))
        wait_for(lambda: [one.generation for one in waiting_in(served)] == [2])
        served.scorer.go.set()
        holding.result(10)
    answer = decode_answer(connection.recv(65536))
    assert isinstance(answer, Scores)
    assert answer.generation == 2
    assert answer.scores[0][0] == pytest.approx(0.8)


def test_clips_that_break_a_batch_cost_only_their_own_watcher(served: Hall) -> None:
    with ThreadPoolExecutor(3) as threads:
        served.scorer.go.clear()
        first = threads.submit(served.client().classify, [DARK])
        assert served.scorer.entered.acquire(timeout=10)
        good, bad = (
            threads.submit(served.client().classify, [BRIGHT]),
            threads.submit(served.client().classify, [UNLUCKY]),
        )
        wait_for(lambda: len(waiting_in(served)) == 2)
        served.scorer.go.set()
        first.result(10)
        assert good.result(10)[0, 0] == 1
        with pytest.raises(ClassifierError, match="refused a clip: unlucky pixels") as refused:
            bad.result(10)
        assert not refused.value.retryable
    assert served.faults == []
    assert served.client().classify([BRIGHT])[0, 0] == 1


def test_a_scorer_that_fails_on_what_is_known_to_come_out_is_a_fault(served: Hall) -> None:
    served.scorer.broken = True
    client = served.client(answer_patience_s=0.5)
    with pytest.raises(ClassifierError) as away:
        client.classify([BRIGHT])
    assert away.value.retryable
    assert served.faults == [("classifier_failed", "the device is gone")]


@pytest.mark.parametrize(
    "message",
    [
        b"\xff" * 40,
        encode(ScoreRequest(1, ())),
        encode(ScoreRequest(1, (0, 0))),
        encode(ScoreRequest(1, (SLOTS,))),
        encode(ScoreRequest(1, (-1,))),
        encode(ScoreRequest(0, (0,))),
        encode(ScoreRequest(2**63, (0,))),
        encode(Scores(1, ((0.5, 0.5),))),
        msgspec.msgpack.encode({"type": "score", "generation": 1, "slots": list(range(20000))}),
    ],
    ids=["noise", "nothing", "twice", "beyond", "below", "not newer", "too new", "an answer", "many"],
)
def test_a_watcher_that_breaks_the_rules_is_thrown_out_and_stays_out(served: Hall, message: bytes) -> None:
    served.peers[:] = [Peer(1, 1), Peer(1, 1), Peer(1, 2)]
    connection, _ = enter(served)
    connection.send(message)
    assert connection.recv(65536) == b""
    assert served.raw().recv(65536) == b""
    # A later process of the same number is somebody else.
    assert isinstance(decode_answer(served.raw().recv(65536)), Welcome)


def test_strangers_are_not_let_in(served: Hall) -> None:
    served.peers[:] = [None]
    assert served.raw().recv(65536) == b""


def test_a_flood_ends_the_flooder(served: Hall) -> None:
    served.peers[:] = [Peer(1, 1)]
    connection, segment = enter(served)
    segment.write(0, 1, feeds_of_level(0), 0)

    def flood() -> None:
        for generation in range(1, 20_000):
            connection.send(encode(ScoreRequest(generation, (0,))))

    with pytest.raises(OSError, match=r"Broken pipe|Connection reset"):
        flood()
    assert served.client().classify([BRIGHT])[0, 0] == 1


def test_a_watcher_that_does_not_read_its_answers_holds_nobody_up(served: Hall) -> None:
    connection, segment = enter(served)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    client = served.client()
    for generation in range(1, 300):
        segment.write(0, generation, feeds_of_level(255), 0)
        connection.send(encode(ScoreRequest(generation, (0,))))
        assert client.classify([DARK])[0, 0] == 0


def test_the_same_process_connecting_again_takes_the_place_of_its_old_connection(served: Hall) -> None:
    served.peers[:] = [Peer(1, 1), Peer(1, 1)]
    old, _ = enter(served)
    enter(served)
    assert old.recv(65536) == b""
    server = served.server
    assert server is not None
    wait_for(lambda: len(server._clients) == 1)


def test_a_watcher_that_ends_in_the_middle_is_forgotten(served: Hall) -> None:
    connection, segment = enter(served)
    served.scorer.go.clear()
    segment.write(0, 1, feeds_of_level(0), 0)
    connection.send(encode(ScoreRequest(1, (0,))))
    assert served.scorer.entered.acquire(timeout=10)
    connection.close()
    served.scorer.go.set()
    assert served.client().classify([BRIGHT])[0, 0] == 1


def test_shared_memory_cannot_be_shrunk_grown_or_reached_by_name(served: Hall) -> None:
    before = set(Path("/dev/shm").iterdir())
    connection = served.raw()
    _, descriptors, _, _ = socket.recv_fds(connection, 65536, 1)
    size = os.fstat(descriptors[0]).st_size
    assert size % mmap.PAGESIZE == 0
    for other in (0, size - mmap.PAGESIZE, size + mmap.PAGESIZE):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptors[0], other)
    os.close(descriptors[0])
    assert not any("livecordon" in path.name for path in set(Path("/dev/shm").iterdir()) - before)


def test_another_model_is_noticed_before_any_clip_is_sent(served: Hall, tmp_path: Path) -> None:
    manifest = toys.motion_manifest()
    manifest["version"] = "1.2.4"
    other = load_package(toys.write_motion_package(tmp_path / "other", manifest=manifest)).manifest
    client = served.client()
    client._manifest = other
    with pytest.raises(ClassifierError, match="runs another model") as changed:
        client.classify([BRIGHT])
    assert changed.value.reason == "classifier_changed"
    assert not changed.value.retryable


def test_a_listener_that_is_not_the_daemons_gets_no_pictures(served: Hall) -> None:
    client = served.client(connect_patience_s=0.1)
    client._is_trusted = lambda connection: False
    with pytest.raises(ClassifierError, match="is not there"):
        client.classify([BRIGHT])
    assert served.scorer.batches == []
