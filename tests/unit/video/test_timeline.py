from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.video.timeline import GAP_FORWARD_S, REORDER_S, STEP_BACK_S, Placed, Timeline

TICKS = Fraction(1, 1000)


def timeline(frame_rate: float | None = 25.0) -> Timeline:
    return Timeline(TICKS, frame_rate)


def test_first_packet_is_the_origin_whatever_the_publisher_counts_from() -> None:
    line = timeline()
    first = line.place(5_000_080, 5_000_000)
    second = line.place(5_000_040, 5_000_040)
    assert (first.pts, first.dts, first.time_s, first.decode_s) == (0, -80, 0.0, -0.08)
    assert (second.pts, second.dts) == (-40, -40)
    assert not first.broken
    assert not second.broken


def test_a_restarted_publisher_continues_one_frame_later() -> None:
    line = timeline()
    line.place(90_000, 90_000)
    line.place(95_000, 95_000)
    restarted = line.place(0, 0)
    assert restarted.broken
    assert restarted.pts == 5_040
    assert line.place(40, 40).pts == 5_080


def test_a_33_bit_wrap_continues_one_frame_later() -> None:
    line = Timeline(Fraction(1, 90_000), 25.0)
    line.place(2**33 - 3600, 2**33 - 3600)
    wrapped = line.place(0, 0)
    assert wrapped.broken
    assert wrapped.pts == 3600


def test_a_leap_forward_is_a_break_and_a_hiccup_is_not() -> None:
    line = timeline()
    line.place(0, 0)
    hiccup = line.place(9_000, 9_000)
    leap = line.place(1_700_000_000_000, 1_700_000_000_000)
    assert (hiccup.broken, hiccup.time_s) == (False, 9.0)
    assert (leap.broken, leap.pts) == (True, 9_040)


def test_loose_interleaving_is_no_break() -> None:
    line = timeline()
    line.place(0, 0)
    line.place(1_000, 1_000)
    back = line.place(500, 500)
    assert (back.broken, back.time_s) == (False, 0.5)


def test_without_any_timestamps_frames_are_counted() -> None:
    line = timeline(frame_rate=25.0)
    placed = [line.place(None, None) for _ in range(3)]
    assert [round(p.time_s, 6) for p in placed] == [0.0, 0.04, 0.08]
    assert placed[0].pts is None


def test_decoding_time_stands_in_for_missing_presentation_time() -> None:
    line = timeline()
    line.place(None, 100)
    assert line.place(None, 140).time_s == 0.04


def test_counted_packets_do_not_overlap_timed_ones_that_follow() -> None:
    line = timeline(frame_rate=25.0)
    line.place(None, None)
    line.place(None, None)
    assert line.place(7_000, 7_000).time_s == 0.08


@pytest.mark.parametrize("step_ticks", [0, 1])
def test_a_clock_that_stands_or_crawls_is_replaced_by_counting(step_ticks: int) -> None:
    line = timeline(frame_rate=25.0)
    placed = [line.place(7 + n * step_ticks, 7 + n * step_ticks) for n in range(400)]
    assert [p.broken for p in placed].count(True) == 1
    assert placed[-1].time_s > 9.0


def test_many_frames_a_second_are_no_crawling_clock() -> None:
    line = timeline(frame_rate=240.0)
    placed = [line.place(n * 4, n * 4) for n in range(1_000)]
    assert not any(p.broken for p in placed)
    assert placed[-1].time_s == 3.996


def test_a_live_clock_that_races_is_replaced_by_the_pace_at_which_packets_come() -> None:
    """Three seconds with each frame would fill clips with one picture; the frame rate is the publisher's word, too."""
    line = timeline(frame_rate=0.3)
    placed = [line.place(n * 3000, n * 3000, now_s=n / 30) for n in range(1_000)]
    assert [p.broken for p in placed].count(True) == 1
    assert placed[999].time_s - placed[699].time_s == pytest.approx(10.0, rel=0.02)


def test_what_was_stored_may_come_all_at_once() -> None:
    """Twenty seconds at once, as a server's first segments do, and then at the right pace."""
    line = timeline()
    placed = [line.place(n * 40, n * 40, now_s=max(0, n - 500) * 0.04) for n in range(2_000)]
    assert not any(p.broken for p in placed)
    assert placed[-1].pts == 79_960


def test_a_recording_is_read_as_fast_as_it_can_be() -> None:
    line = timeline()
    assert not any(line.place(n * 3000, n * 3000).broken for n in range(1_000))


def test_a_pace_that_was_measured_wrong_is_measured_again() -> None:
    line = timeline()
    times_s = [n / 1000 for n in range(10_100)] + [10.1 + n / 20 for n in range(1_000)]
    placed = [line.place(n * 100, n * 100, now_s=now_s) for n, now_s in enumerate(times_s)]
    assert [p.broken for p in placed].count(True) == 1
    assert placed[-1].time_s - placed[-201].time_s == pytest.approx(10.0, rel=0.02)


def test_a_presentation_time_far_from_its_decoding_time_is_not_believed() -> None:
    line = timeline()
    line.place(0, 0)
    liar = line.place(10**15, 40)
    assert (liar.pts, liar.time_s) == (None, 0.04)


def test_no_time_base_falls_back_instead_of_dividing_by_nothing() -> None:
    line = Timeline(None, None)
    assert line.place(0, 0).time_s == 0.0
    assert line.place(90_000, 90_000).time_s == 1.0


@given(st.lists(st.tuples(st.none() | st.integers(-(2**62), 2**62), st.none() | st.integers(-(2**62), 2**62))))
def test_decoding_never_runs_away_from_the_line(stamps: list[tuple[int | None, int | None]]) -> None:
    line = timeline()
    latest_s: float | None = None
    for pts, dts in stamps:
        placed: Placed = line.place(pts, dts)
        assert abs(placed.time_s - placed.decode_s) <= REORDER_S
        if latest_s is not None:
            assert latest_s - STEP_BACK_S - 1e-6 <= placed.decode_s <= latest_s + GAP_FORWARD_S + REORDER_S + 1e-6
        latest_s = placed.decode_s if latest_s is None else max(latest_s, placed.decode_s)
