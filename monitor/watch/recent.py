"""What a watcher keeps of each stream's last minute, for evidence."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from monitor.watch.messages import Evidence, EvidenceFrame, EvidenceScore

KEEP_S = 60.0
"""How much of a stream is kept, in seconds before its newest sample."""

KEEP_AFTER_RELEASE_S = 120.0
"""How long that stays available after the stream was released, in seconds."""

_SCORE_OVERHEAD_BYTES = 200
"""What one kept score costs besides its numbers: deque slot, struct, tuple, floats (measured with sys.getsizeof)."""


@dataclass(slots=True)
class _Kept:
    frames: deque[EvidenceFrame] = field(default_factory=deque)
    scores: deque[tuple[float, EvidenceScore]] = field(default_factory=deque)
    size_bytes: int = 0
    released_at_s: float | None = None


@dataclass(slots=True)
class RecentSamples:
    """Samples and scores of the last minute per stream, bounded in time and bytes. Thread-safe.

    Attributes:
        stream_bytes: Most that is kept of one stream; its oldest samples go first.
        total_bytes: Most that is kept in all; released streams go first, the longest released before others.
    """

    stream_bytes: int = 4 * 1024 * 1024
    total_bytes: int = 192 * 1024 * 1024
    monotonic_s: Callable[[], float] = time.monotonic
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _size_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def watch(self, stream_id: str) -> None:
        """Keep samples of this stream from now on; what is left of an earlier watch stays."""
        with self._lock:
            self._kept.setdefault(stream_id, _Kept()).released_at_s = None

    def release(self, stream_id: str) -> None:
        """Keep what there is for two more minutes."""
        with self._lock:
            if (kept := self._kept.get(stream_id)) is not None:
                kept.released_at_s = self.monotonic_s()

    def add_frame(self, stream_id: str, frame: EvidenceFrame) -> None:
        """Keep one sample; does nothing for a stream that is not watched."""
        with self._lock:
            if (kept := self._kept.get(stream_id)) is None or kept.released_at_s is not None:
                return
            kept.frames.append(frame)
            self._grow(kept, len(frame.jpeg))
            while kept.frames and kept.frames[0].arrived_at < frame.arrived_at - KEEP_S:
                self._drop_oldest_frame(kept)
            self._shrink(kept)

    def add_score(self, stream_id: str, scored_at: float, score: EvidenceScore) -> None:
        """Keep one clip's scores; `scored_at` is Unix time. Does nothing for a stream that is not watched."""
        with self._lock:
            if (kept := self._kept.get(stream_id)) is None or kept.released_at_s is not None:
                return
            kept.scores.append((scored_at, score))
            self._grow(kept, _score_bytes(score))
            while kept.scores and kept.scores[0][0] < scored_at - KEEP_S:
                self._drop_oldest_score(kept)
            self._shrink(kept)

    def evidence(self, request_id: int, stream_id: str) -> Evidence:
        """Return what is kept, oldest first; empty when nothing is."""
        self.expire()
        with self._lock:
            kept = self._kept.get(stream_id, _Kept())
            return Evidence(
                request_id=request_id,
                stream_id=stream_id,
                frames=tuple(kept.frames),
                scores=tuple(score for _, score in kept.scores),
            )

    def expire(self) -> None:
        """Forget streams that were released more than two minutes ago."""
        before_s = self.monotonic_s() - KEEP_AFTER_RELEASE_S
        with self._lock:
            gone = [
                stream_id
                for stream_id, kept in self._kept.items()
                if kept.released_at_s is not None and kept.released_at_s < before_s
            ]
            for stream_id in gone:
                self._forget(stream_id)

    @property
    def size_bytes(self) -> int:
        """How much is kept in all."""
        return self._size_bytes

    def _shrink(self, kept: _Kept) -> None:
        while kept.size_bytes > self.stream_bytes and (kept.frames or kept.scores):
            if kept.frames:
                self._drop_oldest_frame(kept)
            else:
                self._drop_oldest_score(kept)
        while self._size_bytes > self.total_bytes and (victim := self._longest_released()) is not None:
            self._forget(victim)
        while self._size_bytes > self.total_bytes and kept.frames:
            self._drop_oldest_frame(kept)

    def _longest_released(self) -> str | None:
        released = [
            (kept.released_at_s, stream_id)
            for stream_id, kept in self._kept.items()
            if kept.released_at_s is not None and kept.size_bytes
        ]
        return min(released)[1] if released else None

    def _forget(self, stream_id: str) -> None:
        self._size_bytes -= self._kept.pop(stream_id).size_bytes

    def _grow(self, kept: _Kept, size_bytes: int) -> None:
        kept.size_bytes += size_bytes
        self._size_bytes += size_bytes

    def _drop_oldest_frame(self, kept: _Kept) -> None:
        self._grow(kept, -len(kept.frames.popleft().jpeg))

    def _drop_oldest_score(self, kept: _Kept) -> None:
        self._grow(kept, -_score_bytes(kept.scores.popleft()[1]))


def _score_bytes(score: EvidenceScore) -> int:
    return _SCORE_OVERHEAD_BYTES + 32 * len(score.scores)
