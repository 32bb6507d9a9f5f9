"""How a picture of one shape is brought to a size of another."""

from __future__ import annotations

import numpy as np
import pytest
from av import VideoFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitor.video.clip import Fit
from monitor.video.decoder import MAX_OVERHANG, FrameScaler

FITS: tuple[Fit, ...] = ("stretch", "crop", "letterbox")


def thirds(width: int, height: int, axis: int) -> NDArray[np.uint8]:
    """Red, green and blue, a third each, from left to right (axis 1) or from top to bottom (axis 0)."""
    picture = np.zeros((height, width, 3), np.uint8)
    for colour, part in enumerate(np.array_split(np.arange(picture.shape[axis]), 3)):
        if axis == 1:
            picture[:, part, colour] = 240
        else:
            picture[part, :, colour] = 240
    return picture


def brought(picture: NDArray[np.uint8], width: int, height: int, fit: Fit) -> NDArray[np.uint8]:
    return FrameScaler().rgb(VideoFrame.from_ndarray(picture, format="rgb24"), width, height, fit)


def shares(picture: NDArray[np.uint8]) -> list[float]:
    """Return how much of the picture is red, green, blue and black."""
    lit = picture > 120
    return [float(lit[..., colour].mean()) for colour in range(3)] + [float((~lit.any(axis=2)).mean())]


@pytest.mark.parametrize("axis", [0, 1])
def test_a_long_picture(axis: int) -> None:
    """Three times as long as wide, so that its middle third is a square."""
    picture = thirds(*((192, 64) if axis == 1 else (64, 192)), axis)
    assert shares(brought(picture, 48, 48, "stretch")) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], abs=0.03)
    assert shares(brought(picture, 48, 48, "crop")) == pytest.approx([0, 1, 0, 0], abs=0.03)
    assert shares(brought(picture, 48, 48, "letterbox")) == pytest.approx([1 / 9, 1 / 9, 1 / 9, 2 / 3], abs=0.03)


def test_bars_are_on_both_sides() -> None:
    boxed = brought(np.full((64, 192, 3), 200, np.uint8), 48, 48, "letterbox")
    lit = np.flatnonzero(boxed.mean(axis=(1, 2)) > 120)
    assert (lit[0], lit[-1]) == (16, 31)


@pytest.mark.parametrize("fit", FITS)
def test_a_picture_of_the_right_shape_is_the_same_by_all(fit: Fit) -> None:
    picture = thirds(96, 72, 1)
    np.testing.assert_array_equal(brought(picture, 32, 24, fit), brought(picture, 32, 24, "stretch"))


@given(st.integers(2, 300), st.integers(2, 300), st.integers(16, 120), st.integers(16, 120), st.sampled_from(FITS))
@settings(deadline=None, max_examples=60)
def test_the_size_is_always_the_one_asked_for(across: int, down: int, width: int, height: int, fit: Fit) -> None:
    scaled = brought(np.full((down, across, 3), 200, np.uint8), width, height, fit)
    assert scaled.shape == (height, width, 3)
    if fit != "letterbox":
        assert scaled.min() > 150


def test_a_thread_of_a_picture_costs_no_more_memory_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    scaler = FrameScaler()

    def pixels(_frame: VideoFrame, width: int, height: int, _format: str) -> NDArray[np.uint8]:
        asked.append((width, height))
        return np.zeros((height, width, 3), np.uint8)

    monkeypatch.setattr(scaler, "_pixels", pixels)
    for across, down in ((8192, 2), (2, 8192)):
        frame = VideoFrame.from_ndarray(np.zeros((down, across, 3), np.uint8), format="rgb24")
        assert scaler.rgb(frame, 224, 224, "crop").shape == (224, 224, 3)
        assert scaler.rgb(frame, 224, 224, "letterbox").shape == (224, 224, 3)
    assert max(max(size) for size in asked) <= MAX_OVERHANG * 224
