"""Whether a watcher process is alive, judged by its answers and by what the system knows of it. No I/O of its own.

A process that is stopped, or sleeps although it was asked something, is found out within a second or so. One that
computes, or waits for a processor on a machine that has too few, is late and not dead: killing it would cost more
of what is short already. Only when it has had its share of a processor and still does not answer is it given up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from monitor.watch.settings import WatchSettings
from monitor.watch.vital_signs import VitalSigns

_FAIR_SHARE: Final = 0.5
"""Who has had this share of the time on a processor had time enough to answer."""

_MOST_PATIENCE: Final = 4
"""So many times the usual timeout is granted at most, however little processor time there was."""


@dataclass(frozen=True, slots=True)
class _Suspicion:
    since_s: float
    since_cpu_s: float
    asleep_since_s: float
    last_cpu_s: float


@dataclass(slots=True)
class Heartbeat:
    """Pings and pongs of one process. All times are monotonic, in seconds.

    Attributes:
        look: Returns how the process is, or None where the system does not tell.
        pings_s: When each ping was sent that has not been answered, by number.
    """

    settings: WatchSettings
    look: Callable[[], VitalSigns | None]
    pings_s: dict[int, float] = field(default_factory=dict)
    _sent: int = 0
    _progress: int = -1
    _progress_at_s: float = 0.0
    _suspicion: _Suspicion | None = None

    def begin(self, now_s: float) -> None:
        """The process is ready."""
        self._progress_at_s = now_s

    def ping(self, now_s: float) -> int:
        """Return the number of the ping that is sent now."""
        self._sent += 1
        self.pings_s[self._sent] = now_s
        return self._sent

    def pong(self, number: int, progress: int, now_s: float) -> bool:
        """Take in an answer; whether there was such a ping."""
        if self.pings_s.pop(number, None) is None:
            return False
        if progress != self._progress:
            self._progress, self._progress_at_s = progress, now_s
        return True

    def excuse(self, now_s: float) -> None:
        """Count from now: it was the daemon that stood still, and answers may lie unread."""
        self.pings_s = dict.fromkeys(self.pings_s, now_s)
        self._progress_at_s = now_s
        self._suspicion = None

    def judge(self, now_s: float, *, watching: bool) -> str | None:
        """Return a static word for why the process counts as hung, or None while it does not.

        Args:
            now_s: The time.
            watching: Whether it says of any stream that it is being watched; one that waits for streams makes no progress.
        """
        if self._does_not_answer(now_s):
            return "no_pong"
        if not watching:
            self._progress_at_s = now_s
        elif now_s - self._progress_at_s > self.settings.no_progress_s:
            return "no_progress"
        return None

    def _does_not_answer(self, now_s: float) -> bool:
        waited_s = now_s - min(self.pings_s.values(), default=now_s)
        if waited_s <= min(self.settings.suspect_after_s, self.settings.pong_timeout_s):
            self._suspicion = None
            return False
        signs = self.look()
        overdue = waited_s > self.settings.pong_timeout_s
        if signs is None:
            return overdue
        if signs.stopped:
            return True
        suspicion = self._suspect(signs, now_s)
        if now_s - suspicion.asleep_since_s >= self.settings.suspect_after_s:
            return True
        used_s, passed_s = signs.cpu_s - suspicion.since_cpu_s, now_s - suspicion.since_s
        starved = signs.wants_to_run and used_s < _FAIR_SHARE * passed_s
        return overdue and (not starved or waited_s > _MOST_PATIENCE * self.settings.pong_timeout_s)

    def _suspect(self, signs: VitalSigns, now_s: float) -> _Suspicion:
        before = self._suspicion
        if before is None:
            self._suspicion = _Suspicion(now_s, signs.cpu_s, now_s, signs.cpu_s)
        else:
            awake = signs.wants_to_run or signs.cpu_s > before.last_cpu_s
            asleep_since_s = now_s if awake else before.asleep_since_s
            self._suspicion = _Suspicion(before.since_s, before.since_cpu_s, asleep_since_s, signs.cpu_s)
        return self._suspicion
