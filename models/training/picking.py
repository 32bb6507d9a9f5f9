"""Which frames of a clip make a window, as live sampling would pick them."""

from __future__ import annotations

from itertools import islice

import numpy as np
from numpy.typing import NDArray

from models.training.clips import Video
from models.training.velocity import FRAMES, SPACING_S

LONGEST_GAP_S = 0.4
"""Frames farther apart belong to different pieces of a clip."""


def pick_frames(times_s: NDArray[np.float64], first: int, spacing_s: float = SPACING_S) -> list[int] | None:
    """Return the indices of `FRAMES` frames, or None where the clip ends or has a hole.

    As the daemon does: the frame nearest to each place of a grid that starts at the first frame. Where frames are
    scarcer than places, a frame is picked more than once.

    Args:
        times_s: Times of all frames.
        first: Index of the first.
        spacing_s: Spacing of the grid in seconds.
    """
    places_s = times_s[first] + spacing_s * np.arange(FRAMES)
    if times_s[-1] < places_s[-1] - spacing_s / 2:
        return None
    after = np.clip(np.searchsorted(times_s, places_s - 1e-6), first + 1, len(times_s) - 1)
    nearer = places_s - times_s[after - 1] < times_s[after] - places_s
    picked = np.where(nearer, after - 1, after)
    picked[0] = first
    if np.any(np.diff(times_s[first : picked[-1] + 1]) > LONGEST_GAP_S):
        return None
    return [int(index) for index in picked]


def starts(video: Video, most: int) -> list[int]:
    """Return first frames of up to `most` windows, spread evenly."""
    possible = [first for first in range(len(video.times_s) - 1) if pick_frames(video.times_s, first) is not None]
    # Neighbouring windows say almost the same: half a window apart is enough.
    step = max(1, round(len(possible) / most), FRAMES // 2)
    return possible[::step][:most]


def random_starts(video: Video, many: int, rng: np.random.Generator) -> list[int]:
    """Return the first frames of `many` windows, fewer where the clip has hardly any."""
    drawn = (int(first) for first in rng.integers(len(video.times_s), size=20 * many))
    return list(islice((first for first in drawn if pick_frames(video.times_s, first) is not None), many))


def at_frame_rate(times_s: NDArray[np.float64], rate: float) -> NDArray[np.int64]:
    """Return indices of the frames that a camera of `rate` frames per second would have taken: all where it is faster."""
    shot = np.floor((times_s - times_s[0]) * rate + 0.05)
    return np.flatnonzero(np.diff(shot, prepend=-1.0) > 0)
