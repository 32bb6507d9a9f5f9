"""Streams that two watchers have at the same time, so that none is unwatched while it goes from one to the other.

The one that has a stream is heard until the other has scored it; what the other says of it before that waits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from monitor.vocabulary import WatchState
from monitor.watch.child import WatcherChild
from monitor.watch.messages import StreamStatus

PATIENCE_S: Final = 30.0
"""Longest that two watchers have a stream, in seconds: longer than any group of pictures that sampling waits for."""


@dataclass(slots=True, eq=False)
class Overlap:
    """One stream that goes from `old` to `new`.

    Attributes:
        since_s: Since when both have it, on the monotonic clock.
        last: What `new` said last of the stream; None before the first word.
    """

    old: WatcherChild
    new: WatcherChild
    since_s: float
    last: StreamStatus | None = None


@dataclass(slots=True)
class Overlaps:
    """All overlaps, by `stream_id`. No I/O, no clock of its own."""

    _overlaps: dict[str, Overlap] = field(default_factory=dict)

    def begin(self, stream_id: str, old: WatcherChild, new: WatcherChild, now_s: float) -> None:
        """Both have the stream from now on."""
        self._overlaps[stream_id] = Overlap(old, new, now_s)

    def end(self, stream_id: str) -> Overlap | None:
        """Only one has the stream from now on; return what there was, if anything."""
        return self._overlaps.pop(stream_id, None)

    def of(self, stream_id: str) -> Overlap | None:
        """Return a stream's overlap, if it is in one."""
        return self._overlaps.get(stream_id)

    def overdue(self, now_s: float) -> tuple[str, ...]:
        """Return the streams that the new watcher has not scored in good time."""
        return tuple(known for known, overlap in self._overlaps.items() if now_s - overlap.since_s > PATIENCE_S)

    def leaving(self, child: WatcherChild) -> tuple[str, ...]:
        """Return the streams that `child` is about to be rid of."""
        return tuple(known for known, overlap in self._overlaps.items() if overlap.old is child)

    def coming(self, child: WatcherChild) -> tuple[str, ...]:
        """Return the streams that `child` has not scored yet, and another still has."""
        return tuple(known for known, overlap in self._overlaps.items() if overlap.new is child)

    def hear(self, child: WatcherChild, status: StreamStatus) -> tuple[bool, bool]:
        """Say what to do with a status: whether to pass it on, and whether that ends the overlap."""
        overlap = self._overlaps.get(status.stream_id)
        if overlap is None:
            return True, False
        if child is overlap.new:
            overlap.last = status
            # What is over for one is over for both; and that is to be heard once.
            return False, status.state is WatchState.ENDED
        # Who does not watch a stream any more has no need to keep it.
        return True, status.state is not WatchState.WATCHING
