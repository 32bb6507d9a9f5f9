"""What ordinary streams teach about thresholds, and what they must not.

Every stream is counted by itself: how often each threshold would have raised a detection, in buckets of minutes. A bucket
teaches only `BEFORE_S` later, so that what led to an incident is known by then to have done so. Scores of a stream with an
open incident wait for its end: where a person confirmed it they are forgotten; where a person dismissed it, or it passed
without anybody deciding and was not grave, they were ordinary after all. Without those last a threshold would only ever
learn from what it did not raise, and fall without end.

Nothing here reads a clock, writes, or knows of media servers beyond a pair of names.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

import numpy as np

from monitor.detect.budget import Standing, Tally, is_fall, move
from monitor.detect.ladder import RUNGS, Bools, EpisodeCounter, Floats, log_odds_of
from monitor.detect.persistence import DetectionRule, LevelRule
from monitor.vocabulary import Severity

Group = tuple[str, str]
"""Media server and application whose streams are learnt from together."""

BEFORE_S: Final = 600.0
"""What was seen so long before an incident opened belongs to it."""

MOST_PER_HOUR: Final = 3
"""Detections per threshold that one stream teaches in an hour; further ones of that hour are left out."""

_BUCKET_S: Final = 120.0
_WATCHED_GAP_S: Final = 10.0
"""Clips further apart than this say nothing of the time between them."""
_DAY_S: Final = 86400.0


class Ending(Enum):
    """What an incident turned out to be, as far as learning is concerned."""

    ORDINARY = "ordinary"
    ATTACK = "attack"
    DOUBTFUL = "doubtful"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Which threshold."""

    group: Group
    label: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class Change:
    """A threshold that came into force, or was found frozen or free again."""

    key: Key
    before: Standing
    after: Standing
    hours: float


_Kind = tuple[str, Severity]


@dataclass(slots=True)
class _Bucket:
    began_at: float
    hours: float = 0.0
    episodes: dict[_Kind, Floats] = field(default_factory=dict)

    def add(self, other: _Bucket) -> None:
        self.hours += other.hours
        for kind, counts in other.episodes.items():
            self.episodes[kind] = self.episodes[kind] + counts if kind in self.episodes else counts


@dataclass(slots=True)
class _Stream:
    group: Group
    counters: dict[_Kind, EpisodeCounter]
    buckets: deque[_Bucket] = field(default_factory=deque)
    held: _Bucket | None = None
    last_at: float | None = None
    hour: int = -1
    in_hour: dict[_Kind, Floats] = field(default_factory=dict)
    gone: bool = False


