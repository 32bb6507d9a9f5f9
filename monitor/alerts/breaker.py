"""How much one receiver may be asked at a time, by what it answered lately. Pure.

Every alert has its own schedule. When a receiver is away, thousands of schedules would knock at its door at once, and each
attempt may take as long as its time limit: so after a few failures there is one attempt at a time, with pauses between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from monitor.alerts.port import Attempt, FailureReason, Outcome
from monitor.alerts.schedule import throttle_s

OPENS_AFTER: Final = 5
"""So many failures in a row that are no single alert's fault open the breaker."""

SHORTEST_REST_S: Final = 1.0
LONGEST_REST_S: Final = 30.0
_REST_SHARE: Final = 1 / 30

_OF_ONE_ALERT: Final = frozenset({FailureReason.HTTP_4XX, FailureReason.REJECTED})
"""Says something about the alert; whoever says it is there."""


@dataclass(slots=True)
class Breaker:
    """Counts what attempts came to. Times are monotonic seconds.

    Open, it lets one attempt through at a time, and rests after each failure for a thirtieth of the time that the receiver
    has been away, between 1 s and 30 s: a new alert is never held back for longer.

    Attributes:
        concurrency: How many attempts may be under way while all is well.
    """

    concurrency: int
    _failures: int = 0
    _failing_since_s: float = 0.0
    _throttled: int = 0
    _rests_until_s: float = float("-inf")

    @property
    def is_open(self) -> bool:
        """Whether the receiver is taken to be away."""
        return self._failures >= OPENS_AFTER

    @property
    def holds_back(self) -> bool:
        """Whether alerts that are due may not even be tried, because others were not taken."""
        return self.is_open or self._throttled > 0

    def room(self, under_way: int, *, now_s: float) -> int:
        """Return how many attempts may begin now."""
        if now_s < self._rests_until_s:
            return 0
        most = 1 if self.holds_back else self.concurrency
        return max(0, most - under_way)

    def rest_s(self, *, now_s: float) -> float:
        """Return for how long no attempt may begin; 0 when one may."""
        return max(0.0, self._rests_until_s - now_s)

    def note(self, attempt: Attempt, *, now_s: float) -> None:
        """Take note of what an attempt came to."""
        match attempt.outcome:
            case Outcome.THROTTLED:
                # Answers to what was under way when the rest began are the same complaint.
                if now_s >= self._rests_until_s:
                    self._throttled += 1
                wait_s = attempt.retry_after_s
                self._rest(now_s + (throttle_s(max(1, self._throttled)) if wait_s is None else wait_s))
            case Outcome.FAILED if attempt.reason not in _OF_ONE_ALERT:
                if not self._failures:
                    self._failing_since_s = now_s
                self._failures += 1
                self._throttled = 0
                if self.is_open:
                    away_s = now_s - self._failing_since_s
                    self._rest(now_s + min(LONGEST_REST_S, max(SHORTEST_REST_S, away_s * _REST_SHARE)))
            case _:
                self._failures = self._throttled = 0

    def _rest(self, until_s: float) -> None:
        self._rests_until_s = max(self._rests_until_s, until_s)
