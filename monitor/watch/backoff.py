"""How long to wait before trying again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Exponential delays with jitter: each is drawn from the upper half of a window that doubles up to `longest_s`.

    Attributes:
        first_s: Upper end of the first delay, in seconds.
        longest_s: Upper end that is never passed, in seconds.
        immediate: How many delays of 0 come before the first real one.
        rng: Source of the jitter.
    """

    first_s: float
    longest_s: float
    immediate: int = 0
    rng: random.Random = field(default_factory=random.Random, repr=False)
    _tries: int = 0

    def next_s(self) -> float:
        """Return the next delay in seconds and count the try."""
        step = self._tries - self.immediate
        self._tries += 1
        if step < 0:
            return 0.0
        # The exponent is capped: a stream may stay away for weeks, and 2**2000 is no float.
        window_s = min(self.longest_s, self.first_s * 2.0 ** min(step, 40))
        return window_s * self.rng.uniform(0.5, 1.0)

    def resume(self, tries: int) -> None:
        """Go on as if so many tries had been counted."""
        self._tries = tries

    def reset(self) -> None:
        """Start over: things went well for a while."""
        self._tries = 0
