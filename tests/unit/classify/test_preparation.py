from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitor.classify.manifest import InputPart
from monitor.classify.preparation import dis_flow, farneback_flow, luma, prepare
from tests.fakes.model_packages import make_clip


def texture(height: int = 160, width: int = 200) -> NDArray[np.uint8]:
    noise = cv2.GaussianBlur(np.random.default_rng(5).random((height, width)), (0, 0), 3)
    return np.asarray(255 * (noise - noise.min()) / np.ptp(noise), np.uint8)


def moving(frames: int, dx: int, dy: int) -> NDArray[np.uint8]:
    """The picture's content moves by (dx, dy) pixels from frame to frame."""
    whole = texture()
    return np.stack([whole[40 - i * dy : 104 - i * dy, 50 - i * dx : 146 - i * dx] for i in range(frames)])


def part(**fields: Any) -> InputPart:
    return InputPart.model_validate({"name": "x", "kind": "frames", "layout": "NTHWC", "dtype": "uint8", **fields})


def coloured(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=-1)


FLOWS: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.float32]]] = {
    "dis ultrafast": lambda grey: dis_flow(grey, "ultrafast"),
    "dis fast": lambda grey: dis_flow(grey, "fast"),
    "farneback": lambda grey: farneback_flow(grey, 9),
}


@pytest.mark.parametrize("method", FLOWS)
@given(dx=st.integers(-3, 3), dy=st.integers(-3, 3))
def test_flow_is_in_pixels_x_before_y(method: str, dx: int, dy: int) -> None:
    flow = FLOWS[method](moving(4, dx, dy))
    assert flow.shape == (3, 64, 96, 2)
    assert flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow, axis=(1, 2)), [[dx, dy]] * 3, atol=0.3)


def test_flow_does_not_depend_on_what_came_before() -> None:
    first = dis_flow(moving(3, 2, 1), "fast")
    dis_flow(moving(3, -3, 3), "fast")
    dis_flow(moving(3, 1, 1)[:, :16, :16], "fast")
    np.testing.assert_array_equal(dis_flow(moving(3, 2, 1), "fast"), first)


def test_luma_weighs_the_colours_as_eyes_do() -> None:
    frames = np.zeros((1, 16, 16, 3), np.uint8)
    levels = []
    for channel in range(3):
        frames[:] = 0
        frames[..., channel] = 200
        levels.append(int(luma(frames)[0, 0, 0]))
    red, green, blue = levels
    assert green > red > blue
    assert sum(levels) == pytest.approx(200, abs=2)


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        ("NTHWC", (2, 3, 64, 96, 3)),
        ("NTCHW", (2, 3, 3, 64, 96)),
        ("NCTHW", (2, 3, 3, 64, 96)),
        ("NHTCW", (2, 64, 3, 3, 96)),
    ],
)
def test_layouts_move_axes_and_no_values(layout: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    clips = [make_clip(rng.integers(0, 256, (3, 64, 96, 3), np.uint8)) for _ in range(2)]
    batch = prepare([part(layout=layout)], clips)["x"]
    assert batch.shape == shape
    assert batch.flags.c_contiguous
    back = batch.transpose([layout.index(axis) for axis in "NTHWC"])
    np.testing.assert_array_equal(back, np.stack([clip.frames for clip in clips]))


def test_a_single_image_needs_no_time_axis() -> None:
    clip = make_clip(coloured(moving(1, 0, 0)))
    assert prepare([part(layout="NCHW")], [clip])["x"].shape == (1, 3, 64, 96)


def test_scaling_is_per_channel() -> None:
    frames = np.zeros((1, 16, 16, 3), np.uint8)
    frames[...] = (255, 0, 51)
    scaling = {"divide_by": 255, "mean": [0.5, 0.5, 0.0], "std": [0.5, 0.25, 0.1]}
    batch = prepare([part(dtype="float32", scaling=scaling)], [make_clip(frames)])["x"]
    assert batch.dtype == np.float32
    np.testing.assert_allclose(batch[0, 0, 0, 0], [1.0, -2.0, 2.0], atol=1e-6)


@pytest.mark.parametrize("kind", ["dis_flow", "farneback_flow"])
def test_flow_can_be_taken_at_another_size(kind: str) -> None:
    clip = make_clip(coloured(moving(3, 2, 0)))
    half = prepare([part(kind=kind, dtype="float32", size={"width": 48, "height": 32})], [clip])["x"]
    assert half.shape == (1, 2, 32, 48, 2)
    assert np.median(half[..., 0]) == pytest.approx(1.0, abs=0.2)


def test_spacing_is_each_gap_or_their_mean() -> None:
    clip = make_clip(coloured(moving(4, 0, 0)), spacing_s=0.1)
    uneven = type(clip)(
        frames=clip.frames,
        times_s=(5.0, 5.04, 5.12, 5.2),
        arrived_at=0.0,
        posture=clip.posture,
        spacing_honoured=True,
    )
    gaps = part(name="gaps", kind="spacing", layout="NT", dtype="float32")
    mean = part(name="mean", kind="spacing", layout="N", dtype="float32")
    fed = prepare([gaps, mean], [clip, uneven])
    np.testing.assert_allclose(fed["gaps"], [[0.1, 0.1, 0.1], [0.04, 0.08, 0.08]], atol=1e-6)
    np.testing.assert_allclose(fed["mean"], [0.1, 0.2 / 3], atol=1e-6)
