"""Times of the week, as people write them: ``mon-fri 08:00-18:00``, ``sat 22:00-06:00``, ``20:00-08:00``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = "|".join(_DAYS)
_PATTERN: Final = re.compile(
    rf"(?:({_DAY})(?:-({_DAY}))?\s+)?([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|(24):(00))"
)
_MINUTES_A_DAY: Final = 1440


def _hours(text: str) -> str:
    if _PATTERN.fullmatch(text.strip()) is None:
        message = "these are no hours: write days and times, such as mon-fri 08:00-18:00 or 20:00-08:00"
        raise ValueError(message)
    return text.strip()


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = "there is no such time zone: write one such as Europe/Berlin or UTC"
        raise ValueError(message) from None
    return name


HoursText = Annotated[str, AfterValidator(_hours)]
"""Days and times of a week; from 22:00 to 06:00 ends on the next day."""

TimeZone = Annotated[str, AfterValidator(_zone)]
"""A time zone of the IANA's."""


def within(hours: Sequence[str], zone: str, at: datetime) -> bool:
    """Whether `at` (aware) lies in one of these hours on that zone's clocks; always, where there are none."""
    if not hours:
        return True
    local = at.astimezone(ZoneInfo(zone))
    minute = local.hour * 60 + local.minute
    today, yesterday = local.weekday(), (local - timedelta(days=1)).weekday()
    for days, begins, ends in map(_parsed, hours):
        if begins < ends:
            if today in days and begins <= minute < ends:
                return True
        elif (today in days and minute >= begins) or (yesterday in days and minute < ends):
            # It began today, or yesterday and lasts over midnight.
            return True
    return False


@cache
def _parsed(text: str) -> tuple[frozenset[int], int, int]:
    match = _PATTERN.fullmatch(text)
    assert match is not None  # noqa: S101 - `HoursText` has matched it
    first, last, begin_hour, begin_minute, end_hour, end_minute, whole, _ = match.groups()
    if first is None:
        days = frozenset(range(7))
    else:
        begin = _DAYS.index(first)
        length = (_DAYS.index(last or first) - begin) % 7 + 1
        days = frozenset((begin + offset) % 7 for offset in range(length))
    ends = _MINUTES_A_DAY if whole else int(end_hour) * 60 + int(end_minute)
    return days, int(begin_hour) * 60 + int(begin_minute), ends
