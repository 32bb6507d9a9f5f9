from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.vocabulary import Posture
from monitor.watch.cost import MEASURED_OVER_S, CostMeter, Reading


def read(at_s: float, *, reading: float, decoding: float, looked_at: int = 0, left_out: int = 0) -> Reading:
    """A thread that has spent so many cores on either for `at_s` seconds."""
    return Reading(at_s, (reading + decoding) * at_s, decoding * at_s, (looked_at, left_out))


def test_a_cost_is_measured_from_clip_to_clip_and_told_once() -> None:
    meter = CostMeter()
    for number in range(5):
        meter.clip(Posture.CALM, read(2.0 * number, reading=0.004, decoding=0.012, looked_at=number))
    cost = meter.take()
    assert cost is not None
    assert cost.posture is Posture.CALM
    assert cost.stream_cores == pytest.approx(0.016)
    assert cost.clips_per_s == pytest.approx(0.5)
    assert meter.take() is None


def test_heads_that_were_left_out_count_as_if_they_had_been_looked_at() -> None:
    meter = CostMeter()
    meter.clip(Posture.CALM, read(0.0, reading=0.004, decoding=0.003, looked_at=1))
    # One head in four was looked at.
    meter.clip(Posture.CALM, read(8.0, reading=0.004, decoding=0.003, looked_at=2, left_out=3))
    cost = meter.take()
    assert cost is not None
    assert cost.stream_cores == pytest.approx(0.016)
    assert cost.clips_per_s == pytest.approx(0.5)


@pytest.mark.parametrize("change", ["posture", "connection"])
def test_what_was_before_a_change_does_not_count(change: str) -> None:
    meter = CostMeter()
    meter.clip(Posture.CALM, read(0.0, reading=0.5, decoding=0.5))
    if change == "connection":
        meter.begin()
    posture = Posture.FULL if change == "posture" else Posture.CALM
    meter.clip(posture, Reading(100.0, 50.0, 20.0, (0, 0)))
    assert meter.take() is None
    meter.clip(posture, Reading(110.0, 51.0, 20.5, (0, 0)))
    cost = meter.take()
    assert cost is not None
    assert cost.posture is posture
    assert cost.stream_cores == pytest.approx(0.1)
    assert cost.clips_per_s == pytest.approx(0.1)


@given(st.lists(st.floats(0.01, 3.0), min_size=1, max_size=50), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_an_even_load_is_measured_as_what_it_is_however_the_clips_come(
    gaps_s: list[float], reading: float, decoding: float
) -> None:
    meter = CostMeter()
    now_s, since_s = 0.0, 0.0
    meter.clip(Posture.CLOSE, read(now_s, reading=reading, decoding=decoding))
    for gap_s in gaps_s:
        now_s += gap_s
        meter.clip(Posture.CLOSE, read(now_s, reading=reading, decoding=decoding))
        cost = meter.take()
        assert (cost is not None) == (now_s - since_s >= MEASURED_OVER_S)
        if cost is not None:
            since_s = now_s
            assert cost.stream_cores == pytest.approx(reading + decoding, abs=1e-6)
