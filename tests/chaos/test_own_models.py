"""Packages that an operator brings, through the real watcher program, from a file to scores."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.classify.remote import ENVIRONMENT_VARIABLE, RemoteSettings
from monitor.vocabulary import Posture
from monitor.watch.framing import decode_upward, encode_frame, read_frame
from monitor.watch.messages import Assign, Message, Observation, Ping, Pong, Ready, WatcherFault, WatcherStats
from tests.fakes import model_packages as toys
from tests.fakes.footage import Footage, film
from tests.fakes.kserve_server import inference_server
from tests.fakes.own_models import LABELS, expected_still_scores, write_picture_package, write_two_stream_package

T = TypeVar("T", bound=Message)


class Watcher:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._down, self._up = cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout)
        self._pings = 0

    def send(self, message: Message) -> None:
        self._down.write(encode_frame(message))
        self._down.flush()

    def receive(self, kind: type[T]) -> T:
        while (body := read_frame(self._up)) is not None:
            if isinstance(message := decode_upward(body), kind):
                return message
            assert not isinstance(message, WatcherFault), message
        raise AssertionError("the watcher has ended")

    def stats(self) -> WatcherStats:
        self._pings += 1
        self.send(Ping(self._pings))
        return self.receive(Pong).stats

    def scores(self, video: Path) -> tuple[float, ...]:
        """Return the scores of the first clip of a video."""
        self.send(Assign("s", str(video), Posture.FULL))
        return self.receive(Observation).scores


@contextmanager
def watcher(model: Path, environ: Mapping[str, str] | None = None) -> Iterator[Watcher]:
    with subprocess.Popen(
        [sys.executable, "-m", "monitor.watch.watcher", f"--model={model}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environ or {})},
    ) as process:
        try:
            yield Watcher(process)
        finally:
            process.kill()


def even(red: int, green: int, blue: int) -> NDArray[np.uint8]:
    picture = np.empty((128, 128, 3), np.uint8)
    picture[:] = red, green, blue
    return picture


def footage(width: int, height: int) -> Footage:
    return Footage(duration_s=6, frame_rate=20, width=width, height=height, gop_s=1.0, pixel_format="yuv444p")


def test_many_labels_from_two_streams(tmp_path: Path) -> None:
    package = write_two_stream_package(tmp_path / "two-stream")
    # As wide as the model's pictures, so that the letterbox has no bars and the scores can be reckoned by hand.
    video = film(tmp_path / "v.mp4", footage(128, 96), lambda _: even(200, 40, 60)[:96])
    with watcher(package) as process:
        ready = process.receive(Ready)
        assert (ready.model, ready.labels) == ("two-stream@1.0.0", LABELS)
        np.testing.assert_allclose(process.scores(video), expected_still_scores(200, 40, 60), atol=0.05)


def test_motion_reaches_the_second_stream(tmp_path: Path) -> None:
    package = write_two_stream_package(tmp_path / "two-stream")
    texture = np.kron(np.random.default_rng(2).integers(0, 256, (24, 60, 1), np.uint8), np.ones((8, 8, 3), np.uint8))
    video = film(tmp_path / "v.mp4", footage(128, 96), lambda n: texture[50 : 50 + 96, 2 * n : 2 * n + 128])
    with watcher(package) as process:
        process.receive(Ready)
        assert process.scores(video)[0] > expected_still_scores(128, 128, 128)[0] + 0.2


def test_bars_and_crops_keep_proportions(tmp_path: Path) -> None:
    """A tall picture, red in the middle and black at both ends: the crop sees red alone."""

    def tall(_: int) -> NDArray[np.uint8]:
        picture = np.zeros((192, 64, 3), np.uint8)
        picture[64:128] = 250, 0, 0
        return picture

    video = film(tmp_path / "v.mp4", footage(64, 192), tall)
    with watcher(write_picture_package(tmp_path / "picture")) as process:
        assert process.receive(Ready).labels == ("gore",)
        (gore,) = process.scores(video)
        assert gore == pytest.approx(np.exp(250 / 32) / (np.exp(250 / 32) + np.exp(4) + 2), abs=0.03)
    with watcher(write_two_stream_package(tmp_path / "two-stream")) as process:
        process.receive(Ready)
        # A third of the picture is red, and a quarter of the width is picture: the rest is bars.
        blood = process.scores(video)[2]
        assert blood < expected_still_scores(80, 0, 0)[2]


def remote_package(folder: Path) -> Path:
    manifest = {**toys.motion_manifest(), "name": "toy-remote", "remote": {"protocol": "kserve_v2", "model": "toy"}}
    del manifest["file"]
    return toys.write_motion_package(folder, manifest=manifest)


def test_a_remote_model_with_a_fallback_in_a_real_watcher(tmp_path: Path) -> None:
    local, remote = toys.write_motion_package(tmp_path / "toy-motion"), remote_package(tmp_path / "toy-remote")
    video = film(tmp_path / "v.mp4", footage(64, 48), lambda _: even(128, 128, 128)[:48, :64])
    with inference_server(local / "model.onnx") as server:
        settings = RemoteSettings(server.url, timeout_s=0.5, failures=1, retry_s=0.1, fallback=str(local))
        with watcher(remote, {ENVIRONMENT_VARIABLE: settings.to_variable()}) as process:
            ready = process.receive(Ready)
            assert (ready.model, ready.provider) == ("toy-remote@1.2.3", "kserve_v2")
            here = process.scores(video)
            assert here[0] == pytest.approx(0.5, abs=0.02)
            stats = process.stats()
            assert (stats.classifier_trouble, stats.classifier_serving) == ("", "toy-remote@1.2.3")
            server.mood = "nan"
            while not process.stats().classifier_trouble:
                pass
            stats = process.stats()
            assert (stats.classifier_trouble, stats.classifier_serving) == ("classifier_bad_answer", "toy-motion@1.2.3")
            assert process.receive(Observation).scores[0] == pytest.approx(here[0], abs=0.01)
            while not process.stats().clips_stood_in:
                pass
            server.mood = "well"
            while process.stats().classifier_trouble:
                pass


def test_a_remote_model_without_its_server_is_a_fault(tmp_path: Path) -> None:
    settings = RemoteSettings("http://127.0.0.1:9", timeout_s=0.5)
    for environ in ({ENVIRONMENT_VARIABLE: settings.to_variable()}, {}):
        with watcher(remote_package(tmp_path / "toy-remote"), environ) as process:
            body = read_frame(process._up)
            assert body is not None
            fault = decode_upward(body)
            assert isinstance(fault, WatcherFault)
            # The daemon knows by this word that it is the classifier.
            assert fault.reason.startswith("classifier")
            assert "127.0.0.1" not in fault.detail
