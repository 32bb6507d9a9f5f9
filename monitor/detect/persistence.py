"""M of the last N clips raise a detection; a quiet while clears it.

One high score means little: at one clip a second, a model that is wrong once in a hundred clips is wrong 36 times
an hour. So a label is *raised* to a severity when enough of the latest clips score at or above that severity's
threshold, and *cleared* only after every clip of a while stayed below a share of it. Between the two lies a band in
which nothing changes; that is what keeps a score that hovers around the threshold from raising and clearing forever.

Nothing here reads a clock. Times are whatever the caller passes; only differences matter. Publishers write their own
timestamps, and a window that starts anew each time they jump back never fills: pass arrival times for live streams.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from monitor.vocabulary import Severity

MAX_GAP_S = 60.0
"""Clips further apart than this are not added up: three hits within a minute are a pattern, one every hour is not."""


@dataclass(frozen=True, slots=True)
class LevelRule:
    """When one severity is reached.

    Attributes:
        threshold: Score in (0, 1] from which a clip counts as a hit.
        hits: Hits needed, at least 1.
        of: Clips looked back on, at least `hits`.

    Raises:
        ValueError: a value outside its range.
    """

    threshold: float
    hits: int
    of: int

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            message = f"a threshold lies between 0 and 1, not at {self.threshold}"
            raise ValueError(message)
        if not 1 <= self.hits <= self.of:
            message = f"{self.hits} hits of {self.of} clips can never be met or never be missed"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class DetectionRule:
    """When a label is raised to `review` and to `act`, and when it falls again.

    Attributes:
        review: The lower level.
        act: The upper level; its threshold is not below that of `review`.
        clear_ratio: A clip is quiet for a level when it scores below this share, in (0, 1], of the threshold.
        clear_after_s: Seconds of nothing but quiet clips, from the first to the last of them, that clear a level.

    Raises:
        ValueError: a value outside its range.
    """

    review: LevelRule
    act: LevelRule
    clear_ratio: float
    clear_after_s: float

    def __post_init__(self) -> None:
        if self.act.threshold < self.review.threshold:
            message = (
                f"the act threshold ({self.act.threshold}) is below the review threshold ({self.review.threshold})"
            )
            raise ValueError(message)
        if not 0 < self.clear_ratio <= 1:
            message = f"clear_ratio lies between 0 and 1, not at {self.clear_ratio}"
            raise ValueError(message)
        if not (self.clear_after_s > 0 and math.isfinite(self.clear_after_s)):
            message = f"clear_after_s is a positive number of seconds, not {self.clear_after_s}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Raised:
    """`label` rose to `severity` (``review`` or ``act``).

    Attributes:
        score: That of the clip that tipped it, in [0, 1].
        since_s: Time of the first of the clips that count as hits for it.
        threshold: The score from which clips count as hits for it.
    """

    label: str
    severity: Severity
    score: float
    since_s: float = field(default=math.nan, compare=False)
    threshold: float = field(default=math.nan, compare=False)


@dataclass(frozen=True, slots=True)
class Cleared:
    """`label` fell back to `severity`: ``none``, or ``review`` when it was at ``act`` and review still holds."""

    label: str
    severity: Severity


class Detector:
    """Judges one stream. Not thread-safe; deterministic: the same calls give the same answers.

    Args:
        rules: One rule for each label that is judged; scores of other labels are ignored.
        severities: Where to go on from after a restart, so that a detection that an incident still counts on can
            clear; labels without a rule are ignored.
        max_gap_s: Time between clips, in seconds, beyond which the window starts anew.
    """

    __slots__ = ("_last_s", "_max_gap_s", "_trackers")

    def __init__(
        self,
        rules: Mapping[str, DetectionRule],
        *,
        severities: Mapping[str, Severity] | None = None,
        max_gap_s: float = MAX_GAP_S,
    ) -> None:
        begin = severities or {}
        self._trackers = {label: _LabelTracker(rule, begin.get(label, Severity.NONE)) for label, rule in rules.items()}
        self._max_gap_s = max_gap_s
        self._last_s: float | None = None

    @property
    def labels(self) -> AbstractSet[str]:
        """The labels that are judged."""
        return self._trackers.keys()

    @property
    def severities(self) -> dict[str, Severity]:
        """Current severity of each label that is above ``none``."""
        return {label: tracker.severity for label, tracker in self._trackers.items() if tracker.severity}

    @property
    def suspicious(self) -> bool:
        """Whether a score reached a review threshold among the last clips (the review window, or `clear_after_s`).

        Worth a closer look even though nothing has been raised yet.
        """
        return any(tracker.suspicious for tracker in self._trackers.values())

    def use(self, rules: Mapping[str, DetectionRule]) -> None:
        """Go on by other rules for the same labels; severities stay as they are until scores change them.

        Clips that are still looked back on count by the new thresholds. Quiet is measured anew, so that nothing clears by
        clips that would not have been quiet under the new rule.

        Args:
            rules: As many clips are looked back on as before, and the same labels are judged.
        """
        for label, tracker in self._trackers.items():
            tracker.use(rules[label])

    def successor(self, rules: Mapping[str, DetectionRule]) -> Detector:
        """Return a detector that goes on from here by another model's scores and rules.

        Severities stay until that model's scores change them. What counted as a hit or as quiet by this one's rules
        counts on: an attack that the models saw one after the other is one attack. Labels without a new rule are forgotten.
        """
        after = Detector(rules, severities=self.severities, max_gap_s=self._max_gap_s)
        after._last_s = self._last_s
        for label, tracker in after._trackers.items():
            if (before := self._trackers.get(label)) is not None:
                tracker.go_on_from(before)
        return after

    def observe(self, time_s: float, scores: Mapping[str, float]) -> tuple[Raised | Cleared, ...]:
        """Take in the scores of one clip.

        When `time_s` goes back (the stream started anew, or clips arrive out of order) or leaps further than the
        gap allowed, hits and quiet counted so far are forgotten, severities are kept.

        Args:
            time_s: Time of the clip, in seconds on one timeline per detector.
            scores: Score in [0, 1] per label; a label with a rule may be missing, then nothing is learnt about it.

        Returns:
            At most one change per label, in the order of the rules.

        Raises:
            ValueError: a time that is not finite, or a score outside [0, 1]; nothing has been taken in then. A
                broken score must be seen: counted as low, it would make a stream look safe.
        """
        if not math.isfinite(time_s):
            message = f"a clip's time must be finite, not {time_s}"
            raise ValueError(message)
        for label in self._trackers.keys() & scores.keys():
            if not 0 <= scores[label] <= 1:
                message = f"the score for {label!r} is {scores[label]}, outside [0, 1]"
                raise ValueError(message)
        if self._last_s is not None and not 0 <= time_s - self._last_s <= self._max_gap_s:
            for tracker in self._trackers.values():
                tracker.forget()
        self._last_s = time_s
        changes: list[Raised | Cleared] = []
        for label, tracker in self._trackers.items():
            score = scores.get(label)
            if score is None:
                continue
            before = tracker.severity
            after = tracker.observe(time_s, score)
            if after > before:
                changes.append(
                    Raised(label, after, score, since_s=tracker.raised_by_s, threshold=tracker.threshold_of(after))
                )
            elif after < before:
                changes.append(Cleared(label, after))
        return tuple(changes)


class _LabelTracker:
    """Windows and severity of one label."""

    __slots__ = ("_act", "_clear_after_s", "_last_hit_s", "_last_s", "_review", "raised_by_s", "severity")

    def __init__(self, rule: DetectionRule, severity: Severity) -> None:
        self._review = _LevelTracker(rule.review, rule.clear_ratio, rule.clear_after_s)
        self._act = _LevelTracker(rule.act, rule.clear_ratio, rule.clear_after_s)
        self._clear_after_s = rule.clear_after_s
        self._last_hit_s: float | None = None
        self._last_s = 0.0
        self.raised_by_s = math.nan
        self.severity = severity

    @property
    def suspicious(self) -> bool:
        if self._last_hit_s is None:
            return False
        return self._review.hits > 0 or self._last_s - self._last_hit_s <= self._clear_after_s

    def threshold_of(self, severity: Severity) -> float:
        return (self._act if severity is Severity.ACT else self._review).rule.threshold

    def use(self, rule: DetectionRule) -> None:
        self._review.use(rule.review, rule.clear_ratio)
        self._act.use(rule.act, rule.clear_ratio)

    def go_on_from(self, before: _LabelTracker) -> None:
        self._review.go_on_from(before._review)
        self._act.go_on_from(before._act)
        self._last_hit_s, self._last_s = before._last_hit_s, before._last_s

    def forget(self) -> None:
        self._review.forget()
        self._act.forget()
        self._last_hit_s = None

    def observe(self, time_s: float, score: float) -> Severity:
        clip = (time_s, score)
        self._review.add(clip)
        self._act.add(clip)
        self._last_s = time_s
        if score >= self._review.rule.threshold:
            self._last_hit_s = time_s
        risen = Severity.ACT if self._act.met else Severity.REVIEW if self._review.met else Severity.NONE
        if risen > self.severity:
            self.severity = risen
            self.raised_by_s = (self._act if risen is Severity.ACT else self._review).first_hit_s
        elif self.severity > Severity.NONE and self._review.quiet_long_enough:
            self._clear_to(Severity.NONE)
        elif self.severity > Severity.REVIEW and self._act.quiet_long_enough:
            self._clear_to(Severity.REVIEW)
        return self.severity

    def _clear_to(self, severity: Severity) -> None:
        # Where clips are sparse, hits from before the quiet are still in the window; they must not raise it again.
        self.severity = severity
        self._act.forget_hits()
        if severity is Severity.NONE:
            self._review.forget_hits()


class _LevelTracker:
    """Hits and quiet for one label at one severity."""

    __slots__ = ("_clear_after_s", "_last_s", "_quiet_below", "_quiet_since_s", "_window", "hits", "rule")

    def __init__(self, rule: LevelRule, clear_ratio: float, clear_after_s: float) -> None:
        self.rule = rule
        self.hits = 0
        # Time and score. A list, because it is short: an empty deque takes more memory than all the rest of a calm stream.
        self._window: list[tuple[float, float]] = []
        self._quiet_below = rule.threshold * clear_ratio
        self._clear_after_s = clear_after_s
        self._quiet_since_s: float | None = None
        self._last_s = 0.0

    @property
    def met(self) -> bool:
        return self.hits >= self.rule.hits

    @property
    def first_hit_s(self) -> float:
        return next(time_s for time_s, score in self._window if score >= self.rule.threshold)

    @property
    def quiet_long_enough(self) -> bool:
        return self._quiet_since_s is not None and self._last_s - self._quiet_since_s >= self._clear_after_s

    def add(self, clip: tuple[float, float]) -> None:
        time_s, score = clip
        self._window.append(clip)
        self.hits += score >= self.rule.threshold
        if len(self._window) > self.rule.of:
            self.hits -= self._window.pop(0)[1] >= self.rule.threshold
        self._last_s = time_s
        if score >= self._quiet_below:
            self._quiet_since_s = None
        elif self._quiet_since_s is None:
            self._quiet_since_s = time_s

    def use(self, rule: LevelRule, clear_ratio: float) -> None:
        self.rule = rule
        self.hits = sum(score >= rule.threshold for _, score in self._window)
        self._quiet_below = rule.threshold * clear_ratio
        self._quiet_since_s = None

    def go_on_from(self, before: _LevelTracker) -> None:
        # Scores of two models do not compare; that a clip was a hit does. Thresholds are above 0 and at most 1.
        hits = [(time_s, float(score >= before.rule.threshold)) for time_s, score in before._window][-self.rule.of :]
        self._window.extend(hits)
        self.hits = sum(hit > 0 for _, hit in hits)
        self._quiet_since_s, self._last_s = before._quiet_since_s, before._last_s

    def forget_hits(self) -> None:
        self._window.clear()
        self.hits = 0

    def forget(self) -> None:
        self.forget_hits()
        self._quiet_since_s = None
