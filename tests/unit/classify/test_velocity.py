"""The camera's motion is told from other motion, and repeated pictures from still ones."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from models.training.graph_builder import GraphBuilder
from models.training.motion_features import MotionFeatures
from models.training.velocity import CELLS, FRAME_SIZE_PX, FRAMES, HEIGHT, PAIRS, SPACING_S, WIDTH
from monitor.classify.preparation import farneback_flow

Grey = NDArray[np.uint8]
Measure = Callable[[Grey, NDArray[np.float32] | None], dict[str, NDArray[np.float32]]]


@pytest.fixture(scope="module")
def measure() -> Measure:
    graph = GraphBuilder()
    features = MotionFeatures(graph)
    velocity = features.velocity
    model = graph.build(
        "velocity",
        {
            "motion": (velocity.motion, ["batch", PAIRS, 2, CELLS]),
            "raw": (velocity.raw, ["batch", PAIRS, 2, CELLS]),
            "camera": (velocity.camera, ["batch", PAIRS, 2, 3]),
            "differences": (velocity.differences()[1], ["batch", PAIRS, CELLS]),
            "features": (features.matrix(), ["batch", len(features.names)]),
        },
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def run(luma: Grey, gaps_s: NDArray[np.float32] | None = None) -> dict[str, NDArray[np.float32]]:
        gaps = np.full(PAIRS, SPACING_S, np.float32) if gaps_s is None else gaps_s
        names = [output.name for output in session.get_outputs()]
        found = session.run(names, {"luma": luma[None], "flow": farneback_flow(luma, 7)[None], "gaps": gaps[None]})
        return {name: value[0] for name, value in zip(names, found, strict=True)}

    return run


def texture() -> Grey:
    noise = cv2.GaussianBlur(np.random.default_rng(3).random((200, 260)), (0, 0), 2)
    return np.asarray(255 * (noise - noise.min()) / np.ptp(noise), np.uint8)


def seen(shift_x: float = 0.0, shift_y: float = 0.0, grown: float = 0.0, roll_deg: float = 0.0) -> Grey:
    """What a camera over the texture sees."""
    matrix = np.asarray(cv2.getRotationMatrix2D((130, 100), roll_deg, float(np.exp(grown))), np.float64)
    matrix[:, 2] += (WIDTH / 2 - 130 - shift_x, HEIGHT / 2 - 100 - shift_y)
    return np.asarray(cv2.warpAffine(texture(), matrix, (WIDTH, HEIGHT)), np.uint8)


def speed(velocity: NDArray[np.float32]) -> float:
    """Mean speed over pairs and cells."""
    return float(np.linalg.norm(velocity, axis=1).mean())


CAMERAS = {
    "pan": lambda step: seen(1.5 * step, -0.7 * step),
    "zoom": lambda step: seen(grown=0.02 * step),
    "roll": lambda step: seen(roll_deg=2.0 * step),
    "shake": lambda step: seen(*np.random.default_rng(step).normal(0, 1.0, 2)),
}


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS.keys())
def test_what_the_camera_does_is_taken_out(measure: Measure, camera: Callable[[int], Grey]) -> None:
    found = measure(np.stack([camera(step) for step in range(FRAMES)]), None)
    assert speed(found["raw"]) > 0.1
    assert speed(found["motion"]) < 0.25 * speed(found["raw"])


def test_the_camera_s_speed_is_right(measure: Measure) -> None:
    found = measure(np.stack([seen(1.5 * step) for step in range(FRAMES)]), None)
    per_second = -1.5 / FRAME_SIZE_PX / SPACING_S
    np.testing.assert_allclose(found["camera"][:, 0, 0], per_second, rtol=0.2)


def test_brightness_differs_less_once_the_camera_is_taken_out(measure: Measure) -> None:
    panned = measure(np.stack([seen(1.5 * step) for step in range(FRAMES)]), None)["differences"].mean()
    jumping = measure(np.stack([seen(*np.random.default_rng(step).normal(0, 40, 2)) for step in range(FRAMES)]), None)
    assert panned < 0.2 * jumping["differences"].mean()


def test_what_moves_by_itself_stays(measure: Measure) -> None:
    def picture(step: int) -> Grey:
        canvas = seen(1.0 * step)
        patch = texture()[50:66, 90:106]
        canvas[14:30, 8 + 3 * step : 24 + 3 * step] = patch
        return canvas

    motion = measure(np.stack([picture(step) for step in range(FRAMES)]), None)["motion"]
    fast = np.linalg.norm(motion, axis=1).reshape(PAIRS, HEIGHT // 4, WIDTH // 4)
    inside, outside = fast[3, 4:7, 5:8].mean(), fast[3, :, 13:].mean()
    assert inside > 4 * outside


def test_repeated_pictures_change_no_speed(measure: Measure) -> None:
    every = np.stack([seen(1.0 * step, 0.5 * step) for step in range(FRAMES)])
    twice = every[np.arange(FRAMES) // 2]
    slow = np.full(PAIRS, SPACING_S / 2, np.float32)
    once, repeated = (measure(luma, gaps) for luma, gaps in ((every, None), (twice, slow)))
    np.testing.assert_allclose(speed(repeated["raw"]), speed(once["raw"]), rtol=0.15)


def test_places_without_a_new_frame_change_no_speed(measure: Measure) -> None:
    every = np.stack([seen(1.0 * step, 0.5 * step) for step in range(FRAMES)])
    picked = [0, 1, 1, 2, 3, 3, 4, 5]
    gaps = np.diff(np.array(picked) * SPACING_S).astype(np.float32)
    once, repeated = measure(every, None), measure(every[picked], gaps)
    np.testing.assert_allclose(speed(repeated["raw"]), speed(once["raw"]), rtol=0.15)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_picture_of_nothing_yields_numbers(measure: Measure, level: int) -> None:
    features = measure(np.full((FRAMES, HEIGHT, WIDTH), level, np.uint8), np.zeros(PAIRS, np.float32))["features"]
    assert np.isfinite(features).all()
