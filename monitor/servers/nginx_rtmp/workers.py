"""Noticing that nginx runs several worker processes, which nginx-rtmp cannot do.

Each worker lists and drops its own streams only, and chance decides which one answers. The sign is the listing's
process id: it moves on once when nginx is reloaded, but it comes back only where several workers take turns.
"""

from __future__ import annotations

from collections.abc import Iterable

from monitor.clock import Clock

_FORGET_AFTER_S = 60.0


class WorkerWatch:
    """Remembers which workers answered lately.

    Args:
        clock: Source of monotonic time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_seen_s: dict[int, float] = {}
        self._current: int | None = None
        self._taking_turns_s: float | None = None

    def saw(self, worker: int | None) -> None:
        """Note that this worker answered just now; None, for a listing that does not tell, is ignored."""
        if worker is None:
            return
        now_s = self._clock.monotonic_s()
        self._last_seen_s = {known: at for known, at in self._last_seen_s.items() if now_s - at < _FORGET_AFTER_S}
        if worker != self._current and worker in self._last_seen_s:
            self._taking_turns_s = now_s
        self._current = worker
        self._last_seen_s[worker] = now_s

    def answered_at_once(self, workers: Iterable[int | None]) -> None:
        """Note which workers answered requests made at the same time; more than one means that there are several."""
        if len({worker for worker in workers if worker is not None}) > 1:
            self._taking_turns_s = self._clock.monotonic_s()

    @property
    def several(self) -> bool:
        """Whether several workers took turns within the last minute."""
        return self._taking_turns_s is not None and self._clock.monotonic_s() - self._taking_turns_s < _FORGET_AFTER_S

    @property
    def known(self) -> frozenset[int]:
        """The workers that a thorough look has to hear from: all that took turns lately, or just the last one."""
        if self.several:
            return frozenset(self._last_seen_s)
        return frozenset() if self._current is None else frozenset({self._current})
