"""The real watcher program, spoken to over its pipes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from monitor.vocabulary import Posture, WatchState
from monitor.watch.framing import decode_upward, encode_frame, read_frame
from monitor.watch.messages import Assign, Observation, Ping, Pong, Ready, StreamStatus, Upward, WatcherFault
from tests.fakes.footage import Footage, film


@contextmanager
def watcher(model: str = "violent-motion", options: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-m", "monitor.watch.watcher", f"--model={model}", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def pipes(process: subprocess.Popen[bytes]) -> tuple[BinaryIO, BinaryIO]:
    assert process.stdin is not None
    assert process.stdout is not None
    return cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout)


def receive(stream: BinaryIO) -> Upward:
    body = read_frame(stream)
    assert body is not None
    return decode_upward(body)


def test_it_says_what_it_runs_and_ends_with_its_input() -> None:
    with watcher() as process:
        down, up = pipes(process)
        ready = receive(up)
        assert isinstance(ready, Ready)
        assert ready.model.startswith("violent-motion@")
        assert ready.labels
        assert ready.provider == "cpu"
        down.write(encode_frame(Ping(7)))
        down.flush()
        pong = receive(up)
        assert isinstance(pong, Pong)
        assert (pong.number, pong.progress) == (7, 0)
        down.close()
        assert process.wait(10) == 0
        assert read_frame(up) is None


def test_it_ends_with_its_input_while_it_watches(tmp_path: Path) -> None:
    video = film(tmp_path / "v.mp4", Footage(duration_s=20, frame_rate=15, width=160, height=120, gop_s=1.0))
    with watcher() as process:
        down, up = pipes(process)
        assert isinstance(receive(up), Ready)
        for number in range(4):
            down.write(encode_frame(Assign(f"s{number}", str(video), Posture.FULL)))
        down.flush()
        scored: set[str] = set()
        states: list[WatchState] = []
        while len(scored) < 4:
            message = receive(up)
            if isinstance(message, Observation):
                scored.add(message.stream_id)
                assert all(0 <= score <= 1 for score in message.scores)
                assert message.scored_at >= message.arrived_at
            elif isinstance(message, StreamStatus):
                states.append(message.state)
        assert states.count(WatchState.WATCHING) == 4
        down.close()
        assert process.wait(10) == 0


def test_it_is_the_daemon_that_ends_it_and_no_signal_to_the_whole_service() -> None:
    with watcher() as process:
        down, up = pipes(process)
        assert isinstance(receive(up), Ready)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        down.write(encode_frame(Ping(1)))
        down.flush()
        assert isinstance(receive(up), Pong)


@pytest.mark.parametrize("raw", [b"\xff" * 8, b"\x00\x00\x00\x02\x90\x90", b"\x00\x00"])
def test_it_ends_when_the_daemon_talks_nonsense(raw: bytes) -> None:
    with watcher() as process:
        down, up = pipes(process)
        assert isinstance(receive(up), Ready)
        down.write(raw)
        down.close()
        assert process.wait(10) == 4


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        ("no-such-model", [], "invalid_model_package"),
        ("violent-motion", ["--provider=cuda"], "classifier_failed"),
    ],
)
def test_a_model_that_cannot_run_is_a_fault_and_never_silently_another(
    model: str, options: list[str], reason: str
) -> None:
    with watcher(model, options) as process:
        _, up = pipes(process)
        fault = receive(up)
        assert isinstance(fault, WatcherFault)
        assert fault.reason == reason
        assert process.wait(10) == 2


def test_what_libraries_print_does_not_reach_the_seam() -> None:
    program = (
        "import os\nfrom monitor.watch.process import claim_pipes, SeamWriter\n"
        "from monitor.watch.messages import Ping\n"
        "seam_in, seam_out = claim_pipes()\n"
        "print('noise'); os.write(1, b'more noise')\n"
        "assert os.read(0, 10) == b''\n"
        "assert seam_in.read() == b'word'\n"
        "SeamWriter(seam_out).send(Ping(5))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], input=b"word", capture_output=True, timeout=60, check=True)
    assert done.stdout == encode_frame(Ping(5))
    assert b"noise" in done.stderr
