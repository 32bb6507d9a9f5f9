"""Which watcher watches which stream. No I/O, no clock: the supervisor tells what happened and carries out what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from monitor.vocabulary import Posture

PRIOR_CORES: Final[Mapping[Posture, float]] = {Posture.CALM: 0.019, Posture.CLOSE: 0.059, Posture.FULL: 0.1}
"""What a 720p stream takes, in core seconds per second, until this machine has measured any in that posture."""

MOST_CORES: Final = 2.0
"""Most that one stream can take: its thread decodes on one core, and its clips are scored on another."""

_SMOOTHING: Final = 0.3
_TYPICAL_OVER: Final = 64
_EVEN_ENOUGH_STREAMS: Final = 4
_EVEN_ENOUGH_SHARE: Final = 0.25


@dataclass(slots=True)
class AssignedStream:
    """What is to be watched, and how closely; `url` may hold secrets.

    Attributes:
        tries: How many tries in a row have failed so far.
        weight: How much it matters beside others, where there is more to watch than time; 1 for ordinary streams.
        model: ``name@version`` of the model that its last scores are from; empty before the first.
        watching_since_s: Since when its watcher calls it watched, on the monotonic clock; None while it does not.
    """

    url: str = field(repr=False)
    posture: Posture
    tries: int = 0
    weight: float = 1.0
    watching_since_s: float | None = None
    model: str = ""


@dataclass(frozen=True, slots=True)
class Placement:
    """One stream's new place; `source` is the watcher that must let go of it first, or None."""

    stream_id: str
    target: int
    source: int | None = None


@dataclass(slots=True)
class _Typical:
    """The mean of what streams in one posture were measured to take, the newer ones counting for more."""

    cores: float = 0.0
    measures: int = 0

    def add(self, cores: float) -> None:
        self.measures = min(self.measures + 1, _TYPICAL_OVER)
        self.cores += (cores - self.cores) / self.measures


