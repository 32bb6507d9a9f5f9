"""How often each of many thresholds would have raised a detection: the same persistence, run for all of them at once.

A budget of false alarms counts detections, not clips, and a detection is what persistence and hysteresis make of clips. No
distribution of scores says how many that are. So every rung of a fixed ladder of thresholds has its own detection here,
raised and cleared by the very rules of `monitor.detect.persistence`, and what is kept is how often each was raised.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor.detect.persistence import MAX_GAP_S

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

STEP: Final = 0.1
"""Distance of two rungs, in log-odds."""

LOWEST: Final = -4.0
"""Log-odds of the lowest rung: a score of 0.018."""

RUNGS: Final = 121
"""So that the highest rung is at log-odds 8: a score of 0.9997."""


def score_of(log_odds: float) -> float:
    """Return the score in (0, 1) with these log-odds."""
    return 1 / (1 + math.exp(-log_odds))


def log_odds_of(score: float) -> float:
    """Return the log-odds of a score in [0, 1], as if 0 and 1 were a millionth away from themselves."""
    kept = min(max(score, 1e-6), 1 - 1e-6)
    return math.log(kept / (1 - kept))


def rung_log_odds(rung: int) -> float:
    """Return the log-odds of a rung, counted from 0."""
    return round(LOWEST + rung * STEP, 1)


LADDER: Final[Floats] = np.array([score_of(rung_log_odds(rung)) for rung in range(RUNGS)])
"""The thresholds, rising; float64, shape ``(RUNGS,)``."""
LADDER.flags.writeable = False


class EpisodeCounter:
    """One stream's detections at one severity, for every threshold of the ladder. Deterministic; not thread-safe.

    Args:
        hits: Hits needed, at least 1.
        of: Clips looked back on, at least `hits`.
        clear_ratio: A clip is quiet when it scores below this share, in (0, 1], of the threshold.
        clear_after_s: Seconds of quiet that clear a detection.
        max_gap_s: Time between clips, in seconds, beyond which the window starts anew.
    """

    __slots__ = (
        "_clear_after_s",
        "_cleared_at",
        "_hits",
        "_last_s",
        "_max_gap_s",
        "_number",
        "_quiet_below",
        "_quiet_since_s",
        "_raised",
        "_window",
    )

    def __init__(
        self, hits: int, of: int, clear_ratio: float, clear_after_s: float, *, max_gap_s: float = MAX_GAP_S
    ) -> None:
        self._hits = hits
        self._clear_after_s = clear_after_s
        self._max_gap_s = max_gap_s
        self._quiet_below = LADDER * clear_ratio
        self._window: deque[tuple[int, float]] = deque(maxlen=of)
        self._raised: Bools = np.zeros(RUNGS, np.bool_)
        self._quiet_since_s: Floats = np.full(RUNGS, np.nan)
        self._cleared_at = np.full(RUNGS, -1, np.int64)
        self._number = 0
        self._last_s: float | None = None

    def observe(self, time_s: float, score: float) -> Bools:
        """Take in one clip; return which thresholds it raised, bool, shape ``(RUNGS,)``.

        Args:
            time_s: Time of the clip, as for `Detector.observe`.
            score: In [0, 1].
        """
        if self._last_s is not None and not 0 <= time_s - self._last_s <= self._max_gap_s:
            self._window.clear()
            self._quiet_since_s[:] = np.nan
        self._last_s = time_s
        self._window.append((self._number, score))
        self._number += 1
        hits = np.zeros(RUNGS, np.int64)
        for number, earlier in self._window:
            hits += (earlier >= LADDER) & (number > self._cleared_at)
        loud = score >= self._quiet_below
        self._quiet_since_s[loud] = np.nan
        self._quiet_since_s[np.isnan(self._quiet_since_s) & ~loud] = time_s
        stood = self._raised.copy()
        rising: Bools = (hits >= self._hits) & ~stood
        # Comparisons with "not a number" are false: whoever was not quiet does not clear.
        clearing = stood & (time_s - self._quiet_since_s >= self._clear_after_s)
        self._raised = (stood | rising) & ~clearing
        self._cleared_at[clearing] = self._number - 1
        return rising
