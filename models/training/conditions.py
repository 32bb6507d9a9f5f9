"""Conditions under which the finished model is judged: other cameras, frame rates, pictures. Never trained on as such."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from models.training.clips import Video
from models.training.picking import at_frame_rate, pick_frames, starts
from models.training.velocity import HEIGHT, WIDTH
from models.training.windows import (
    HAND_HELD,
    STRONG,
    Camera,
    Disturbance,
    Window,
    boxed,
    plain_window,
    scaled,
    through_codec,
)

PER_VIDEO = 2

Condition = Callable[[Video, int, np.random.Generator], Window | None]
"""Makes a window of a clip from the frame with this index on."""


def _filmed_by(camera: Camera, fast_normals: float = 1.0) -> Condition:
    def make(video: Video, first: int, rng: np.random.Generator) -> Window | None:
        speed = 1.0 if video.violent else fast_normals
        return Disturbance(rng, camera=camera, speed=speed).apply(video, first)

    return make


def _seen(change: Callable[[Window, np.random.Generator], Window]) -> Condition:
    return lambda video, first, rng: change(plain_window(video, first), rng)


def _with_bars(bar_y: int, bar_x: int) -> Condition:
    return _seen(lambda window, _: replace(window, luma=boxed(window.luma, bar_y, bar_x)))


def _zoomed(video: Video, first: int, _: np.random.Generator) -> Window:
    _, height, width = video.luma.shape
    middle = video.luma[:, height // 4 : height // 4 + height // 2, width // 4 : width // 4 + width // 2]
    return plain_window(replace(video, luma=middle), first)


def _coarse(video: Video, first: int, _: np.random.Generator) -> Window:
    picked = pick_frames(video.times_s, first) or []
    coded = through_codec([video.luma[index] for index in picked], 40)
    return Window(np.stack([scaled(picture) for picture in coded]), np.diff(video.times_s[picked]).astype(np.float32))


def _dark(window: Window, rng: np.random.Generator) -> Window:
    noisy = window.luma * 0.35 + rng.normal(0, 4, window.luma.shape)
    return replace(window, luma=np.clip(noisy, 0, 255).astype(np.uint8))


def _undisturbed(video: Video, first: int, _: np.random.Generator) -> Window:
    return plain_window(video, first)


WINDOW_CONDITIONS: dict[str, Condition] = {
    "strong camera shake, pan and zoom": _filmed_by(STRONG),
    "hand-held camera": _filmed_by(HAND_HELD),
    "panning camera, normal clips played 1.8 times as fast": _filmed_by(Camera(pan=0.3), 1.8),
    "letterbox (bars of 15 % above and below)": _with_bars(round(HEIGHT * 0.15), 0),
    "upright phone (bars of 28 % left and right)": _with_bars(0, round(WIDTH * 0.28)),
    "coarse compression (H.264 at 144 lines, rate factor 40)": _coarse,
    "dark and noisy": _seen(_dark),
    "zoomed in twice": _zoomed,
}

FRAME_RATES: dict[str, tuple[float, bool]] = {
    "10 frames per second": (10.0, False),
    "12.5 frames per second": (12.5, False),
    "15 frames per second": (15.0, False),
    "25 frames per second": (25.0, False),
    "10 frames per second, shown at 30": (10.0, True),
}
"""Frame rate of the camera, and whether the stream repeats frames to keep its own."""

NAMES = (*WINDOW_CONDITIONS, *FRAME_RATES)


def conditioned_windows(video: Video, rng: np.random.Generator) -> Iterator[tuple[int, Window]]:
    """Return a clip's windows under every condition, each with the condition's place in `NAMES`."""
    for number, make in enumerate(WINDOW_CONDITIONS.values()):
        for first in starts(video, PER_VIDEO):
            if (window := make(video, first, rng)) is not None:
                yield number, window
    for number, (rate, repeated) in enumerate(FRAME_RATES.values(), len(WINDOW_CONDITIONS)):
        slower = _at_rate(video, rate, repeated)
        for first in starts(slower, PER_VIDEO):
            yield number, _undisturbed(slower, first, rng)


def _at_rate(video: Video, rate: float, repeated: bool) -> Video:
    kept = at_frame_rate(video.times_s, rate)
    if repeated:
        shown = np.repeat(kept, np.diff(np.append(kept, len(video.times_s))))
        return replace(video, luma=video.luma[shown])
    return replace(video, luma=video.luma[kept], times_s=video.times_s[kept])
