"""Which streams are held, and which moves to and from quarantine names are under way."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from monitor.clock import Clock
from monitor.errors import UnsafeCallRefused
from monitor.servers.nginx_rtmp.names import is_safe
from monitor.servers.nginx_rtmp.quarantine import QuarantineNames
from monitor.servers.port import LiveStream
from monitor.vocabulary import StreamRef

# nginx asks the gate about a move within milliseconds, and gives up after `netcall_timeout`, 10 s by default.
_MOVE_LASTS_S = 15.0


class Passage(Enum):
    """What the publish gate should make of a publication."""

    ORDINARY = "ordinary"
    INTO_HOLD = "into_hold"
    OUT_OF_HOLD = "out_of_hold"
    FORGED = "forged"
    OCCUPIED = "occupied"


class Holding:
    """What is known of held streams: from listings, and from the moves that were just asked for.

    Args:
        names: Makes quarantine names, and recognises them.
        clock: Source of monotonic time.
    """

    def __init__(self, names: QuarantineNames, clock: Clock) -> None:
        self.names = names
        self._clock = clock
        self._held_by_worker: dict[int | None, frozenset[StreamRef]] = {}
        self._moves: dict[tuple[StreamRef, str], float] = {}

    def as_meant(self, listed: LiveStream) -> LiveStream:
        """Return a publication as listed under the name that it was published with."""
        true_ref = self.names.true_ref(listed.ref)
        return listed if true_ref is None else replace(listed, ref=true_ref, held=True)

    def listed(self, worker: int | None, streams: tuple[LiveStream, ...], known_workers: frozenset[int]) -> None:
        """Note which streams one worker holds; what workers say that are no more is forgotten."""
        held = frozenset(stream.ref for stream in streams if stream.held)
        for other in self._held_by_worker.keys() - known_workers:
            del self._held_by_worker[other]
        self._held_by_worker[worker] = held

    def is_held(self, ref: StreamRef) -> bool:
        """Whether a publication of this stream was held in the last listing."""
        return any(ref in refs for refs in self._held_by_worker.values())

    def current_name(self, ref: StreamRef) -> str:
        """Return the name under which a stream is to be found now."""
        return self.names.name_for(ref) if self.is_held(ref) else ref.name

    def names_of(self, ref: StreamRef) -> tuple[str, ...]:
        """Return every name under which publications of a stream may be found now."""
        if not is_safe(ref.name) or not self.is_held(ref):
            return (ref.name,)
        return (ref.name, self.names.name_for(ref))

    def possible_names(self, ref: StreamRef) -> tuple[str, ...]:
        """Return every name under which a publication of a stream with a safe name can be, held or not."""
        try:
            return (ref.name, self.names.name_for(ref))
        except UnsafeCallRefused:
            return (ref.name,)

    def expect(self, ref: StreamRef, name: str, session: str) -> None:
        """Note that one publication is being moved to another name, about which nginx will ask the gate."""
        now_s = self._clock.monotonic_s()
        self._moves = {move: until_s for move, until_s in self._moves.items() if until_s > now_s}
        self._moves[replace(ref, name=name), session] = now_s + _MOVE_LASTS_S

    def passage(self, asked: StreamRef, session: str) -> Passage:
        """Say what a publication is about which nginx asks the gate."""
        moved = self._moves.get((asked, session), 0.0) > self._clock.monotonic_s()
        if self.names.true_ref(asked) is not None:
            return Passage.INTO_HOLD if moved else Passage.FORGED
        if moved:
            return Passage.OUT_OF_HOLD
        # nginx takes the name for free, but whoever is held would have stepped around it.
        return Passage.OCCUPIED if self.is_held(asked) else Passage.ORDINARY


def filters(app: str, name: str, session: str | None) -> str:
    """Return the query that matches the publications of one name, or of one session, and nothing else.

    nginx-rtmp compares values byte for byte with the query string as it comes, so only names that mean themselves go
    in; others are found by their connection number. A missing or empty filter would match everything.

    Raises:
        UnsafeCallRefused: more than the stream that is meant could match.
    """
    if not is_safe(app):
        raise UnsafeCallRefused("the application's name is empty or cannot be put into a control call")
    parts = [f"app={app}"]
    if is_safe(name):
        parts.append(f"name={name}")
    if session is not None:
        parts.append(f"clientid={session}")
    if len(parts) == 1:
        raise UnsafeCallRefused("the stream's name cannot be put into a control call, and its session is unknown")
    return "&".join(parts)
