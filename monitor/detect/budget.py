"""From counted detections to the threshold that keeps a budget of them, and how far it may move.

A `Tally` says how often each threshold of the ladder would have raised a detection on ordinary streams, and in how many
stream-hours. It has a fixed size, and two of them add up. `choose` finds the threshold whose rate fits the budget; `move`
says which threshold comes into force, so that neither an attack nor slow drift can teach it much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np

from monitor.detect.ladder import LADDER, LOWEST, RUNGS, STEP, Floats, log_odds_of, rung_log_odds, score_of

FEWEST_EPISODES: Final = 5.0
"""A rate is read off as it was counted where the budget allows at least so many detections in the hours seen."""

REACH: Final = 4.0
"""A rate may be reckoned for so many times the hours seen, and no more."""

FEWEST_HOURS: Final = 24.0
"""Nothing is learnt of fewer stream-hours, whatever the budget."""

_TAIL_FROM: Final = 4.0
"""The tail is fitted between `FEWEST_EPISODES` and so many times as many."""

_FLATTEST: Final = 1.0
"""Least fall of the tail: the logarithm of the rate, per unit of log-odds. A flatter one reaches too far for a guess."""

_STEEPEST: Final = 4.0
"""Most fall that is believed of few detections."""

HALF_LIFE_DAYS: Final = 14.0
"""What was seen so long ago counts half."""

FIRST_FALL: Final = 2.0
FIRST_RISE: Final = 3.0
"""How far below the default a learnt threshold may come, and how far above it the first one may lie, in log-odds."""

DRIFT: Final = 1.0
"""How far from the first learnt threshold any later one may lie, in log-odds."""

PER_DAY: Final = 0.25
"""How far a threshold moves in a day, in log-odds, once one has been learnt."""

_DAY_S: Final = 86400.0
_SAME: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Tally:
    """What was seen of ordinary streams; never changed, only replaced.

    Attributes:
        hours: Stream-hours watched.
        episodes: Detections per threshold; float64, shape ``(RUNGS,)``.
        doubtful: Further detections that nobody judged and that were grave: perhaps attacks, perhaps not.
    """

    hours: float
    episodes: Floats
    doubtful: Floats

    @classmethod
    def empty(cls) -> Self:
        """Return a tally of nothing."""
        return cls(0.0, np.zeros(RUNGS), np.zeros(RUNGS))

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.hours + other.hours, self.episodes + other.episodes, self.doubtful + other.doubtful)

    def faded(self, days: float) -> Tally:
        """Return it as it counts so many days later."""
        share = 0.5 ** (max(days, 0.0) / HALF_LIFE_DAYS)
        return Tally(self.hours * share, self.episodes * share, self.doubtful * share)

    def with_doubt(self) -> Tally:
        """Return it as if everything doubtful had been an ordinary stream."""
        return Tally(self.hours, self.episodes + self.doubtful, np.zeros(RUNGS))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON's types."""
        return {
            "hours": round(self.hours, 6),
            "lowest": LOWEST,
            "step": STEP,
            "episodes": [round(float(count), 4) for count in self.episodes],
            "doubtful": [round(float(count), 4) for count in self.doubtful],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self | None:
        """Return what `to_dict` gave; None for anything else, such as one of another ladder."""
        try:
            arrays = [np.array(stored[name], np.float64) for name in ("episodes", "doubtful")]
            hours = float(stored["hours"])
            same = (stored["lowest"], stored["step"]) == (LOWEST, STEP)
        except (KeyError, TypeError, ValueError):
            return None
        sound = all(array.shape == (RUNGS,) and bool((array >= 0).all()) for array in arrays)
        return cls(hours, *arrays) if same and sound and math.isfinite(hours) and hours >= 0 else None

    def rate_at(self, threshold: float) -> float | None:
        """Return detections per stream-hour at a threshold, or at the next rung below it; None if nothing was seen."""
        rung = max(int(np.searchsorted(LADDER, threshold, side="right")) - 1, 0)
        return float(self.episodes[rung]) / self.hours if self.hours else None


@dataclass(frozen=True, slots=True)
class Choice:
    """The threshold that fits a budget.

    Attributes:
        log_odds: Where it lies.
        extrapolated: It lies beyond what was counted: the budget allows fewer than `FEWEST_EPISODES` in the hours seen.
    """

    log_odds: float
    extrapolated: bool


def hours_needed(budget_per_h: float) -> float:
    """Return the stream-hours from which on a threshold is chosen for this budget."""
    return max(FEWEST_HOURS, FEWEST_EPISODES / REACH / budget_per_h)


def hours_counted(budget_per_h: float) -> float:
    """Return the stream-hours from which on nothing is extrapolated."""
    return max(FEWEST_HOURS, FEWEST_EPISODES / budget_per_h)


def choose(tally: Tally, budget_per_h: float) -> Choice | None:
    """Return the lowest threshold above which no rung breaks the budget; None while too little was seen.

    Args:
        tally: Ordinary streams.
        budget_per_h: Detections allowed per stream-hour, above 0.
    """
    if tally.hours < hours_needed(budget_per_h):
        return None
    allowed = budget_per_h * tally.hours
    # A higher threshold may raise more often, where hysteresis at a lower one made one detection of two.
    counts = np.maximum.accumulate(tally.episodes[::-1])[::-1]
    counted = _lowest_with(counts, allowed)
    if allowed >= FEWEST_EPISODES:
        return Choice(counted, extrapolated=False)
    many, few = _lowest_with(counts, FEWEST_EPISODES * _TAIL_FROM), _lowest_with(counts, FEWEST_EPISODES)
    fall = math.log(_TAIL_FROM) / max(few - many, STEP)
    beyond = math.log(FEWEST_EPISODES / allowed) / min(max(fall, _FLATTEST), _STEEPEST)
    highest = rung_log_odds(RUNGS - 1)
    return Choice(min(max(counted, few + beyond), highest), extrapolated=True)


def _lowest_with(counts: Floats, most: float) -> float:
    """Return the log-odds of the lowest rung with at most so many; of the highest where all have more."""
    fitting = np.flatnonzero(counts <= most + 1e-9)
    return rung_log_odds(int(fitting[0]) if len(fitting) else RUNGS - 1)


@dataclass(frozen=True, slots=True)
class Standing:
    """Which threshold is in force, and why.

    Attributes:
        log_odds: Where it lies.
        first: Where the first learnt one lay, or where it came to on its way down from the default; None while that is in force.
        moved_at: Unix time since when it lies where it does.
        frozen: What was learnt lies outside the bounds, so that the threshold stays where it is until a person looks.
        extrapolated: As in `Choice`.
    """

    log_odds: float
    first: float | None = None
    moved_at: float = 0.0
    frozen: bool = False
    extrapolated: bool = False

    @property
    def threshold(self) -> float:
        """The score from which on a clip is a hit."""
        return score_of(self.log_odds)


def move(standing: Standing, tally: Tally, budget_per_h: float, default: float, now: float) -> Standing:
    """Return the threshold that is in force from now on.

    It goes up as far as ordinary streams alone ask, and down only as far as the budget would also hold if everything doubtful
    had been ordinary. The first one learnt takes the default's place at once if it is a higher one, within `FIRST_RISE`.

    Downwards it goes by steps of `PER_DAY`, one a day at most, beginning with the default, and only by what was counted: below
    the threshold in force streams are not looked at as closely as they would be, so what would be raised there is known for
    the next step at best. Whoever keeps the tally begins a new one after each fall (see `is_fall`).

    Later rises are by at most `PER_DAY` a day, as far as the default always, and otherwise no further than `DRIFT` above the
    first. Falls end `FIRST_FALL` below the default, or `DRIFT` below a first that lay above it. Where more is asked for than
    that, the threshold stays where it is: `frozen`.

    Args:
        standing: What is in force.
        tally: Ordinary streams.
        budget_per_h: Detections allowed per stream-hour.
        default: The threshold of the configuration or the model, in (0, 1).
        now: Unix time.
    """
    least, most = choose(tally, budget_per_h), choose(tally.with_doubt(), budget_per_h)
    if least is None or most is None:
        return standing
    begin = log_odds_of(default)
    wanted = min(max(standing.log_odds, least.log_odds), max(least.log_odds, most.log_odds))
    if wanted < standing.log_odds - _SAME:
        return standing if most.extrapolated else _fallen(standing, wanted, begin, now)
    extrapolated = least.extrapolated
    if standing.first is None:
        kept = min(wanted, begin + FIRST_RISE)
        return Standing(kept, first=kept, moved_at=now, frozen=kept != wanted, extrapolated=extrapolated)
    if wanted > max(standing.first + DRIFT, begin) + _SAME:
        if standing.log_odds > begin - STEP:
            return replace(standing, frozen=True, extrapolated=extrapolated)
        wanted = begin
    # A daemon that was away for a month has not watched for a month.
    days = min(max(now - standing.moved_at, 0.0) / _DAY_S, 1.0)
    step = min(wanted - standing.log_odds, PER_DAY * days)
    if step < STEP - _SAME:
        return replace(standing, frozen=False, extrapolated=extrapolated)
    return replace(standing, log_odds=standing.log_odds + step, moved_at=now, frozen=False, extrapolated=extrapolated)


def is_fall(before: Standing, after: Standing) -> bool:
    """Whether a lower threshold came into force: what was counted under the one before says too little of those below."""
    return after.log_odds < before.log_odds - _SAME


def _fallen(standing: Standing, wanted: float, begin: float, now: float) -> Standing:
    first = begin if standing.first is None else standing.first
    lowest = first - DRIFT if first > begin + _SAME else begin - FIRST_FALL
    lower = standing.log_odds - PER_DAY
    if lower < lowest - _SAME:
        return replace(standing, frozen=wanted < lowest - _SAME, extrapolated=False)
    # The default has been in force for longer than a day, as far as anybody knows.
    rested = standing.first is None or now - standing.moved_at >= _DAY_S
    if wanted > lower + _SAME or not rested:
        return replace(standing, frozen=False, extrapolated=False)
    return Standing(lower, first=min(first, lower) if first <= begin + _SAME else first, moved_at=now)
