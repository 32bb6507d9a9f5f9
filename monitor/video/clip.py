"""What sampling hands to a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.vocabulary import Posture

Fit = Literal["stretch", "crop", "letterbox"]
"""How a picture of another shape is brought to a size: all of it, out of proportion; its middle; all of it, between bars."""


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """The clip that a model asks for.

    Attributes:
        frames: How many frames one clip holds (1 for single-image models).
        spacing_s: Wanted time between neighbouring frames, in seconds of stream time.
        width, height: Size in pixels to which each frame is scaled (area averaging).
        fit: What happens where the picture has other proportions.
    """

    frames: int
    spacing_s: float
    width: int
    height: int
    fit: Fit = "stretch"


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """The few samples that one inference looks at.

    Attributes:
        frames: uint8, shape ``(T, H, W, 3)``, RGB, 0-255, T/H/W as the model's `ClipSpec` says.
        times_s: Presentation time of each frame in stream seconds (0 at the first packet), non-decreasing.
        arrived_at: Unix time at which the last frame that the clip needs had been read from the network.
        posture: The posture in which it was sampled.
        spacing_honoured: False where the stream could not give frames within 35 % of the wanted spacing.
    """

    frames: NDArray[np.uint8]
    times_s: tuple[float, ...]
    arrived_at: float
    posture: Posture
    spacing_honoured: bool

    @property
    def spacing_s(self) -> float:
        """Mean time between neighbouring frames, in seconds; 0 for a single frame."""
        if len(self.times_s) < 2:
            return 0.0
        return (self.times_s[-1] - self.times_s[0]) / (len(self.times_s) - 1)