class ThresholdLearning:
    """Thresholds for every group of streams, learnt from them. Memory is bounded by live streams and by groups.

    Args:
        rules: The rules that hold until enough was seen, per label.
        budgets: Detections allowed per stream-hour, for each severity whose threshold is learnt.
    """

    def __init__(self, rules: Mapping[str, DetectionRule], budgets: Mapping[Severity, float]) -> None:
        self._defaults = dict(rules)
        self._budgets = dict(budgets)
        self._streams: dict[str, _Stream] = {}
        self._tallies: dict[Key, Tally] = {}
        self._standings: dict[Key, Standing] = {}
        self._faded_at: dict[Key, float] = {}

    @property
    def states(self) -> dict[Key, tuple[Standing, Tally]]:
        """What is in force, and what was seen, for every group that was seen."""
        return {key: (self.standing(key), tally) for key, tally in self._tallies.items()}

    def restore(self, key: Key, standing: Standing, tally: Tally, at: float) -> None:
        """Go on from what held at `at`, Unix time; a severity or label that is not learnt any more is left out."""
        if key.label in self._defaults and key.severity in self._budgets:
            self._standings[key] = standing
            self._tallies[key] = tally
            self._faded_at[key] = at

    def standing(self, key: Key) -> Standing:
        """Return what is in force."""
        return self._standings.get(key) or Standing(log_odds_of(self._default(key)))

    def rules_for(self, group: Group) -> dict[str, DetectionRule]:
        """Return the rules in force for streams of a group; `act` never lies below `review`."""
        return {label: self._rule(group, label, rule) for label, rule in self._defaults.items()}

    def observe(
        self, stream_id: str, group: Group, at: float, scores: Mapping[str, float], *, incident: bool = False
    ) -> None:
        """Count one clip.

        Args:
            stream_id: Which stream.
            group: Where it belongs.
            at: When the clip arrived, Unix time.
            scores: Score in [0, 1] per label.
            incident: Whether an incident is open on the stream; looked at for its first clip only.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            counters = {(label, severity): self._counter(label, severity) for label, severity in self._kinds()}
            stream = self._streams[stream_id] = _Stream(group, counters)
            if incident:
                self.opened(stream_id, at)
        stream.gone = False
        bucket = self._bucket(stream, at)
        if stream.last_at is not None and 0 < at - stream.last_at <= _WATCHED_GAP_S:
            bucket.hours += (at - stream.last_at) / 3600
        stream.last_at = at
        for (label, severity), counter in stream.counters.items():
            if label in scores:
                rising = counter.observe(at, scores[label])
                if rising.any():
                    self._count(stream, bucket, (label, severity), rising)

    def opened(self, stream_id: str, at: float) -> None:
        """Keep apart what a stream showed lately and shows from now on: an incident began on it at `at`."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.held is not None:
            return
        self._settle(stream, at)
        stream.held = _Bucket(at)
        while stream.buckets:
            stream.held.add(stream.buckets.popleft())

    def closed(self, stream_id: str, ending: Ending) -> None:
        """Learn from what was kept apart, or forget it: the incident is over."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.held is None:
            return
        if ending is not Ending.ATTACK:
            self._teach(stream.group, stream.held, doubtful=ending is Ending.DOUBTFUL)
        stream.held = None

    def gone(self, stream_id: str) -> None:
        """Forget a stream as soon as all that it taught is settled."""
        if stream_id in self._streams:
            self._streams[stream_id].gone = True

    def settle(self, now: float) -> None:
        """Learn from everything that lies far enough back."""
        for stream_id, stream in list(self._streams.items()):
            self._settle(stream, now)
            if stream.gone and not stream.buckets and stream.held is None:
                del self._streams[stream_id]

    def reckon(self, now: float) -> list[Change]:
        """Bring thresholds up to date with what was learnt; return those that changed.

        Where one has fallen, counting begins anew: what lies below the threshold in force is not looked at closely enough to
        be counted rightly.
        """
        changes = []
        for key in sorted(self._tallies):
            days = (now - self._faded_at.get(key, now)) / _DAY_S
            self._faded_at[key] = now
            tally = self._tallies[key] = self._tallies[key].faded(days)
            before = self.standing(key)
            after = move(before, tally, self._budgets[key.severity], self._default(key), now)
            self._standings[key] = after
            if (after.log_odds, after.frozen, after.first) != (before.log_odds, before.frozen, before.first):
                changes.append(Change(key, before, after, tally.hours))
            if is_fall(before, after):
                self._tallies[key] = Tally.empty()
        return changes

    def _kinds(self) -> Iterable[_Kind]:
        return ((label, severity) for label in self._defaults for severity in self._budgets)

    def _counter(self, label: str, severity: Severity) -> EpisodeCounter:
        rule = self._defaults[label]
        level = _level(rule, severity)
        return EpisodeCounter(level.hits, level.of, rule.clear_ratio, rule.clear_after_s)

    def _default(self, key: Key) -> float:
        return _level(self._defaults[key.label], key.severity).threshold

    def _rule(self, group: Group, label: str, rule: DetectionRule) -> DetectionRule:
        review, act = (self._threshold(Key(group, label, one), rule) for one in (Severity.REVIEW, Severity.ACT))
        return replace(
            rule, review=replace(rule.review, threshold=review), act=replace(rule.act, threshold=max(review, act))
        )

    def _threshold(self, key: Key, rule: DetectionRule) -> float:
        standing = self._standings.get(key)
        # The default is kept to the last digit until another takes its place.
        return (
            _level(rule, key.severity).threshold if standing is None or standing.first is None else standing.threshold
        )

    @staticmethod
    def _bucket(stream: _Stream, at: float) -> _Bucket:
        if stream.held is not None:
            return stream.held
        if not stream.buckets or not 0 <= at - stream.buckets[-1].began_at < _BUCKET_S:
            stream.buckets.append(_Bucket(at))
        return stream.buckets[-1]

    @staticmethod
    def _count(stream: _Stream, bucket: _Bucket, kind: _Kind, rising: Bools) -> None:
        hour = int((stream.last_at or 0.0) // 3600)
        if hour != stream.hour:
            stream.hour = hour
            stream.in_hour.clear()
        so_far = stream.in_hour.setdefault(kind, np.zeros(RUNGS))
        taught = rising & (so_far < MOST_PER_HOUR)
        so_far += taught
        bucket.episodes[kind] = bucket.episodes.get(kind, np.zeros(RUNGS)) + taught

    def _settle(self, stream: _Stream, now: float) -> None:
        while stream.buckets and not now - stream.buckets[0].began_at < BEFORE_S + _BUCKET_S:
            self._teach(stream.group, stream.buckets.popleft(), doubtful=False)

    def _teach(self, group: Group, bucket: _Bucket, *, doubtful: bool) -> None:
        for label, severity in self._kinds():
            key = Key(group, label, severity)
            counts = bucket.episodes.get((label, severity), np.zeros(RUNGS))
            none = np.zeros(RUNGS)
            taught = Tally(0.0, none, counts) if doubtful else Tally(bucket.hours, counts, none)
            self._tallies[key] = self._tallies.get(key, Tally.empty()) + taught


def _level(rule: DetectionRule, severity: Severity) -> LevelRule:
    return rule.act if severity is Severity.ACT else rule.review
