from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from monitor.watch.backoff import Backoff


@given(st.floats(0.01, 10), st.floats(1, 1000), st.integers(0, 3), st.integers(0, 2**32))
def test_delays_grow_to_the_bound_and_never_pass_it(first_s: float, factor: float, immediate: int, seed: int) -> None:
    longest_s = first_s * factor
    backoff = Backoff(first_s, longest_s, immediate=immediate, rng=random.Random(seed))
    delays = [backoff.next_s() for _ in range(2000)]
    assert delays[:immediate] == [0.0] * immediate
    for step, delay_s in enumerate(delays[immediate:]):
        window_s = min(longest_s, first_s * 2 ** min(step, 40))
        assert window_s / 2 <= delay_s <= window_s


def test_jitter_spreads_streams_that_failed_together() -> None:
    assert len({Backoff(1, 10, rng=random.Random(seed)).next_s() for seed in range(20)}) == 20


def test_reset_starts_over() -> None:
    backoff = Backoff(1, 100, immediate=1)
    for _ in range(9):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == 0
    assert backoff.next_s() <= 1
