"""Small pictures of clips for people who look at mistakes: sampled as evidence is, violent ones veiled."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.errors import SourceError
from monitor.evaluation.scoring import OPEN_TIMEOUT_S, READ_TIMEOUT_S
from monitor.video.clip import ClipSpec
from monitor.video.source import KeptSample, VideoSource
from monitor.vocabulary import Posture

Picture = NDArray[np.uint8]

_SHORT_SIDE_PX = 180
_VEIL_PX = 6
"""What is left of a veiled picture's short side: where it is light and where dark, and nobody's face or wound."""

_ANY_CLIP = ClipSpec(frames=1, spacing_s=1.0, width=32, height=32)


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A picture of a clip: uint8, shape ``(height, width, 3)``, RGB, with its time in seconds."""

    time_s: float
    picture: Picture


def picture_of(file: Path, at_s: float, *, veiled: bool) -> Shown | None:
    """Return the kept sample nearest to `at_s`, or None where the file cannot be read or shows nothing.

    Args:
        file: The clip.
        at_s: When, in stream seconds.
        veiled: Blur it beyond recognition; nothing of the sharp picture is returned then.
    """
    samples: list[KeptSample] = []
    try:
        with VideoSource.open(
            str(file.absolute()), open_timeout_s=OPEN_TIMEOUT_S, read_timeout_s=READ_TIMEOUT_S, live=False
        ) as source:
            for _ in source.clips(
                _ANY_CLIP, posture=lambda: Posture.CLOSE, keep=samples.append, stop=threading.Event(), decode_slots=None
            ):
                pass
    except SourceError:
        # What came before it broke off will do.
        pass
    if not samples:
        return None
    nearest = min(samples, key=lambda sample: abs(sample.time_s - at_s))
    decoded = cv2.imdecode(np.frombuffer(nearest.jpeg, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        return None
    picture = _shrunk(np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8), _SHORT_SIDE_PX)
    return Shown(nearest.time_s, veil(picture) if veiled else picture)


def veil(picture: Picture) -> Picture:
    """Return `picture`, same shape, blurred beyond recognition."""
    height, width = picture.shape[:2]
    # Averaging areas first throws detail away for good; interpolating only makes the rest pleasant to look at.
    few = _shrunk(picture, _VEIL_PX)
    return np.asarray(cv2.resize(few, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _shrunk(picture: Picture, short_side_px: int) -> Picture:
    height, width = picture.shape[:2]
    shrink = min(1.0, short_side_px / min(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
