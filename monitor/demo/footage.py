"""Generated footage: figures in a room, who talk and then brawl, seen by a hand-held camera.

Nothing here is real, and nothing tells the classifier what it sees: the frames go through the same encoder, media
server, watcher and model as any stream. Figures are chains of joints with thick limbs; calm is slow sways and gestures,
a brawl is lunges, swings and grappling with sudden changes of direction.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, FRAME_RATE = 640, 360, 25
"""Size in pixels and frames per second of what is drawn."""

_MARGIN = 40
_LUNGE_PX, _DUCK_PX = 46, 6
_CALM_SWAY_PX, _BRAWL_SHAKE_PX = 6, 2
_SWAY_HZ, _SHAKE_HZ = (0.05, 0.3), (0.8, 2.0)
_GESTURE_HZ, _BLOW_HZ = (0.05, 0.35), (0.2, 0.8)
_CAST = (
    (345, 338, (140, 132, 60), 1.0),
    (233, 334, (86, 112, 78), 1.0),
    (457, 334, (96, 76, 128), -1.0),
    (281, 346, (44, 92, 150), 1.0),
    (413, 346, (152, 62, 48), -1.0),
)
"""Who stands where, back to front: x and y of the feet, shirt, and the side on which the others stand."""
_SKIN = (196, 160, 136)


class Scene(Enum):
    """What the figures do."""

    CALM = "calm"
    BRAWL = "brawl"


@dataclass(frozen=True, slots=True)
class Wobble:
    """A smooth random curve: a few sines of random frequency and phase.

    Attributes:
        frequencies_hz, phases: One sine each.
    """

    frequencies_hz: NDArray[np.float64]
    phases: NDArray[np.float64]

    @classmethod
    def make(cls, random: np.random.Generator, slowest_hz: float, fastest_hz: float) -> Wobble:
        """Return a curve with four sines between two frequencies."""
        return cls(random.uniform(slowest_hz, fastest_hz, 4), random.uniform(0, math.tau, 4))

    def at(self, time_s: float) -> float:
        """Return the value at a time, between -1 and 1, mostly well inside."""
        return float(np.sin(math.tau * self.frequencies_hz * time_s + self.phases).mean() * 1.4)


class Figure:
    """One person of thick lines, standing at `ground` (x, y of the feet, in pixels)."""

    def __init__(self, random: np.random.Generator, ground: tuple[float, float], shirt: tuple[int, int, int]) -> None:
        """Draw a figure whose habits come from `random`."""
        self._ground = ground
        self._shirt = shirt
        self._trousers = tuple(int(part) for part in random.integers(25, 80, 3))
        self._height = random.uniform(189, 207)
        self._calm = [Wobble.make(random, *_GESTURE_HZ) for _ in range(8)]
        self._wild = [Wobble.make(random, *_BLOW_HZ) for _ in range(10)]

    def draw(self, canvas: NDArray[np.uint8], time_s: float, scene: Scene, towards: float) -> None:
        """Draw the figure; `towards` is +1 or -1, the side on which the others stand."""
        calm, wild = [one.at(time_s) for one in self._calm], [one.at(time_s) for one in self._wild]
        brawling = scene is Scene.BRAWL
        size = self._height
        x, y = self._ground
        if brawling:
            # They close in, push and are pushed, duck and jump.
            x += towards * 62 + wild[0] * _LUNGE_PX
            y += wild[1] * _DUCK_PX
        else:
            x += calm[0] * 14
        lean = wild[2] * 0.55 if brawling else calm[1] * 0.05
        hip = np.array((x, y - size * (0.48 + (0.07 * wild[3] if brawling else 0.0))))
        neck = hip + size * 0.34 * np.array((math.sin(lean + (0.3 * towards if brawling else 0.0)), -math.cos(lean)))
        head = neck + size * 0.11 * np.array((math.sin(lean), -math.cos(lean)))
        limb = max(4, int(size * 0.075))
        for side, swing in ((-1, wild[4] if brawling else calm[2]), (1, wild[5] if brawling else calm[3])):
            spread = 0.22 + (0.5 * swing if brawling else 0.03 * swing)
            knee = hip + size * 0.25 * np.array((math.sin(side * spread), math.cos(spread)))
            foot = knee + size * 0.25 * np.array(
                (math.sin(side * spread * 0.4 - (0.4 * swing if brawling else 0)), 1.0)
            )
            _limb(canvas, hip, knee, self._trousers, limb + 2)
            _limb(canvas, knee, foot, self._trousers, limb)
        _limb(canvas, hip, neck, self._shirt, int(size * 0.17))
        for side, (upper, lower) in ((-1, (6, 7)), (1, (8, 9))):
            if brawling:
                shoulder_angle = towards * (1.3 + 1.2 * wild[upper])
                elbow_angle = shoulder_angle + 1.6 * wild[lower]
            else:
                shoulder_angle = side * 0.25 + 0.3 * calm[4 + (side > 0)]
                elbow_angle = shoulder_angle + towards * (0.7 + 0.5 * calm[6 + (side > 0)])
            shoulder = neck + np.array((side * size * 0.05, size * 0.04))
            elbow = shoulder + size * 0.19 * np.array((math.sin(shoulder_angle), math.cos(shoulder_angle)))
            hand = elbow + size * 0.19 * np.array((math.sin(elbow_angle), math.cos(elbow_angle)))
            _limb(canvas, shoulder, elbow, self._shirt, limb)
            _limb(canvas, elbow, hand, _SKIN, limb - 3)
            cv2.circle(canvas, _point(hand), limb - 3, _SKIN, -1, cv2.LINE_AA)
        cv2.circle(canvas, _point(head), int(size * 0.075), _SKIN, -1, cv2.LINE_AA)
        cv2.ellipse(
            canvas,
            _point(head - (0, size * 0.03)),
            (int(size * 0.075), int(size * 0.05)),
            0,
            180,
            360,
            (48, 36, 30),
            -1,
        )


def frames(*, seed: int, calm_s: float | None, first_s: float = 0.0) -> Iterator[NDArray[np.uint8]]:
    """Yield frames for ever: calm for `calm_s` seconds (None: always), then a brawl that does not end.

    Args:
        seed: The same seed draws the same footage.
        calm_s: Seconds of calm before the brawl; 0 brawls from the first frame.
        first_s: Where in the story to begin, in seconds.

    Yields:
        uint8, shape ``(HEIGHT, WIDTH, 3)``, RGB.
    """
    random = np.random.default_rng(seed)
    room = _room(random)
    figures = [(Figure(random, (x, y), shirt), towards) for x, y, shirt, towards in _CAST]
    steady = [Wobble.make(random, *_SWAY_HZ) for _ in range(2)]
    shaken = [Wobble.make(random, *_SHAKE_HZ) for _ in range(2)]
    grain = random.normal(0, 4, (HEIGHT, WIDTH, 1)).astype(np.float32)
    number = round(first_s * FRAME_RATE)
    while True:
        time_s = number / FRAME_RATE
        scene = Scene.CALM if calm_s is None or time_s < calm_s else Scene.BRAWL
        canvas = room.copy()
        for figure, towards in figures:
            figure.draw(canvas, time_s, scene, towards)
        camera, reach = (steady, _CALM_SWAY_PX) if scene is Scene.CALM else (shaken, _BRAWL_SHAKE_PX)
        left = _MARGIN + camera[0].at(time_s) * reach
        top = _MARGIN + camera[1].at(time_s) * reach
        onto_view = np.array(((1, 0, -left), (0, 1, -top)))
        view = cv2.warpAffine(canvas, onto_view, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR).astype(np.float32)
        view += np.roll(grain, (number * 37 % HEIGHT, number * 91 % WIDTH), (0, 1))
        yield np.clip(view, 0, 255).astype(np.uint8)
        number += 1


def _room(random: np.random.Generator) -> NDArray[np.uint8]:
    """Draw walls, floor, a window, a picture and a shelf, somewhat larger than the camera sees."""
    height, width = HEIGHT + 2 * _MARGIN, WIDTH + 2 * _MARGIN
    coarse = random.normal(0, 1, (height // 24, width // 24)).astype(np.float32)
    stains = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    canvas = np.full((height, width, 3), (172, 166, 152), np.float32) + stains[..., None] * 7
    floor = height - 92
    canvas[floor:] = np.array((118, 92, 70), np.float32) + stains[floor:, :, None] * 9
    image: NDArray[np.uint8] = np.clip(canvas, 0, 255).astype(np.uint8)
    for x in range(0, width, 64):
        cv2.line(image, (x, floor), (x - 70, height), (96, 74, 56), 2)
    cv2.rectangle(image, (70, 60), (210, 190), (206, 222, 236), -1)
    cv2.rectangle(image, (70, 60), (210, 190), (92, 84, 74), 6)
    cv2.line(image, (140, 60), (140, 190), (92, 84, 74), 4)
    cv2.rectangle(image, (560, 70), (640, 130), (84, 104, 92), -1)
    cv2.rectangle(image, (540, 190), (690, 200), (80, 60, 44), -1)
    for x in range(548, 684, 15):
        colour = tuple(int(part) for part in random.integers(60, 190, 3))
        cv2.rectangle(image, (x, 150 + int(random.integers(0, 16))), (x + 11, 190), colour, -1)
    return image


def _limb(
    canvas: NDArray[np.uint8], begin: NDArray[np.float64], end: NDArray[np.float64], colour: Any, width: int
) -> None:
    shade = tuple(int(part * 0.72) for part in colour)
    cv2.line(canvas, _point(begin), _point(end), shade, width + 3, cv2.LINE_AA)
    cv2.line(canvas, _point(begin), _point(end), colour, max(1, width - 3), cv2.LINE_AA)


def _point(position: NDArray[np.float64]) -> tuple[int, int]:
    # Figures stand in what the camera sees; the canvas has a margin around it.
    return int(position[0]) + _MARGIN, int(position[1]) + _MARGIN
