"""Which streams are suspected of killing watchers, and how the guilty one is found. No I/O, no clock of its own.

A watcher holds dozens of streams, and its death names none of them. Streams that were there at two deaths within a
minute become suspects. Suspects leave the common watchers in a few groups, each in a watcher of its own: a group that
lives through its probation goes back, a group that dies is split, and a stream that dies alone is given up.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

GIVEN_UP_S = 600.0
"""How long a stream that was given up is left alone, in seconds; then it may try once more, alone from the start."""

FIRST_SPLIT = 4
"""How many groups suspects form, and large groups fall into; more find the culprit in fewer deaths, but cost more."""
_MOST_REMEMBERED = 4096


@dataclass(slots=True)
class _Group:
    streams: tuple[str, ...]
    ready_at_s: float | None = None


@dataclass(slots=True)
class Quarantine:
    """Suspicion, groups and verdicts. Members are numbers that the caller gives to quarantine watchers.

    Attributes:
        most: How many quarantine watchers there may be; groups beyond that wait.
        strikes: Deaths that make a suspect.
        window_s: Time within which they count, in seconds.
        probation_s: Time that a group must live through, in seconds from its watcher's being ready.
    """

    most: int
    strikes: int = 2
    window_s: float = 60.0
    probation_s: float = 30.0
    _deaths_s: dict[str, list[float]] = field(default_factory=dict)
    _waiting: list[tuple[str, ...]] = field(default_factory=list)
    _groups: dict[int, _Group] = field(default_factory=dict)
    _given_up_s: dict[str, float] = field(default_factory=dict)

    def blame(self, streams: Collection[str], now_s: float) -> tuple[str, ...]:
        """A common watcher died with these streams; return those that have become suspects."""
        for stream_id in [known for known, times in self._deaths_s.items() if times[-1] < now_s - self.window_s]:
            del self._deaths_s[stream_id]
        suspects: list[str] = []
        for stream_id in streams:
            recent = [time_s for time_s in self._deaths_s.get(stream_id, ()) if time_s >= now_s - self.window_s]
            self._deaths_s[stream_id] = [*recent, now_s]
            if len(recent) + 1 >= self.strikes:
                suspects.append(stream_id)
        return tuple(suspects)

    def isolate(self, suspects: Collection[str], groups: int = FIRST_SPLIT) -> None:
        """Form up to so many groups of suspects; each waits for its watcher."""
        self._waiting += _split(tuple(suspects), groups)

    def enter(self, member: int) -> bool:
        """Give the longest waiting group to a new quarantine watcher; False when none waits or too many run."""
        if not self._waiting or len(self._groups) >= self.most:
            return False
        self._groups[member] = _Group(self._waiting.pop(0))
        return True

    def begin(self, member: int, now_s: float) -> None:
        """The watcher is ready and gets its streams: probation begins."""
        self._groups[member].ready_at_s = now_s

    def died(self, member: int, now_s: float) -> str | None:
        """A quarantine watcher died with its streams; return the stream that is given up, if that settles it."""
        streams = self._groups.pop(member).streams
        if len(streams) == 1:
            (stream_id,) = streams
            while len(self._given_up_s) >= _MOST_REMEMBERED:
                del self._given_up_s[next(iter(self._given_up_s))]
            self._given_up_s[stream_id] = now_s
            return stream_id
        # The parts go first: somewhere in them is a culprit, while groups that wait may be innocent.
        self._waiting[:0] = _split(streams, FIRST_SPLIT if len(streams) > FIRST_SPLIT else 2)
        return None

    def acquit(self, now_s: float) -> dict[int, tuple[str, ...]]:
        """Return the watchers and streams whose probation is over, or whose streams have all left, and forget them."""
        done = {
            member: group.streams
            for member, group in self._groups.items()
            if not group.streams or (group.ready_at_s is not None and now_s - group.ready_at_s >= self.probation_s)
        }
        for member, streams in done.items():
            del self._groups[member]
            for stream_id in streams:
                self._deaths_s.pop(stream_id, None)
                self._given_up_s.pop(stream_id, None)
        return done

    def remove(self, stream_id: str) -> int | None:
        """A stream needs no watching any more; return the quarantine watcher that had it. Its record stays."""
        self._waiting = [rest for group in self._waiting if (rest := _without(group, stream_id))]
        for member, group in self._groups.items():
            if stream_id in group.streams:
                group.streams = _without(group.streams, stream_id)
                return member
        return None

    def streams_of(self, member: int) -> tuple[str, ...]:
        """Return the streams of one quarantine watcher."""
        return self._groups[member].streams if member in self._groups else ()

    def place_of(self, stream_id: str) -> int | None:
        """Return the quarantine watcher that has the stream, if any."""
        return next((member for member, group in self._groups.items() if stream_id in group.streams), None)

    def is_member(self, member: int) -> bool:
        """Whether this is a quarantine watcher whose group is not settled."""
        return member in self._groups

    @property
    def waiting(self) -> tuple[str, ...]:
        """Streams whose group waits for a quarantine watcher."""
        return tuple(stream_id for group in self._waiting for stream_id in group)

    def offended(self, stream_id: str) -> bool:
        """Whether the stream was given up before; the common watchers must not meet it again untested."""
        return stream_id in self._given_up_s

    def to_retry(self, now_s: float) -> tuple[str, ...]:
        """Return streams that were given up long enough ago to try once more; each is returned once."""
        due = [known for known, time_s in self._given_up_s.items() if now_s - time_s >= GIVEN_UP_S]
        for stream_id in due:
            self._given_up_s[stream_id] = now_s
        return tuple(due)


def _split(streams: tuple[str, ...], most: int) -> list[tuple[str, ...]]:
    parts = min(most, len(streams))
    return [streams[part::parts] for part in range(parts)]


def _without(streams: tuple[str, ...], stream_id: str) -> tuple[str, ...]:
    return tuple(other for other in streams if other != stream_id)
