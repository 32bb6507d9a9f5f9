"""What a hidden subscriber hands on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a participant: RGB of shape (height, width, 3), upright, and seconds from any start."""

    rgb: NDArray[np.uint8]
    time_s: float


Subscribe = Callable[[str, str], AbstractAsyncContextManager[AsyncIterator[Picture]]]
"""Joins a room unseen and gives an identity's pictures, at most ten a second, until they leave; both are left at its end.

Raises `monitor.errors.MediaServerUnreachable` or `MediaServerRefused` where the room cannot be joined.
"""
