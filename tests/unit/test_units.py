from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.units import format_duration, format_size, parse_duration_s, parse_size_bytes


@given(st.integers(0, 10**10).map(lambda milliseconds: milliseconds / 1000))
def test_a_duration_that_was_written_can_be_read(duration_s: float) -> None:
    assert parse_duration_s(format_duration(duration_s)) == pytest.approx(duration_s, rel=1e-12, abs=1e-12)


@given(st.integers(0, 2**45))
def test_a_size_that_was_written_is_read_exactly(size_bytes: int) -> None:
    assert parse_size_bytes(format_size(size_bytes)) == size_bytes


@pytest.mark.parametrize(
    ("text", "duration_s"), [("250ms", 0.25), ("20s", 20), (" 1.5 h ", 5400), ("10m", 600), ("30d", 2_592_000)]
)
def test_durations_are_read_as_people_write_them(text: str, duration_s: float) -> None:
    assert parse_duration_s(text) == duration_s


@pytest.mark.parametrize("text", ["", "20", "s", "-1s", "1e3s", "1 fortnight", "1s 2m", "٣s", "infs"])
def test_anything_else_is_refused_with_the_units(text: str) -> None:
    with pytest.raises(ValueError, match="write a number and a unit"):
        parse_duration_s(text)


@pytest.mark.parametrize("text", ["1kb", "1.0001KiB", "0.5B", "KiB"])
def test_sizes_are_whole_bytes(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|whole number"):
        parse_size_bytes(text)


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(0, "0s"), (1.5, "1.5s"), (90, "90s"), (120, "2m"), (3600, "1h"), (1234567.5, "1234567.5s")],
)
def test_the_shortest_exact_wording_is_chosen(duration_s: float, text: str) -> None:
    assert format_duration(duration_s) == text
