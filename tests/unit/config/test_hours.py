from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import TypeAdapter, ValidationError

from monitor.config.hours import HoursText, TimeZone, within

MONDAY = datetime(2026, 3, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        ("mon-fri 08:00-18:00", ["0 08:00", "4 17:59"], ["0 07:59", "0 18:00", "5 12:00", "6 12:00"]),
        ("sat 22:00-06:00", ["5 22:00", "5 23:59", "6 05:59"], ["5 05:00", "5 21:59", "6 06:00", "6 22:00"]),
        ("20:00-08:00", ["0 20:00", "3 00:00", "6 07:59"], ["0 08:00", "2 19:59"]),
        ("fri-mon 00:00-24:00", ["4 00:00", "6 12:00", "0 23:59"], ["1 00:00", "3 23:59"]),
    ],
)
def test_hours_begin_and_end_on_the_minute_and_may_last_over_midnight(
    hours: str, inside: list[str], outside: list[str]
) -> None:
    for moments, wanted in ((inside, True), (outside, False)):
        for moment in moments:
            day, _, time = moment.partition(" ")
            hour, _, minute = time.partition(":")
            at = MONDAY + timedelta(days=int(day), hours=int(hour), minutes=int(minute))
            assert within([hours], "UTC", at) is wanted, moment


def test_summer_time_is_minded() -> None:
    for at, wanted in ((datetime(2026, 1, 5, 7, tzinfo=UTC), True), (datetime(2026, 7, 6, 7, tzinfo=UTC), False)):
        assert within(["mon 08:00-09:00"], "Europe/Berlin", at) is wanted
    assert within([], "UTC", MONDAY)


@pytest.mark.parametrize(
    "text", ["", "8:00-18:00", "mon 08:00", "day 08:00-09:00", "25:00-26:00", "mon-fri08:00-18:00"]
)
def test_what_are_no_hours_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValidationError, match=r"mon-fri 08:00-18:00"):
        TypeAdapter(HoursText).validate_python(text)


@pytest.mark.parametrize("name", ["Mars/Phobos", "", "../../etc/passwd"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=r"Europe/Berlin"):
        TypeAdapter(TimeZone).validate_python(name)
