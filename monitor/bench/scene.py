"""Draws what the benchmark decodes: a street-like view with texture, people-sized things that move, and grain.

Test bars and flat colours would flatter every decoder, this one included: encoders spend their bits on motion and on
texture, so that is what the pictures are made of. The camera is held by hand and follows slowly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FRAME_RATE = 30

_ROOM_AROUND = 1.3
_WALKERS = 6
_GRAIN = 3.0
"""Standard deviation of the grain, in grey levels of 255: a phone's camera in a lit room."""
_GRAIN_TILES = 4


@dataclass(frozen=True, slots=True)
class _Walker:
    """Something that moves about: its picture, its outline, and the curve that it follows."""

    picture: NDArray[np.uint8]
    outline: NDArray[np.float32]
    centre: tuple[float, float]
    reach: tuple[float, float]
    speed_hz: tuple[float, float]
    phase: tuple[float, float]


def draw(width: int, height: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yield pictures for ever, 30 a second: uint8, shape ``(height, width, 3)``, RGB; the same seed draws the same.

    Everything is placed relative to the size, so that two sizes show the same scene.
    """
    random = np.random.default_rng(seed)
    wide, high = round(width * _ROOM_AROUND), round(height * _ROOM_AROUND)
    background = _background(random, wide, high)
    walkers = [_walker(random, wide, high) for _ in range(_WALKERS)]
    grain = [_grain(random, width, height) for _ in range(_GRAIN_TILES)]
    shakes = random.uniform(0, math.tau, 4)
    number = 0
    while True:
        time_s = number / FRAME_RATE
        room = background.copy()
        for walker in walkers:
            _place(room, walker, time_s)
        left = (wide - width) / 2 * (1 + 0.7 * math.sin(math.tau * 0.04 * time_s + shakes[0]))
        top = (high - height) / 2 * (1 + 0.4 * math.sin(math.tau * 0.07 * time_s + shakes[1]))
        left += width * 0.002 * math.sin(math.tau * 1.3 * time_s + shakes[2])
        top += width * 0.002 * math.sin(math.tau * 1.7 * time_s + shakes[3])
        onto_view = np.array(((1, 0, -left), (0, 1, -top)))
        view = cv2.warpAffine(room, onto_view, (width, height), flags=cv2.INTER_LINEAR)
        lighter, darker = grain[int(random.integers(_GRAIN_TILES))]
        shift = tuple(int(random.integers(64)) for _ in range(2))
        view = cv2.add(view, lighter[shift[0] : shift[0] + height, shift[1] : shift[1] + width])
        view = cv2.subtract(view, darker[shift[0] : shift[0] + height, shift[1] : shift[1] + width])
        yield np.asarray(view, np.uint8)
        number += 1


def _texture(random: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    """Return noise with more coarse than fine detail, as photographs have: mean 0, standard deviation 1."""
    total = np.zeros((height, width), np.float32)
    cells = 4
    while cells <= width:
        coarse = random.normal(0, 1, (max(2, cells * height // width), cells)).astype(np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * (4 / cells) ** 0.5
        cells *= 2
    return total / max(1e-6, float(total.std()))


def _background(random: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    canvas = np.full((height, width, 3), 120, np.float32)
    for channel in range(3):
        canvas[..., channel] += _texture(random, width, height) * 12
    canvas += _texture(random, width, height)[..., None] * 22
    # Walls, windows, poles: hard edges, which move with the camera.
    for _ in range(40):
        left, top = int(random.integers(width)), int(random.integers(height))
        right, bottom = left + int(width * random.uniform(0.01, 0.12)), top + int(height * random.uniform(0.03, 0.25))
        shade = random.uniform(-45, 45, 3)
        canvas[top:bottom, left:right] += shade.astype(np.float32)
    image: NDArray[np.uint8] = np.clip(canvas, 0, 255).astype(np.uint8)
    return image


def _walker(random: np.random.Generator, width: int, height: int) -> _Walker:
    tall = int(height * random.uniform(0.25, 0.5))
    wide = max(8, int(tall * 0.4))
    shade = random.uniform(40, 200, 3)
    picture = np.clip(shade + _texture(random, wide, tall)[..., None] * 28, 0, 255).astype(np.uint8)
    outline = np.zeros((tall, wide), np.float32)
    cv2.ellipse(outline, (wide // 2, tall // 2), (wide // 2 - 2, tall // 2 - 2), 0, 0, 360, 1.0, -1)
    return _Walker(
        picture=picture,
        outline=cv2.GaussianBlur(outline, (0, 0), max(1.0, wide / 40)).astype(np.float32),
        centre=(width * random.uniform(0.2, 0.8), height * random.uniform(0.4, 0.7)),
        reach=(width * random.uniform(0.05, 0.18), height * random.uniform(0.01, 0.05)),
        speed_hz=(random.uniform(0.05, 0.25), random.uniform(0.3, 1.2)),
        phase=(random.uniform(0, math.tau), random.uniform(0, math.tau)),
    )


def _place(room: NDArray[np.uint8], walker: _Walker, time_s: float) -> None:
    tall, wide = walker.outline.shape
    x = walker.centre[0] + walker.reach[0] * math.sin(math.tau * walker.speed_hz[0] * time_s + walker.phase[0])
    y = walker.centre[1] + walker.reach[1] * math.sin(math.tau * walker.speed_hz[1] * time_s + walker.phase[1])
    left = min(max(0, round(x - wide / 2)), room.shape[1] - wide)
    top = min(max(0, round(y - tall / 2)), room.shape[0] - tall)
    lean = math.degrees(0.12 * math.sin(math.tau * walker.speed_hz[1] * time_s))
    turn = cv2.getRotationMatrix2D((wide / 2, tall / 2), lean, 1.0)
    picture = cv2.warpAffine(walker.picture, turn, (wide, tall), borderMode=cv2.BORDER_REFLECT)
    outline = cv2.warpAffine(walker.outline, turn, (wide, tall))
    under = room[top : top + tall, left : left + wide]
    under[:] = cv2.blendLinear(picture, under, outline, 1 - outline)


def _grain(random: np.random.Generator, width: int, height: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return what to add and what to take away, somewhat larger than the picture so that it can be shifted."""
    noise = random.normal(0, _GRAIN, (height + 64, width + 64)).round().astype(np.int16)
    grey = np.repeat(noise[..., None], 3, axis=2)
    return np.maximum(grey, 0).astype(np.uint8), np.maximum(-grey, 0).astype(np.uint8)
