"""The shipped model on made-up pictures: what must not alarm, what may, and what must not matter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from monitor import shipped
from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.package import find_package, load_package
from monitor.video.clip import Clip
from tests.fakes.model_packages import make_clip

HEIGHT, WIDTH, FRAMES = 48, 64, 8


@pytest.fixture(scope="module")
def classifier() -> OnnxClassifier:
    return OnnxClassifier(load_package(find_package("violent-motion")))


def score(classifier: OnnxClassifier, clip: Clip) -> float:
    return float(classifier.classify([clip])[0, 0])


def texture() -> NDArray[np.uint8]:
    noise = cv2.GaussianBlur(np.random.default_rng(3).random((200, 260)), (0, 0), 3)
    return np.asarray(255 * (noise - noise.min()) / np.ptp(noise), np.uint8)


def clip_of(picture: Callable[[int], NDArray[np.uint8]], spacing_s: float = 1 / 15) -> Clip:
    grey = np.stack([picture(step) for step in range(FRAMES)])
    return make_clip(np.repeat(grey[..., None], 3, axis=-1), spacing_s)


def still(step: int) -> NDArray[np.uint8]:
    return texture()[:HEIGHT, :WIDTH]


def black(step: int) -> NDArray[np.uint8]:
    return np.zeros((HEIGHT, WIDTH), np.uint8)


def pan(step: int) -> NDArray[np.uint8]:
    return texture()[step : HEIGHT + step, 2 * step : WIDTH + 2 * step]


def zoom(step: int) -> NDArray[np.uint8]:
    cut = texture()[step * 3 : 200 - step * 3, step * 4 : 260 - step * 4]
    return np.asarray(cv2.resize(cut, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def flash(step: int) -> NDArray[np.uint8]:
    return np.asarray(np.clip(still(step) * (1.8 if step % 3 == 1 else 1.0), 0, 255), np.uint8)


def scroll(step: int) -> NDArray[np.uint8]:
    return np.roll(still(step), 3 * step, axis=0)


@pytest.mark.parametrize("picture", [still, black, pan, zoom, flash, scroll], ids=lambda picture: picture.__name__)
def test_what_no_person_does_stays_below_review(
    classifier: OnnxClassifier, picture: Callable[[int], NDArray[np.uint8]]
) -> None:
    review = load_package(find_package("violent-motion")).manifest.operating_points["violence"].review
    assert score(classifier, clip_of(picture)) < review


def test_erratic_motion_scores_above_steady_motion(classifier: OnnxClassifier) -> None:
    def discs(seed: int, erratic: bool) -> Callable[[int], NDArray[np.uint8]]:
        rng = np.random.default_rng(seed)
        places = rng.uniform((15, 15), (WIDTH - 15, HEIGHT - 15), (5, 2))
        steps = rng.normal(0, 2.5, (FRAMES, 5, 2)) if erratic else np.full((FRAMES, 5, 2), 1.25)
        path = places + np.cumsum(steps, axis=0)

        def picture(step: int) -> NDArray[np.uint8]:
            canvas = still(step).copy()
            for number, (x, y) in enumerate(path[step]):
                cv2.circle(canvas, (int(x), int(y)), 5, (50 * number,), -1)
            return canvas

        return picture

    means = [np.mean([score(classifier, clip_of(discs(seed, kind))) for seed in range(8)]) for kind in (True, False)]
    assert means[0] > means[1]


def test_a_clip_scores_the_same_alone_and_in_company(classifier: OnnxClassifier) -> None:
    clips = [clip_of(picture) for picture in (still, pan, flash, zoom)]
    together = classifier.classify(clips)
    apart = np.concatenate([classifier.classify([clip]) for clip in clips])
    np.testing.assert_allclose(together, apart, atol=1e-5)


@pytest.mark.parametrize("times_s", [(0.0,) * 8, (0.0, 0.0, 0.0, 0.3, 0.3, 0.6, 0.6, 0.9)])
def test_repeated_time_stamps_give_a_score_all_the_same(classifier: OnnxClassifier, times_s: tuple[float, ...]) -> None:
    clip = clip_of(pan)
    odd = Clip(clip.frames, times_s, arrived_at=0.0, posture=clip.posture, spacing_honoured=False)
    assert 0 <= score(classifier, odd) <= 1


def test_the_card_and_the_manifest_name_the_same_thresholds() -> None:
    folder: Path = shipped.models_dir() / "violent-motion"
    points = load_package(folder).manifest.operating_points["violence"]
    card = (folder / "MODEL_CARD.md").read_text()
    assert f"`review` ({points.review:g})" in card
    assert f"`act` ({points.act:g})" in card


def test_every_rate_lies_within_its_interval() -> None:
    points = load_package(find_package("violent-motion")).manifest.operating_points["violence"]
    assert {measured.what for measured in points.measured} == {"recall", "false_alarms"}
    for measured in points.measured:
        assert measured.low <= measured.rate <= measured.high


def test_the_model_stays_small() -> None:
    assert len(load_package(find_package("violent-motion")).model) <= 4 * 1024**2


def test_loading_it_takes_at_most_60_mib() -> None:
    # In a process of its own, from before the first import of ONNX Runtime; what a watcher has anyway is there already.
    program = (
        "import monitor.watch.watcher; from monitor.watch.confinement import resident_bytes; before = resident_bytes()\n"
        "from monitor.classify.onnx_classifier import OnnxClassifier\n"
        "from monitor.classify.package import find_package, load_package\n"
        "classifier = OnnxClassifier(load_package(find_package('violent-motion')))\n"
        "print(resident_bytes() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    assert 0 < int(done.stdout.splitlines()[-1]) <= 60 * 1024**2
