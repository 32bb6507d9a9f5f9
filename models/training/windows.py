"""From decoded clips to what a watcher would hand to the model: eight frames at a live stream's spacing, disturbed or not."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.clips import Video
from models.training.motion_features import FRAMES, HEIGHT, SPACING_S, WIDTH

LONGEST_GAP_S = 0.4
"""Frames farther apart belong to different pieces of a clip."""


@dataclass(frozen=True, slots=True)
class Window:
    """One inference's worth of a clip.

    Attributes:
        luma: uint8, ``(FRAMES, HEIGHT, WIDTH)``.
        gaps_s: float32, ``(FRAMES - 1,)``.
    """

    luma: NDArray[np.uint8]
    gaps_s: NDArray[np.float32]


def pick_frames(times_s: NDArray[np.float64], first: int, spacing_s: float, on_grid: bool) -> list[int] | None:
    """Return the indices of `FRAMES` frames about `spacing_s` apart, or None where the clip ends or has a hole.

    Args:
        times_s: Times of all frames.
        first: Index of the first.
        spacing_s: Wanted spacing in seconds.
        on_grid: Nearest to a grid that starts at the first frame; otherwise each nearest to its predecessor's time plus
            the spacing. Live sampling does either, as the frame rate allows.
    """
    picked = [first]
    for step in range(1, FRAMES):
        target_s = times_s[first] + step * spacing_s if on_grid else times_s[picked[-1]] + spacing_s
        after = picked[-1] + 1
        if after >= len(times_s):
            return None
        nearest = after + int(np.argmin(np.abs(times_s[after : after + 64] - target_s)))
        if times_s[nearest] - times_s[picked[-1]] > LONGEST_GAP_S:
            return None
        picked.append(nearest)
    return picked


def starts(video: Video, most: int, rng: np.random.Generator | None = None) -> list[int]:
    """Return first frames of up to `most` windows: spread evenly, or at random with `rng`."""
    possible = [
        first for first in range(len(video.times_s)) if pick_frames(video.times_s, first, SPACING_S, False) is not None
    ]
    if not possible:
        return []
    if rng is not None:
        return [int(first) for first in rng.choice(possible, most, replace=len(possible) < most)]
    # Neighbouring windows say almost the same: half a window apart is enough.
    step = max(1, round(len(possible) / most), FRAMES // 2)
    return possible[::step][:most]


def plain_window(video: Video, first: int) -> Window:
    """Return the window as a live stream would give it, undisturbed."""
    picked = pick_frames(video.times_s, first, SPACING_S, False)
    if picked is None:
        message = f"no window starts at frame {first}"
        raise ValueError(message)
    luma = np.stack([_scaled(video.luma[index]) for index in picked])
    return Window(luma, np.diff(video.times_s[picked]).astype(np.float32))


@dataclass(slots=True)
class Disturbance:
    """How a window is changed, drawn anew for each; the label survives all of it.

    Crops follow a path (pan, zoom, shake); pictures go through lens, light and codec; time through another frame rate.
    """

    rng: np.random.Generator
    strong: bool = False

    def apply(self, video: Video, first: int) -> Window | None:
        """Return the disturbed window, or None where the drawn frame rate does not fit the clip."""
        rng = self.rng
        spacing_s = SPACING_S * (rng.uniform(0.55, 1.5) if rng.random() < 0.4 else 1.0)
        picked = pick_frames(video.times_s, first, spacing_s, bool(rng.random() < 0.5))
        if picked is None:
            return None
        gaps_s = np.diff(video.times_s[picked])
        frames = [video.luma[index] for index in picked]
        if rng.random() < 0.25:  # slow motion, time lapse, wrong time stamps
            gaps_s = gaps_s * rng.uniform(0.75, 1.33)
        if rng.random() < 0.3:  # time does not matter to what the motion is
            frames.reverse()
            gaps_s = gaps_s[::-1]
        luma = self._cropped(frames)
        if rng.random() < 0.5:
            luma = luma[:, :, ::-1]
        luma = self._letterboxed(self._lens_and_codec(luma))
        return Window(np.ascontiguousarray(luma), gaps_s.astype(np.float32))

    def _cropped(self, frames: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        rng = self.rng
        height, width = frames[0].shape
        zoom = rng.uniform(0.6, 1.0) if rng.random() < 0.7 else 1.0
        stretch = np.exp(rng.uniform(-0.25, 0.25)) if rng.random() < 0.6 else 1.0
        side_y = min(1.0, zoom * stretch) * height
        side_x = min(1.0, zoom / stretch) * width
        path = np.zeros((FRAMES, 3))
        moving = rng.random()
        if self.strong or moving < 0.25:
            path[:, :2] += rng.normal(0, (4.0 if self.strong else 1.2), (FRAMES, 2))
        if self.strong or 0.15 < moving < 0.4:
            speed = rng.normal(0, (4.0 if self.strong else 1.5), 2)
            path[:, :2] += np.outer(np.arange(FRAMES), speed)
        if self.strong or moving > 0.85:
            growth = float(np.clip(rng.normal(0, 0.25 if self.strong else 0.06), -0.5, 0.5))
            path[:, 2] = np.linspace(0, growth, FRAMES)
        room_y, room_x = height - side_y, width - side_x
        top, left = rng.uniform(0, 1, 2) * (room_y, room_x)
        pictures = []
        for frame, (dx, dy, grown) in zip(frames, path, strict=True):
            tall, wide = (min(side * (1 + grown), full) for side, full in ((side_y, height), (side_x, width)))
            y = round(min(max(top + dy, 0.0), height - tall))
            x = round(min(max(left + dx, 0.0), width - wide))
            pictures.append(_scaled(frame[y : y + round(tall), x : x + round(wide)]))
        return np.stack(pictures)

    def _lens_and_codec(self, luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
        rng = self.rng
        if rng.random() < 0.5:
            gamma, gain, lift = np.exp(rng.normal(0, 0.25)), rng.uniform(0.6, 1.15), rng.uniform(-15, 25)
            curve = np.clip(255 * (np.arange(256) / 255) ** gamma * gain + lift, 0, 255).astype(np.uint8)
            luma = curve[luma]
        if rng.random() < 0.3:
            sigma = float(rng.uniform(0.3, 0.9))
            luma = np.stack([cv2.GaussianBlur(picture, (0, 0), sigma) for picture in luma])
        if rng.random() < 0.25:
            noise = rng.normal(0, rng.uniform(1, 6), luma.shape)
            luma = np.clip(luma + noise, 0, 255).astype(np.uint8)
        if rng.random() < 0.3:
            quality = int(rng.integers(15, 60))
            luma = np.stack([_through_jpeg(picture, quality) for picture in luma])
        return luma

    def _letterboxed(self, luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
        rng = self.rng
        if rng.random() > 0.12:
            return luma
        boxed = np.full_like(luma, rng.integers(0, 24))
        if rng.random() < 0.5:
            bar = int(HEIGHT * rng.uniform(0.06, 0.2))
            inner = (WIDTH, HEIGHT - 2 * bar)
            boxed[:, bar : HEIGHT - bar] = [cv2.resize(p, inner, interpolation=cv2.INTER_AREA) for p in luma]
        else:
            bar = int(WIDTH * rng.uniform(0.06, 0.34))
            inner = (WIDTH - 2 * bar, HEIGHT)
            boxed[:, :, bar : WIDTH - bar] = [cv2.resize(p, inner, interpolation=cv2.INTER_AREA) for p in luma]
        return boxed


def hard_normal(video: Video, other: Video, rng: np.random.Generator) -> Window | None:
    """Return a made-up normal window from normal clips: what alarms naive motion detectors on live streams.

    One of: a still or moving picture under strong camera shake, pan and zoom; a scene cut; a slide show; flashes of
    light; a scrolling or sliding picture; pieces of one picture waved, swung or slid smoothly over another.
    """
    found = starts(video, 1, rng)
    if not found:
        return None
    kind = int(rng.integers(8))
    if kind == 0:
        return Disturbance(rng, strong=True).apply(video, found[0])
    if kind == 1:
        still = np.repeat(video.luma[found[0] : found[0] + 1], 24, axis=0)
        frozen = Video(video.path, False, video.dataset, video.group, still, np.arange(24) / 30.0)
        return Disturbance(rng, strong=True).apply(frozen, 0)
    window = Disturbance(rng).apply(video, found[0])
    if window is None:
        return None
    luma = window.luma.copy()
    match kind:
        case 2 | 3:
            second = Disturbance(rng).apply(other, starts(other, 1, rng)[0]) if starts(other, 1) else None
            if second is None:
                return None
            cut = int(rng.integers(1, FRAMES))
            luma[cut:] = second.luma[cut:]
            if kind == 3:
                luma[:cut], luma[cut:] = luma[0], luma[-1]
        case 4:
            lit = rng.random(FRAMES) < 0.4
            luma[lit] = np.clip(luma[lit] * rng.uniform(1.2, 2.2) + rng.uniform(0, 60), 0, 255).astype(np.uint8)
        case 5:
            step, axis = int(rng.integers(1, 8)), int(rng.integers(2))
            luma = np.stack([np.roll(luma[0], step * index, axis=axis) for index in range(FRAMES)])
        case _:
            luma = _waved(luma if kind == 6 else np.repeat(luma[:1], FRAMES, axis=0), other, window.gaps_s, rng)
    return Window(luma, window.gaps_s)


def _waved(
    luma: NDArray[np.uint8], other: Video, gaps_s: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the pictures with one to three patches of another clip that move along smooth paths."""
    luma = luma.copy()
    times_s = np.concatenate([[0.0], np.cumsum(gaps_s)])
    for _ in range(int(rng.integers(1, 4))):
        source = _scaled(other.luma[int(rng.integers(len(other.luma)))])
        tall, wide = (int(rng.integers(extent // 12, extent // 2)) for extent in (HEIGHT, WIDTH))
        top, left = int(rng.integers(HEIGHT - tall)), int(rng.integers(WIDTH - wide))
        mask = np.zeros((HEIGHT, WIDTH), np.float32)
        cv2.ellipse(mask, ((left + wide / 2, top + tall / 2), (wide, tall), rng.uniform(0, 180)), 1.0, -1)
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 1.0), np.float32)
        reach = rng.normal(0, WIDTH / 13, 2)
        drift = rng.normal(0, WIDTH / 6, 2)
        turn, rate, phase = rng.normal(0, 25), rng.uniform(0.5, 3.0), rng.uniform(0, 2 * np.pi)
        at = np.sin(2 * np.pi * rate * times_s + phase)
        for index, (swing, time_s) in enumerate(zip(at, times_s, strict=True)):
            matrix = cv2.getRotationMatrix2D((left + wide / 2, float(top + tall)), turn * swing, 1.0)
            matrix[:, 2] += reach * swing + drift * time_s
            cover = cv2.warpAffine(mask, matrix, (WIDTH, HEIGHT))
            piece = cv2.warpAffine(source, matrix, (WIDTH, HEIGHT))
            luma[index] = (luma[index] * (1 - cover) + piece * cover).astype(np.uint8)
    return luma


def _scaled(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def _through_jpeg(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
    if decoded is None:
        message = "OpenCV cannot read its own JPEG"
        raise RuntimeError(message)
    return np.asarray(decoded, np.uint8)
