"""Which watcher watches which stream. No I/O, no clock: the supervisor tells what happened and carries out what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from monitor.vocabulary import Posture

POSTURE_WEIGHT: Final[Mapping[Posture, int]] = {Posture.CALM: 1, Posture.CLOSE: 3, Posture.FULL: 5}
"""Share of a core that a stream takes, relative to a calm one (from .019, .059 and .1 core seconds per second)."""


@dataclass(slots=True)
class AssignedStream:
    """What is to be watched, and how closely; `url` may hold secrets."""

    url: str = field(repr=False)
    posture: Posture


@dataclass(frozen=True, slots=True)
class Placement:
    """One stream's new place; `source` is the watcher that must let go of it first, or None."""

    stream_id: str
    target: int
    source: int | None = None


@dataclass(slots=True)
class Assignment:
    """Counts what each watcher has been given and gives the next stream to the one that has least.

    Counting what was given, not what was measured: two streams that come at once never see the same idle watcher.
    Only the first `active` watchers to join get streams; later ones are spares until one of those leaves. A stream
    that has a place keeps it, except in `rebalance`.

    Attributes:
        active: How many watchers share the streams.
    """

    active: int
    _members: list[int] = field(default_factory=list)
    _postures: dict[str, Posture] = field(default_factory=dict)
    _places: dict[str, int] = field(default_factory=dict)

    def join(self, member: int) -> None:
        """A watcher is ready; it gets streams with the next `place` or `rebalance`."""
        if member not in self._members:
            self._members.append(member)

    def leave(self, member: int) -> tuple[str, ...]:
        """A watcher is gone; return the streams that have no place now."""
        if member in self._members:
            self._members.remove(member)
        orphans = self.streams_of(member)
        for stream_id in orphans:
            del self._places[stream_id]
        return orphans

    def add(self, stream_id: str, posture: Posture) -> None:
        """A stream wants watching; it gets its place with the next `place`. Adding it again only sets its posture."""
        self._postures[stream_id] = posture

    def remove(self, stream_id: str) -> int | None:
        """A stream needs no watching; return the watcher that had it, if any."""
        self._postures.pop(stream_id, None)
        return self._places.pop(stream_id, None)

    def set_posture(self, stream_id: str, posture: Posture) -> int | None:
        """A stream's weight changes where it is; return its watcher, if any. Unknown streams are ignored."""
        if stream_id in self._postures:
            self._postures[stream_id] = posture
        return self._places.get(stream_id)

    def place(self) -> tuple[Placement, ...]:
        """Give every stream that has no place to the watcher with least weight; none are placed while none is ready."""
        placements: list[Placement] = []
        active = self._active_members()
        if not active:
            return ()
        weights = {member: self.weight_of(member) for member in active}
        unplaced = [stream_id for stream_id in self._postures if stream_id not in self._places]
        # Heaviest first fits best; sorting is stable, so the longest known goes first among equals.
        for stream_id in sorted(unplaced, key=lambda stream_id: -self._weight(stream_id)):
            target = min(active, key=lambda member: weights[member])
            weights[target] += self._weight(stream_id)
            self._places[stream_id] = target
            placements.append(Placement(stream_id, target))
        return tuple(placements)

    def rebalance(self, most: int) -> tuple[Placement, ...]:
        """Move up to `most` calm streams from the heaviest to the lightest watcher, while that evens them out.

        A move costs its stream a reconnect. So streams that are watched closely stay, and an imbalance of up to four
        calm streams or a quarter of the heavier side stays too.
        """
        moves: list[Placement] = []
        active = self._active_members()
        while len(moves) < most and len(active) > 1:
            heavy = max(active, key=self.weight_of)
            light = min(active, key=self.weight_of)
            gap = self.weight_of(heavy) - self.weight_of(light)
            movable = [stream_id for stream_id in self.streams_of(heavy) if self._postures[stream_id] is Posture.CALM]
            if gap <= max(4, self.weight_of(heavy) // 4) or not movable:
                break
            self._places[movable[-1]] = light
            moves.append(Placement(movable[-1], light, heavy))
        return tuple(moves)

    def place_of(self, stream_id: str) -> int | None:
        """Return the watcher that has the stream, if any."""
        return self._places.get(stream_id)

    def streams_of(self, member: int) -> tuple[str, ...]:
        """Return the streams of one watcher, in the order in which they came to it."""
        return tuple(stream_id for stream_id, place in self._places.items() if place == member)

    def weight_of(self, member: int) -> int:
        """Return the weight that one watcher has been given."""
        return sum(self._weight(stream_id) for stream_id, place in self._places.items() if place == member)

    @property
    def size(self) -> int:
        """How many watchers are ready, spares included."""
        return len(self._members)

    @property
    def idle(self) -> int | None:
        """The watcher without streams that joined last, if there is one."""
        busy = set(self._places.values())
        return next((member for member in reversed(self._members) if member not in busy), None)

    def is_spare(self, member: int) -> bool:
        """Whether a watcher has joined and waits to take over from another."""
        return member in self._members[self.active :]

    @property
    def unplaced(self) -> tuple[str, ...]:
        """Streams that wait for a place."""
        return tuple(stream_id for stream_id in self._postures if stream_id not in self._places)

    def _active_members(self) -> list[int]:
        return self._members[: self.active]

    def _weight(self, stream_id: str) -> int:
        return POSTURE_WEIGHT[self._postures[stream_id]]
