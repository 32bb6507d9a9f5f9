from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alerts.schedule import (
    GAPS_S,
    MAX_ATTEMPTS,
    RETRY_AFTER_CAP_S,
    THROTTLE_CAP_S,
    parse_retry_after_s,
    retry_delay_s,
    throttle_s,
)

NOW = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)
JITTER = st.floats(min_value=0, max_value=1, exclude_max=True)


def test_the_first_attempts_are_seconds_apart() -> None:
    assert [retry_delay_s(attempts, jitter=0.9) for attempts in range(1, 7)] == [1, 2, 5, 10, 20, 40]


def test_a_receiver_that_is_away_is_tried_every_minute_for_a_quarter_of_an_hour_then_for_three_days() -> None:
    at = list(accumulate(GAPS_S))
    minutes = [s for s in at if 78 < s <= 15.5 * 60]
    assert len(minutes) == 14
    assert {later - earlier for earlier, later in zip([78.0, *minutes], minutes, strict=False)} == {60}
    tail_h = [round(s / 3600 - minutes[-1] / 3600, 3) for s in at if s > minutes[-1]]
    assert tail_h == [0.5, 2.5, 7.5, 17.5, 31.5, 51.5, 75.5]


@given(attempts=st.integers(1, 10_000), jitter=JITTER)
def test_a_retry_is_never_at_once_and_never_more_than_a_tenth_off(attempts: int, jitter: float) -> None:
    delay_s = retry_delay_s(attempts, jitter=jitter)
    if attempts >= MAX_ATTEMPTS:
        assert delay_s is None
    else:
        assert delay_s is not None
        assert delay_s >= 1
        assert abs(delay_s - GAPS_S[attempts - 1]) <= 0.1 * GAPS_S[attempts - 1]


@given(jitters=st.lists(JITTER, min_size=len(GAPS_S), max_size=len(GAPS_S)))
def test_every_alert_gets_three_days(jitters: list[float]) -> None:
    delays = [retry_delay_s(attempts, jitter=jitter) or 0 for attempts, jitter in enumerate(jitters, start=1)]
    assert 68 * 3600 <= sum(delays) <= 84 * 3600


@given(consecutive=st.integers(1, 10**9))
def test_throttling_grows_to_a_bound(consecutive: int) -> None:
    assert 1 <= throttle_s(consecutive) <= THROTTLE_CAP_S
    assert throttle_s(consecutive) <= throttle_s(consecutive + 1)


@pytest.mark.parametrize(
    ("value", "wanted_s"),
    [
        (None, None),
        ("7", 7),
        (" 0 ", 0),
        ("86400", RETRY_AFTER_CAP_S),
        ("9" * 400, RETRY_AFTER_CAP_S),
        (format_datetime(NOW.replace(minute=2), usegmt=True), 120),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_CAP_S),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("", None),
    ],
)
def test_retry_after(value: str | None, wanted_s: float | None) -> None:
    assert parse_retry_after_s(value, now=NOW) == wanted_s


@given(value=st.text(max_size=60))
def test_no_retry_after_breaks_anything(value: str) -> None:
    wait_s = parse_retry_after_s(value, now=NOW)
    assert wait_s is None or 0 <= wait_s <= RETRY_AFTER_CAP_S
