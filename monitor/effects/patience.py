"""How long an effect is tried, and how long to wait between two tries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from monitor.store.effects import EffectRecord

_FIRST_DELAY_S: Final = 0.1
_LONGEST_DELAY_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Patience:
    """What a protocol says with ``within`` and ``retry``, or what is usual.

    Attributes:
        within_s: No try begins later than this after the first, in seconds.
        retry_s: Seconds between two tries; None doubles them from 100 ms to 2 s.
    """

    within_s: float
    retry_s: float | None = None

    @classmethod
    def of(cls, effect: EffectRecord, *, default_within_s: float) -> Self:
        """Return the patience that an effect asks for."""
        within_s, retry_s = effect.parameters.get("within_s"), effect.parameters.get("retry_s")
        return cls(
            default_within_s if within_s is None else float(within_s), None if retry_s is None else float(retry_s)
        )

    @property
    def first_delay_s(self) -> float:
        """Seconds between the first try and the second."""
        return _FIRST_DELAY_S if self.retry_s is None else self.retry_s

    def next_delay_s(self, delay_s: float) -> float:
        """Return the seconds to wait after having waited `delay_s`."""
        return min(delay_s * 2, _LONGEST_DELAY_S) if self.retry_s is None else self.retry_s
