"""Who may open its stream next, in a watcher that is given many streams at once.

Opening probes, and probing decodes: a crowd that opens at once takes the processor from the streams that are watched
already, and from each other until all of them time out. So only so many open at the same time, and fewer while heads
are being left out for want of processor time. The closest posture goes first; then streams that have not failed yet;
then whoever has waited longest. Streams that failed before get half of the places at most: addresses where nothing
answers hold a place until they time out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from monitor.vocabulary import Posture

MOST_AT_ONCE = 48
"""Opening takes 1.3 to 2.0 s and some 20 ms of processor time (720p on nginx-rtmp): 48 take half a core, and all that a
watcher has, when it dies, are opened by its heir without waiting."""

MOST_UNDER_PRESSURE = 6

_LOOK_AGAIN_S = 0.5


@dataclass(slots=True, eq=False)
class _Wish:
    posture: Callable[[], Posture]
    failed: bool
    granted: threading.Event = field(default_factory=threading.Event)

    def urgency(self) -> tuple[int, bool]:
        return (self.posture().rank, not self.failed)


@dataclass(slots=True)
class Openings:
    """The places for streams that open. Thread-safe.

    Attributes:
        under_pressure: Whether streams that are watched already get less than they should.
        most: How many may open at the same time.
        most_under_pressure: How many while `under_pressure`.
    """

    under_pressure: Callable[[], bool]
    most: int = MOST_AT_ONCE
    most_under_pressure: int = MOST_UNDER_PRESSURE
    _waiting: list[_Wish] = field(default_factory=list)
    _under_way: int = 0
    _failed_under_way: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(
        self, posture: Callable[[], Posture], *, failed: bool, stop: threading.Event, on_wait: Callable[[], None]
    ) -> bool:
        """Wait for a place.

        Args:
            posture: Asked whenever a place is given away.
            failed: Whether the stream's last try failed.
            stop: Ends the wait within half a second.
            on_wait: Called once if there is no place at once.

        Returns:
            Whether a place was given, which `leave` gives back; False where `stop` was set.
        """
        wish = _Wish(posture, failed)
        with self._lock:
            self._waiting.append(wish)
            self._give_away()
        if not wish.granted.is_set():
            on_wait()
        while not wish.granted.wait(_LOOK_AGAIN_S):
            with self._lock:
                # Pressure passes without anybody leaving a place.
                self._give_away()
                if stop.is_set() and not wish.granted.is_set():
                    self._waiting.remove(wish)
                    return False
        return True

    def leave(self, *, failed: bool) -> None:
        """Give a place back; `failed` as in `enter`."""
        with self._lock:
            self._under_way -= 1
            self._failed_under_way -= failed
            self._give_away()

    def _give_away(self) -> None:
        places = self.most_under_pressure if self.under_pressure() else self.most
        while self._under_way < places:
            candidates = [wish for wish in self._waiting if not wish.failed or self._failed_under_way < places // 2]
            if not candidates:
                return
            # Of the most urgent, the first has waited longest.
            chosen = max(candidates, key=_Wish.urgency)
            self._waiting.remove(chosen)
            self._under_way += 1
            self._failed_under_way += chosen.failed
            chosen.granted.set()
