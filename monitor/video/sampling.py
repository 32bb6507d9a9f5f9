"""Which decoded frames become clips: pure choices over times, without a decoder, a clock or a lock.

Frames come in, in order of presentation; a grid at the model's spacing is laid over stream time, and the frame nearest
to each place of the grid is picked, scaled and kept. A `WindowSampler` fills one clip from one start; a
`SlidingSampler` hands out overlapping clips without end.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from monitor.video.clip import Clip, ClipSpec
from monitor.vocabulary import Posture

F = TypeVar("F")

SPACING_TOLERANCE = 0.35
"""A frame further than this share of the spacing from its place on the grid does not honour the spacing."""

_NEAR_ENOUGH = 0.1
"""A frame this share of the spacing before its place is taken without waiting for the next one."""


@dataclass(frozen=True, slots=True)
class Candidate(Generic[F]):
    """A decoded frame: its stream time, the Unix time at which its packet had been read, and the picture itself."""

    time_s: float
    arrived_at: float
    picture: F


@dataclass(frozen=True, slots=True)
class Pick:
    """A frame scaled for the model, with how far it lies from its place on the grid."""

    time_s: float
    arrived_at: float
    pixels: NDArray[np.uint8]
    off_s: float


class _Grid(Generic[F]):
    """Picks the candidate nearest to each of `start_s`, `start_s + step_s`, …; scales each picture at most once."""

    def __init__(self, start_s: float, step_s: float, scale: Callable[[F], NDArray[np.uint8]]) -> None:
        self._start_s = start_s
        self._step_s = step_s
        self._scale = scale
        self._places = 0
        self._before: Candidate[F] | None = None
        self._last: Pick | None = None

    @property
    def place_s(self) -> float:
        """Time of the next place to be filled."""
        return self._start_s + self._places * self._step_s

    def offer(self, candidate: Candidate[F], limit: int) -> list[Pick]:
        """Return the picks that `candidate` decides, at most `limit`."""
        picks: list[Pick] = []
        near_s = self._step_s * _NEAR_ENOUGH
        while len(picks) < limit and candidate.time_s >= self.place_s - near_s:
            nearest = candidate
            before = self._before
            if before is not None and self.place_s - before.time_s < candidate.time_s - self.place_s:
                nearest = before
            picks.append(self._pick(nearest))
        self._before = candidate
        return picks

    def wants(self, time_s: float, others_s: Collection[float], limit: int, *, near: bool) -> bool:
        """Whether a frame would be picked, and no frame at one of `others_s` would do instead.

        Args:
            time_s: When the frame is shown.
            others_s: Times of frames that come anyway.
            limit: Only the next so many places count.
            near: Whether only a frame that honours the spacing is of use, or any that lies nearer than others.
        """
        # A clip of one frame may have no spacing at all: its only place is the first.
        exactly = (time_s - self._start_s) / self._step_s if self._step_s > 0 else 0.0
        allowed_s = self._step_s * SPACING_TOLERANCE
        # Samplers ignore frames from before their start, however near.
        first_s = self._start_s - self._step_s * _NEAR_ENOUGH
        for place in {math.floor(exactly), math.ceil(exactly)}:
            if not self._places <= place < self._places + limit:
                continue
            place_s = self._start_s + place * self._step_s
            nearest_s = min((abs(other_s - place_s) for other_s in others_s if other_s >= first_s), default=math.inf)
            off_s = abs(time_s - place_s)
            if off_s < nearest_s and nearest_s > allowed_s and (off_s <= allowed_s or not near):
                return True
        return False

    def fill(self) -> Pick | None:
        """Return a pick for the next place from what has been seen so far: the last frame, again if need be."""
        return None if self._before is None else self._pick(self._before)

    def _pick(self, candidate: Candidate[F]) -> Pick:
        last = self._last
        seen = last is not None and last.time_s == candidate.time_s
        pixels = last.pixels if last is not None and seen else self._scale(candidate.picture)
        self._last = Pick(candidate.time_s, candidate.arrived_at, pixels, abs(candidate.time_s - self.place_s))
        self._places += 1
        return self._last


class WindowSampler(Generic[F]):
    """Fills one clip that starts at `start_s`; frames from before are ignored."""

    def __init__(
        self, spec: ClipSpec, posture: Posture, start_s: float, scale: Callable[[F], NDArray[np.uint8]]
    ) -> None:
        self.start_s = start_s
        self.end_s = start_s + span_s(spec)
        self._spec = spec
        self._posture = posture
        self._grid = _Grid(start_s, spec.spacing_s, scale)
        self._picks: list[Pick] = []

    def offer(self, candidate: Candidate[F]) -> Clip | None:
        """Take the next frame; return the clip once its last place is filled."""
        if candidate.time_s < self.start_s - self._spec.spacing_s * _NEAR_ENOUGH:
            return None
        self._picks += self._grid.offer(candidate, self._spec.frames - len(self._picks))
        return self._clip() if len(self._picks) >= self._spec.frames else None

    def wants(self, time_s: float, others_s: Collection[float], *, near: bool) -> bool:
        """Whether the clip needs a frame at `time_s` besides those at `others_s`, which come anyway.

        Args:
            time_s: When the frame is shown.
            others_s: Times of frames that come anyway.
            near: Whether only a frame that honours the spacing is of use, or any that lies nearer than others.
        """
        return self._grid.wants(time_s, others_s, self._spec.frames - len(self._picks), near=near)

    def finish(self) -> Clip | None:
        """No more frames will come: return a clip whose missing places repeat the last frame, or None if it is empty."""
        while len(self._picks) < self._spec.frames:
            pick = self._grid.fill()
            if pick is None:
                return None
            self._picks.append(pick)
        return self._clip()

    def _clip(self) -> Clip:
        return make_clip(self._picks, self._spec, self._posture)


class SlidingSampler(Generic[F]):
    """Hands out a clip about every `stride_s` seconds, each overlapping the ones before where the span is longer."""

    def __init__(
        self,
        spec: ClipSpec,
        posture: Posture,
        *,
        start_s: float,
        stride_s: float,
        scale: Callable[[F], NDArray[np.uint8]],
    ) -> None:
        self.start_s = start_s
        self._spec = spec
        self._posture = posture
        self._scale = scale
        self._lay_grid(stride_s)

    def _lay_grid(self, stride_s: float) -> None:
        # A grid finer than the spacing where clips are wanted more often than that: each clip takes every n-th place.
        self._every, self._step_s = self._layout(stride_s)
        self._grid = _Grid(self.start_s, self._step_s, self._scale)
        self._stride = max(1, round(stride_s / self._step_s))
        self._picks: deque[Pick] = deque(maxlen=(self._spec.frames - 1) * self._every + 1)
        self._since_clip = self._stride

    def _layout(self, stride_s: float) -> tuple[int, float]:
        if self._spec.frames == 1:
            return 1, stride_s
        every = max(1, round(self._spec.spacing_s / stride_s))
        return every, self._spec.spacing_s / every

    def change(self, posture: Posture, stride_s: float) -> None:
        """Go on in another posture; what has been picked stays of use where the grid is the same."""
        self._posture = posture
        if (self._every, self._step_s) == self._layout(stride_s):
            self._stride = max(1, round(stride_s / self._step_s))
            return
        self.start_s = self._grid.place_s
        self._lay_grid(stride_s)

    def wants(self, time_s: float, others_s: Collection[float], *, near: bool) -> bool:
        """Whether clips need a frame, as in `WindowSampler.wants`."""
        return self._grid.wants(time_s, others_s, sys.maxsize, near=near)

    def offer(self, candidate: Candidate[F]) -> Clip | None:
        """Take the next frame; return the newest clip that it completes (a gap in the pictures could fill several)."""
        if candidate.time_s < self.start_s - self._step_s * _NEAR_ENOUGH:
            return None
        clip = None
        while picks := self._grid.offer(candidate, 1):
            self._picks += picks
            self._since_clip += 1
            if len(self._picks) == self._picks.maxlen and self._since_clip >= self._stride:
                self._since_clip = 0
                clip = self._clip()
        return clip

    def finish(self) -> Clip | None:
        """No more frames will come: return a clip whose missing places repeat the last frame, or None if it is empty."""
        while len(self._picks) < (self._picks.maxlen or 1):
            pick = self._grid.fill()
            if pick is None:
                return None
            self._picks.append(pick)
        return self._clip()

    def _clip(self) -> Clip:
        return make_clip(list(self._picks)[:: self._every], self._spec, self._posture)


def span_s(spec: ClipSpec) -> float:
    """Return the time from a clip's first place to its last, in seconds."""
    return (spec.frames - 1) * spec.spacing_s


def make_clip(picks: list[Pick], spec: ClipSpec, posture: Posture) -> Clip:
    """Put picked frames together; `spec.frames` of them, in order of time."""
    allowed_s = SPACING_TOLERANCE * spec.spacing_s
    return Clip(
        frames=np.stack([pick.pixels for pick in picks]),
        times_s=tuple(pick.time_s for pick in picks),
        arrived_at=max(pick.arrived_at for pick in picks),
        posture=posture,
        spacing_honoured=len(picks) < 2 or all(pick.off_s <= allowed_s for pick in picks),
    )