@dataclass(slots=True)
class Assignment:
    """Keeps what is reserved for each stream on its watcher, and gives the next stream to the watcher with least reserved.

    A stream's reservation is what it was measured to take in its posture, smoothed; before that, what it took in another
    posture in the proportion of the two; before that, what streams in its posture take on this machine; and before
    that `PRIOR_CORES`. Reservations are counted, never a load that is looked at: two streams that come at once never
    see the same idle watcher.

    Only the first `active` watchers to join get streams; later ones are spares until one of those leaves. A stream
    that has a place keeps it, except in `rebalance`.

    Attributes:
        active: How many watchers share the streams.
    """

    active: int
    _members: list[int] = field(default_factory=list)
    _postures: dict[str, Posture] = field(default_factory=dict)
    _places: dict[str, int] = field(default_factory=dict)
    _measured: dict[str, dict[Posture, float]] = field(default_factory=dict)
    _typical: dict[Posture, _Typical] = field(default_factory=lambda: {posture: _Typical() for posture in Posture})

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

    def succeed(self, old: int, new: int) -> None:
        """`new` gets streams in the place of `old`, which gets no more; those that `old` has stay there for now."""
        place = self._members.index(old) if old in self._members else 0
        self._members = [member for member in self._members if member not in (old, new)]
        self._members.insert(place, new)

    def move(self, stream_id: str, target: int) -> None:
        """A stream has gone to another watcher; unknown streams are ignored."""
        if stream_id in self._postures:
            self._places[stream_id] = target

    def add(self, stream_id: str, posture: Posture) -> None:
        """A stream wants watching; it gets its place with the next `place`. Adding it again only sets its posture."""
        self._postures[stream_id] = posture

    def remove(self, stream_id: str) -> int | None:
        """A stream needs no watching; return the watcher that had it, if any."""
        self._postures.pop(stream_id, None)
        self._measured.pop(stream_id, None)
        return self._places.pop(stream_id, None)

    def set_posture(self, stream_id: str, posture: Posture) -> int | None:
        """A stream's reservation changes where it is; return its watcher, if any. Unknown streams are ignored."""
        if stream_id in self._postures:
            self._postures[stream_id] = posture
        return self._places.get(stream_id)

    def measure(self, stream_id: str, posture: Posture, cores: float) -> None:
        """A stream took so many core seconds per second in this posture; unknown streams and impossible costs are ignored."""
        # Not a number fails the comparison as well.
        if stream_id not in self._postures or not 0.0 < cores <= MOST_CORES:
            return
        measured = self._measured.setdefault(stream_id, {})
        before = measured.get(posture)
        measured[posture] = cores if before is None else before + _SMOOTHING * (cores - before)
        self._typical[posture].add(cores)

    def place(self) -> tuple[Placement, ...]:
        """Give every stream without a place to the watcher with least reserved; none are placed while none is ready."""
        placements: list[Placement] = []
        active = self._active_members()
        unplaced = self.unplaced
        if not active or not unplaced:
            return ()
        reserved = {member: self.reserved_on(member) for member in active}
        # Heaviest first fits best; sorting is stable, so the longest known goes first among equals.
        for stream_id in sorted(unplaced, key=lambda stream_id: -self.reserved_for(stream_id)):
            target = min(active, key=lambda member: reserved[member])
            reserved[target] += self.reserved_for(stream_id)
            self._places[stream_id] = target
            placements.append(Placement(stream_id, target))
        return tuple(placements)

    def rebalance(self, most: int) -> tuple[Placement, ...]:
        """Move up to `most` calm streams from the fullest to the emptiest watcher, while that evens them out.

        A move costs its stream a reconnect. So streams that are watched closely stay, and an imbalance of up to four
        typical calm streams or a quarter of the fuller side stays too. No move makes the emptier side the fuller one.
        """
        moves: list[Placement] = []
        active = self._active_members()
        while len(moves) < most and len(active) > 1:
            reserved = {member: self.reserved_on(member) for member in active}
            full = max(active, key=lambda member: reserved[member])
            empty = min(active, key=lambda member: reserved[member])
            gap = reserved[full] - reserved[empty]
            if gap <= max(_EVEN_ENOUGH_STREAMS * self.typical(Posture.CALM), reserved[full] * _EVEN_ENOUGH_SHARE):
                break
            movable = [
                stream_id
                for stream_id in reversed(self.streams_of(full))
                if self._postures[stream_id] is Posture.CALM and self.reserved_for(stream_id) <= gap / 2
            ]
            if not movable:
                break
            chosen = max(movable, key=self.reserved_for)
            self._places[chosen] = empty
            moves.append(Placement(chosen, empty, full))
        return tuple(moves)

    def reserved_for(self, stream_id: str) -> float:
        """Return what is reserved for one stream, in core seconds per second."""
        posture = self._postures[stream_id]
        measured = self._measured.get(stream_id, {})
        if posture in measured:
            return measured[posture]
        for other, cores in measured.items():
            return min(cores * self.typical(posture) / self.typical(other), MOST_CORES)
        return self.typical(posture)

    def reserved_on(self, member: int) -> float:
        """Return what is reserved on one watcher, in core seconds per second."""
        return sum(self.reserved_for(stream_id) for stream_id, place in self._places.items() if place == member)

    def typical(self, posture: Posture) -> float:
        """Return what a stream in this posture takes on this machine, as far as is known, in core seconds per second."""
        typical = self._typical[posture]
        return typical.cores if typical.measures else PRIOR_CORES[posture]

    def place_of(self, stream_id: str) -> int | None:
        """Return the watcher that has the stream, if any."""
        return self._places.get(stream_id)

    def streams_of(self, member: int) -> tuple[str, ...]:
        """Return the streams of one watcher, in the order in which they came to it."""
        return tuple(stream_id for stream_id, place in self._places.items() if place == member)

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
