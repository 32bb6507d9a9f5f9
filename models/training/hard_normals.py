"""Made-up normal windows: what alarms naive motion detectors on live streams, made from normal clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.clips import Video
from models.training.picking import random_starts
from models.training.velocity import FRAMES, HEIGHT, WIDTH
from models.training.windows import STRONG, Disturbance, Window, scaled

Pictures = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Material:
    """What a made window is made of.

    Attributes:
        window: A disturbed window of a normal clip.
        second: Another one, of another clip.
        other: The other clip.
        times_s: Times of the frames from the first on.
        rng: Where the draws come from.
    """

    window: Window
    second: Window
    other: Video
    times_s: NDArray[np.float64]
    rng: np.random.Generator


def hard_normal(video: Video, other: Video, rng: np.random.Generator) -> Window | None:
    """Return a made-up normal window, or None where the clips do not yield one."""
    first, second = random_starts(video, 1, rng), random_starts(other, 1, rng)
    if not first or not second:
        return None
    draw = rng.random()
    if draw < 0.12:
        return Disturbance(rng, camera=STRONG).apply(video, first[0])
    if draw < 0.22:
        still = np.repeat(video.luma[first[0] : first[0] + 1], 40, axis=0)
        frozen = replace(video, luma=still, times_s=np.arange(40) / 30.0)
        return Disturbance(rng, camera=STRONG, speed=1.0).apply(frozen, 0)
    if draw < 0.37:
        return Disturbance(rng, speed=float(rng.uniform(1.6, 3.0))).apply(video, first[0])
    window, over = Disturbance(rng).apply(video, first[0]), Disturbance(rng).apply(other, second[0])
    if window is None or over is None:
        return None
    times_s = np.concatenate([[0.0], np.cumsum(window.gaps_s, dtype=np.float64)])
    make = MAKERS[int(rng.integers(len(MAKERS)))]
    return Window(make(Material(window, over, other, times_s, rng)), window.gaps_s)


def _cut(material: Material) -> Pictures:
    at = int(material.rng.integers(1, FRAMES))
    return np.concatenate([material.window.luma[:at], material.second.luma[at:]])


def _slides(material: Material) -> Pictures:
    at = int(material.rng.integers(1, FRAMES))
    before, after = material.window.luma[:1], material.second.luma[:1]
    return np.concatenate([np.repeat(before, at, axis=0), np.repeat(after, FRAMES - at, axis=0)])


def _fade(material: Material) -> Pictures:
    """A dissolve, or a wipe from one side."""
    rng = material.rng
    begin, length = rng.uniform(-4, FRAMES - 2), rng.uniform(2, 12)
    share = np.clip((np.arange(FRAMES) - begin) / length, 0, 1)[:, None, None]
    if rng.random() < 0.5:
        share = (np.linspace(0, 1, WIDTH)[None, None, :] < share).astype(np.float64)
    return np.asarray(material.window.luma * (1 - share) + material.second.luma * share, np.uint8)


def _flashes(material: Material) -> Pictures:
    rng = material.rng
    luma = material.window.luma.astype(np.float64)
    lit = rng.random(FRAMES) < 0.4
    spot = np.ones((HEIGHT, WIDTH))
    if rng.random() < 0.5:  # a lamp, not the whole picture
        spot = _blob(rng, HEIGHT * 0.4)
    luma[lit] = luma[lit] * (1 + spot * rng.uniform(0.2, 1.2)) + spot * rng.uniform(0, 60)
    return np.clip(luma, 0, 255).astype(np.uint8)


def _scroll(material: Material) -> Pictures:
    """A page or a map under a finger: it moves, stops, jumps."""
    rng = material.rng
    page = material.window.luma[0] if rng.random() < 0.5 else _text(rng)
    axis = int(rng.integers(2))
    steps = rng.choice([0.0, 1.0], FRAMES, p=[0.3, 0.7]) * rng.uniform(0.5, 8) * rng.uniform(0.5, 1.5, FRAMES)
    at = np.cumsum(steps) * rng.choice([-1, 1])
    return np.stack([np.roll(page, int(step), axis=axis) for step in at])


def _waved(material: Material) -> Pictures:
    """Pieces of another clip swing smoothly over the picture: hands before the lens, flags, animals, puppets."""
    rng, other = material.rng, material.other
    still = np.repeat(material.window.luma[:1], FRAMES, axis=0)
    luma = material.window.luma.copy() if rng.random() < 0.5 else still
    for _ in range(int(rng.integers(1, 4))):
        source = scaled(other.luma[int(rng.integers(len(other.luma)))])
        tall, wide = (int(rng.integers(extent // 12, extent * 2 // 3)) for extent in (HEIGHT, WIDTH))
        top, left = int(rng.integers(HEIGHT - tall)), int(rng.integers(WIDTH - wide))
        mask = np.zeros((HEIGHT, WIDTH), np.float32)
        cv2.ellipse(mask, ((left + wide / 2, top + tall / 2), (wide, tall), rng.uniform(0, 180)), 1.0, -1)
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 1.0), np.float32)
        reach = rng.normal(0, WIDTH / 13, 2)
        drift = rng.normal(0, WIDTH / 6, 2)
        turn, rate, phase = rng.normal(0, 25), rng.uniform(0.5, 3.0), rng.uniform(0, 2 * np.pi)
        swings = np.sin(2 * np.pi * rate * material.times_s + phase)
        for index, (swing, time_s) in enumerate(zip(swings, material.times_s, strict=True)):
            matrix = cv2.getRotationMatrix2D((left + wide / 2, float(top + tall)), turn * swing, 1.0)
            matrix[:, 2] += reach * swing + drift * time_s
            cover = cv2.warpAffine(mask, matrix, (WIDTH, HEIGHT))
            piece = cv2.warpAffine(source, matrix, (WIDTH, HEIGHT))
            luma[index] = (luma[index] * (1 - cover) + piece * cover).astype(np.uint8)
    return luma


def _dancers(material: Material) -> Pictures:
    """Figures whose limbs swing in one rhythm, alone or in a row: dance, exercise, juggling."""
    rng = material.rng
    luma = material.window.luma.copy()
    beat_hz, together = rng.uniform(0.8, 2.5), rng.random() < 0.6
    size = float(rng.uniform(0.3, 0.95)) * HEIGHT
    count = int(rng.integers(1, 5))
    phase = rng.uniform(0, 2 * np.pi)
    for place in rng.uniform(0.1, 0.9, count) * WIDTH:
        own = phase if together else rng.uniform(0, 2 * np.pi)
        sizes, offsets = rng.normal(0, 0.8, 5), rng.choice([0.0, np.pi / 2, np.pi], 5)
        centre, shade = rng.uniform(-1, 1, 4), rng.integers(0, 256, 3)
        for picture, time_s in zip(luma, material.times_s, strict=True):
            swing = sizes * np.sin(2 * np.pi * beat_hz * time_s + own + offsets)
            hip = np.array([place + swing[4] * size * 0.08, HEIGHT * 0.55 + abs(swing[4]) * size * 0.05])
            neck = hip - (0, size * 0.32)
            _limb(picture, hip, neck, size * 0.16, shade[0])
            for side in (0, 1):
                sign = 2 * side - 1
                angle = sign * (0.7 + centre[side]) + swing[side]
                elbow = neck + size * 0.18 * np.array([np.sin(angle), np.cos(angle)])
                bend = angle + centre[2 + side] + 0.5 * swing[side]
                _limb(picture, neck, elbow, size * 0.07, shade[1])
                _limb(
                    picture, elbow, elbow + size * 0.18 * np.array([np.sin(bend), np.cos(bend)]), size * 0.06, shade[1]
                )
                stride = sign * 0.2 + 0.5 * swing[2 + side]
                _limb(
                    picture, hip, hip + size * 0.42 * np.array([np.sin(stride), np.cos(stride)]), size * 0.09, shade[2]
                )
            cv2.circle(picture, (int(neck[0]), int(neck[1] - size * 0.08)), max(1, int(size * 0.07)), int(shade[1]), -1)
    return luma


def _crowd(material: Material) -> Pictures:
    """Many small scenes side by side: a crowd, a video call, a wall of screens."""
    rng = material.rng
    many = int(rng.integers(2, 4))
    luma = np.zeros_like(material.window.luma)
    rows, columns = np.linspace(0, HEIGHT, many + 1).astype(int), np.linspace(0, WIDTH, many + 1).astype(int)
    for y0, y1 in pairwise(rows):
        for x0, x1 in pairwise(columns):
            part = material.window.luma if rng.random() < 0.5 else material.second.luma
            part = np.roll(part, int(rng.integers(-1, 2)), axis=0)[
                :: int(rng.choice([1, -1])), :, :: int(rng.choice([1, -1]))
            ]
            luma[:, y0:y1, x0:x1] = [
                cv2.resize(picture, (int(x1 - x0), int(y1 - y0)), interpolation=cv2.INTER_AREA) for picture in part
            ]
    return luma


def _particles(material: Material) -> Pictures:
    """Rain, snow, confetti, sparks: many small things that fall or fly."""
    rng = material.rng
    luma = material.window.luma.copy()
    count, long = int(rng.integers(10, 120)), rng.uniform(0.5, 4)
    places = rng.uniform(0, 1, (count, 2)) * (WIDTH, HEIGHT)
    speed = rng.normal(0, 0.5, 2) * WIDTH + rng.normal(0, 0.15, (count, 2)) * WIDTH
    shade, cover = int(rng.integers(120, 256)), rng.uniform(0.3, 1.0)
    for index, time_s in enumerate(material.times_s):
        layer = luma[index].copy()
        for x, y in (places + speed * time_s) % (WIDTH, HEIGHT):
            tail = speed.mean(axis=0) / max(float(np.hypot(*speed.mean(axis=0))), 1e-6) * long
            cv2.line(layer, (int(x), int(y)), (int(x + tail[0]), int(y + tail[1])), shade, 1)
        luma[index] = (luma[index] * (1 - cover) + layer * cover).astype(np.uint8)
    return luma


def _game(material: Material) -> Pictures:
    """A world that turns with jerks of the mouse, sprites that run and hop in it, a still display in front, flashes."""
    rng = material.rng
    world = material.window.luma[0] if rng.random() < 0.6 else _text(rng)
    turns = np.cumsum(rng.normal(0, 1, FRAMES) * rng.choice([0.0, 1.0], FRAMES, p=[0.4, 0.6]) * rng.uniform(0, 6))
    sprites = int(rng.integers(0, 5))
    at, speed = rng.uniform(0, 1, (sprites, 2)) * (WIDTH, HEIGHT), rng.normal(0, 0.4, (sprites, 2)) * WIDTH
    hop, shades, radius = rng.uniform(0, 5, sprites), rng.integers(0, 256, sprites), rng.uniform(1, 6, sprites)
    pictures = []
    for turn, time_s in zip(turns, material.times_s, strict=True):
        picture = np.roll(world, int(turn), axis=1)
        places = at + speed * time_s - np.stack([-turn * np.ones(sprites), hop * abs(np.sin(6 * time_s))], axis=1)
        for (x, y), shade, size in zip(places % (WIDTH, HEIGHT), shades, radius, strict=True):
            cv2.rectangle(picture, (int(x - size), int(y - size)), (int(x + size), int(y + size * 1.5)), int(shade), -1)
        if rng.random() < 0.15:
            picture = np.clip(picture + _blob(rng, 10) * 120, 0, 255).astype(np.uint8)
        picture[-6:, :14], picture[:5, -12:] = 30, 200
        pictures.append(picture)
    return np.stack(pictures)


MAKERS: tuple[Callable[[Material], Pictures], ...] = (
    _cut,
    _slides,
    _fade,
    _flashes,
    _scroll,
    _waved,
    _waved,
    _dancers,
    _dancers,
    _crowd,
    _particles,
    _game,
)


def _limb(picture: Pictures, start: NDArray[np.float64], end: NDArray[np.float64], thick: float, shade: int) -> None:
    ends = [(int(x * 8), int(y * 8)) for x, y in (start, end)]
    cv2.line(picture, ends[0], ends[1], int(shade), max(1, round(thick)), cv2.LINE_AA, 3)


def _blob(rng: np.random.Generator, radius: float) -> NDArray[np.float64]:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    centre = rng.uniform(0, 1, 2) * (HEIGHT, WIDTH)
    return np.asarray(np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * radius**2)))


def _text(rng: np.random.Generator) -> Pictures:
    """Lines of words seen from afar."""
    page = np.full((HEIGHT, WIDTH), 235, np.uint8)
    for y in range(2, HEIGHT - 1, int(rng.integers(2, 5))):
        page[y, 3 : int(rng.integers(WIDTH // 2, WIDTH))] = rng.integers(0, 200)
        page[y, rng.random(WIDTH) < 0.2] = 235
    return 255 - page if rng.random() < 0.4 else page
