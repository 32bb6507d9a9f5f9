"""When an alert that was not taken is tried again. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_MINUTE_S = 60.0
_HOUR_S = 3600.0

# Seconds decide while an attack is on air, so the first minutes are dense; Standard Webhooks' own schedule (which goes
# from 5 s straight to 5 min) takes over once a receiver has been away for a quarter of an hour.
_DENSE_S = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
_MINUTES_S = (_MINUTE_S,) * 14
_TAIL_S = (30 * _MINUTE_S, 2 * _HOUR_S, 5 * _HOUR_S, 10 * _HOUR_S, 14 * _HOUR_S, 20 * _HOUR_S, 24 * _HOUR_S)

GAPS_S = _DENSE_S + _MINUTES_S + _TAIL_S
"""Seconds between one attempt and the next: the first 15 minutes, then three days, 75 h 45 min in all."""

MAX_ATTEMPTS = len(GAPS_S) + 1
"""After so many failed attempts an alert is a dead letter."""

_LATE_S = _HOUR_S

REMAINING_S = tuple(sum(GAPS_S[made:]) + _LATE_S for made in range(MAX_ATTEMPTS))
"""By attempts made: after so many seconds past the time of the next one the whole schedule is over, and an hour more."""

JITTER_SHARE = 0.1
"""Gaps of a minute and more vary by so much either way, lest all alerts of an outage come back in one blow."""

RETRY_AFTER_CAP_S = _HOUR_S
"""A receiver may ask to be left alone for so long at most."""

THROTTLE_CAP_S = _MINUTE_S
"""A receiver that says it is overloaded, but not for how long, is left alone for so long at most."""


def retry_delay_s(attempts: int, *, jitter: float) -> float | None:
    """Return the seconds from the end of a failed attempt to the next, or None when there is none.

    Args:
        attempts: Attempts that have failed so far, 1 or more.
        jitter: A random number in [0, 1); 0.5 gives the plain schedule.
    """
    if attempts >= MAX_ATTEMPTS:
        return None
    gap_s = GAPS_S[attempts - 1]
    if gap_s < _MINUTE_S:
        return gap_s
    return gap_s * (1 + JITTER_SHARE * (2 * jitter - 1))


def throttle_s(consecutive: int) -> float:
    """Return how long to leave a receiver alone after so many (1 or more) "overloaded" answers in a row."""
    return min(THROTTLE_CAP_S, 2.0 ** min(consecutive - 1, 16))


def parse_retry_after_s(value: str | None, *, now: datetime) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, within [0, `RETRY_AFTER_CAP_S`]; None if it is no such."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        # Only so many digits as can matter: int() of a hostile megabyte would be work.
        return RETRY_AFTER_CAP_S if len(text) > 9 else min(RETRY_AFTER_CAP_S, float(int(text)))
    try:
        at = parsedate_to_datetime(text)
        wait_s = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(RETRY_AFTER_CAP_S, max(0.0, wait_s))
