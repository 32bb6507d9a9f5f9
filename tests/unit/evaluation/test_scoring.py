from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.package import load_package
from monitor.errors import SourceError
from monitor.evaluation.scoring import score_file
from monitor.vocabulary import Posture
from tests.fakes.footage import Footage, counting_grey, film, garbage, plain, sound_only
from tests.fakes.model_packages import write_image_package, write_motion_package

BOTH = (Posture.CALM, Posture.CLOSE)


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> OnnxClassifier:
    """Takes bright for violent, a frame at a time."""
    return OnnxClassifier(load_package(write_image_package(tmp_path_factory.mktemp("bright"))))


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory) -> OnnxClassifier:
    """Needs several frames."""
    return OnnxClassifier(load_package(write_motion_package(tmp_path_factory.mktemp("motion"))))


def test_each_posture_samples_as_it_does_live(tmp_path: Path, bright: OnnxClassifier) -> None:
    path = film(tmp_path / "a.mp4", Footage(duration_s=8, frame_rate=10, gop_s=2.0), counting_grey(320, 180, 80))
    scored = score_file(path, bright, BOTH)
    calm, close = scored.track.windows[Posture.CALM], scored.track.windows[Posture.CLOSE]
    assert [window.start_s for window in calm] == pytest.approx([0, 2, 4, 6], abs=0.01)
    assert np.diff([window.end_s for window in close]) == pytest.approx(0.5, abs=0.11)
    assert len(close) >= 15
    for windows in (calm, close):
        brightness = [window.scores["bright"] for window in windows]
        assert brightness == sorted(brightness)
    assert scored.track.length_s == pytest.approx(8.0, abs=0.2)
    assert {posture: cost.windows for posture, cost in scored.costs.items()} == {
        Posture.CALM: len(calm),
        Posture.CLOSE: len(close),
    }
    assert all(cost.decode_cpu_s > 0 and cost.classify_cpu_s > 0 for cost in scored.costs.values())


def test_what_cannot_be_scored_says_why(tmp_path: Path, motion: OnnxClassifier) -> None:
    wanted = {
        tmp_path / "missing.mp4": "not_found",
        garbage(tmp_path / "garbage.mp4"): "unknown_container",
        sound_only(tmp_path / "sound.mp4"): "no_video",
        film(tmp_path / "short.mp4", Footage(duration_s=0.1, frame_rate=30)): "too_short",
    }
    for path, reason in wanted.items():
        with pytest.raises(SourceError) as raised:
            score_file(path, motion, BOTH)
        assert raised.value.reason == reason, path


def test_one_whole_window_is_enough(tmp_path: Path, motion: OnnxClassifier, bright: OnnxClassifier) -> None:
    spec = motion.clip_spec
    just = film(tmp_path / "just.mp4", Footage(duration_s=spec.frames * spec.spacing_s, frame_rate=30))
    assert score_file(just, motion, BOTH).track.windows[Posture.CLOSE]
    # Few frames a second are no reason to call a long clip short.
    slow = film(tmp_path / "slow.mp4", Footage(duration_s=4.0, frame_rate=2))
    assert score_file(slow, motion, BOTH).track.windows[Posture.CLOSE]
    # For a model of single pictures, a picture is enough.
    flash = film(tmp_path / "flash.mp4", Footage(duration_s=0.1, frame_rate=30), plain(255, 255, 255))
    assert score_file(flash, bright, BOTH).track.windows[Posture.CLOSE]


def test_sound_that_outlasts_the_picture_is_no_length(tmp_path: Path, bright: OnnxClassifier) -> None:
    path = film(tmp_path / "a.mp4", Footage(duration_s=2, frame_rate=10, sound=True))
    assert score_file(path, bright, (Posture.CLOSE,)).track.length_s == pytest.approx(2.0, abs=0.2)
