"""Clips that wait for inference: few, fresh and fairly chosen."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from monitor.video.clip import Clip

DROP_SUPERSEDED = "superseded"
DROP_OVERLOAD = "overload"
DROP_STOPPED = "stopped"
DROP_NO_CLASSIFIER = "no_classifier"

_TURNS_PER_CALM = 4
"""One turn in so many goes to a calmer stream: watching some streams closely must never blind the others."""

_TURNS_REMEMBERED = 4096


@dataclass(frozen=True, slots=True, eq=False)
class PendingClip:
    """One clip and where it belongs; `token` is handed back untouched with the scores."""

    stream_id: str
    clip: Clip
    token: object = None


@dataclass(slots=True)
class PendingClips:
    """A bounded store between stream threads and the inference thread. Thread-safe.

    At most one clip per stream waits: a newer one takes its place (``superseded``). When `capacity` is reached, the
    calmest streams lose first, and among them the one that was scored last (``overload``). Batches take the closest
    posture first and, within a posture, the stream that has waited longest since it was last scored; every fourth
    place is a calmer stream's, so nobody starves.
    """

    capacity: int = 64
    monotonic_s: Callable[[], float] = time.monotonic
    _waiting: dict[str, PendingClip] = field(default_factory=dict)
    _since_s: dict[str, float] = field(default_factory=dict)
    _turns: dict[str, int] = field(default_factory=dict)
    _turn: int = 0
    _dropped: Counter[str] = field(default_factory=Counter)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closed: bool = False

    def put(self, pending: PendingClip) -> None:
        """Add a clip without ever waiting; drops whatever has to go, perhaps `pending` itself."""
        with self._changed:
            if self._closed:
                self._dropped[DROP_STOPPED] += 1
                return
            if self._waiting.pop(pending.stream_id, None) is not None:
                self._dropped[DROP_SUPERSEDED] += 1
            else:
                self._since_s[pending.stream_id] = self.monotonic_s()
            self._waiting[pending.stream_id] = pending
            if len(self._waiting) > self.capacity:
                self._drop(max(self._waiting, key=self._dispensability), DROP_OVERLOAD)
            self._changed.notify()

    def take(self, most: int, fill_s: float) -> list[PendingClip]:
        """Wait for clips and return up to `most`; empty once the store is closed.

        Args:
            most: Largest batch.
            fill_s: How long the first clip of an unfilled batch may wait for company, in seconds.
        """
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            while not self._closed and 0 < len(self._waiting) < most:
                left_s = min(self._since_s.values()) + fill_s - self.monotonic_s()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            if self._closed:
                return []
            return [self._taken(self._next()) for _ in range(min(most, len(self._waiting)))]

    def forget(self, stream_id: str) -> None:
        """Drop what waits for a stream that is watched no longer."""
        with self._changed:
            self._turns.pop(stream_id, None)
            if stream_id in self._waiting:
                self._drop(stream_id, DROP_STOPPED)

    def close(self) -> None:
        """Drop everything and let `take` return."""
        with self._changed:
            self._closed = True
            self._dropped[DROP_STOPPED] += len(self._waiting)
            self._waiting.clear()
            self._since_s.clear()
            self._changed.notify_all()

    def lost(self, clips: int) -> None:
        """Count clips that were taken and that no classifier scored in time."""
        with self._changed:
            self._dropped[DROP_NO_CLASSIFIER] += clips

    def dropped(self) -> dict[str, int]:
        """Return the running totals of dropped clips by reason."""
        with self._changed:
            return dict(self._dropped)

    @property
    def any_waiting(self) -> bool:
        """Whether a clip waits now; may be out of date at once."""
        return bool(self._waiting)

    def oldest_waiting_s(self) -> float:
        """Return for how long some stream has waited for a score, in seconds; 0 when nothing waits."""
        with self._changed:
            return self.monotonic_s() - min(self._since_s.values()) if self._since_s else 0.0

    def _next(self) -> str:
        """Return whose turn it is; every fourth turn passes the closest posture over if anybody else waits."""
        closest = max(pending.clip.posture.rank for pending in self._waiting.values())
        calmer = [known for known, pending in self._waiting.items() if pending.clip.posture.rank < closest]
        if calmer and self._turn % _TURNS_PER_CALM == _TURNS_PER_CALM - 1:
            candidates = calmer
        else:
            candidates = [known for known, pending in self._waiting.items() if pending.clip.posture.rank == closest]
        return min(candidates, key=lambda stream_id: self._turns.get(stream_id, -1))

    def _dispensability(self, stream_id: str) -> tuple[int, int]:
        return (-self._waiting[stream_id].clip.posture.rank, self._turns.get(stream_id, -1))

    def _taken(self, stream_id: str) -> PendingClip:
        self._turn += 1
        self._turns.pop(stream_id, None)
        self._turns[stream_id] = self._turn
        if len(self._turns) > _TURNS_REMEMBERED:
            # A clip that came while its stream was being forgotten: nobody will forget it again.
            del self._turns[next(iter(self._turns))]
        self._since_s.pop(stream_id, None)
        return self._waiting.pop(stream_id)

    def _drop(self, stream_id: str, reason: str) -> None:
        del self._waiting[stream_id]
        self._since_s.pop(stream_id, None)
        self._dropped[reason] += 1
