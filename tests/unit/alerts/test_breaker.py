from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alerts.breaker import LONGEST_REST_S, OPENS_AFTER, Breaker
from monitor.alerts.port import Attempt, FailureReason, Outcome

TAKEN = Attempt(Outcome.DELIVERED, http_status=204)
AWAY = Attempt(Outcome.FAILED, FailureReason.REFUSED)
BROKEN = Attempt(Outcome.FAILED, FailureReason.HTTP_5XX, 500)
WRONG = Attempt(Outcome.FAILED, FailureReason.HTTP_4XX, 404)
BUSY = Attempt(Outcome.THROTTLED, FailureReason.HTTP_5XX, 503)

ATTEMPTS = st.sampled_from([TAKEN, AWAY, BROKEN, WRONG, BUSY])


def after(*attempts: Attempt, at_s: float = 0.0) -> Breaker:
    breaker = Breaker(concurrency=8)
    for attempt in attempts:
        breaker.note(attempt, now_s=at_s)
    return breaker


def test_while_all_is_well_there_is_room_for_as_many_as_configured() -> None:
    breaker = after(TAKEN)
    assert [breaker.room(under_way, now_s=0) for under_way in (0, 5, 8, 9)] == [8, 3, 0, 0]


def test_after_five_failures_there_is_one_attempt_at_a_time_with_rests_between() -> None:
    breaker = after(*[AWAY] * (OPENS_AFTER - 1))
    assert breaker.room(0, now_s=0) == 8
    breaker.note(BROKEN, now_s=0)
    assert breaker.is_open
    assert breaker.room(0, now_s=0) == 0
    assert breaker.rest_s(now_s=0.4) == pytest.approx(0.6)
    assert breaker.room(0, now_s=1) == 1
    assert breaker.room(1, now_s=1) == 0


def test_the_longer_it_is_away_the_longer_it_is_left_alone_and_never_for_more_than_half_a_minute() -> None:
    breaker = after(*[AWAY] * OPENS_AFTER)
    rests = []
    for at_s in (60.0, 300.0, 900.0, 86_400.0):
        breaker.note(AWAY, now_s=at_s)
        rests.append(breaker.rest_s(now_s=at_s))
    assert rests == [2, 10, LONGEST_REST_S, LONGEST_REST_S]


def test_one_that_takes_an_alert_or_refuses_a_single_one_is_there_again() -> None:
    for answer in (TAKEN, WRONG):
        breaker = after(*[AWAY] * 20)
        breaker.note(answer, now_s=50)
        assert not breaker.is_open
        assert breaker.room(0, now_s=50) == 8


def test_alerts_that_it_refuses_one_by_one_do_not_open_it() -> None:
    assert after(*[WRONG] * 100).room(0, now_s=0) == 8


def test_an_overloaded_receiver_is_left_alone_for_longer_each_time_and_many_answers_at_once_count_as_one() -> None:
    breaker = Breaker(concurrency=8)
    rests, at_s = [], 0.0
    for _ in range(8):
        for _ in range(8):
            breaker.note(BUSY, now_s=at_s)
        rests.append(breaker.rest_s(now_s=at_s))
        at_s += rests[-1]
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60]
    assert breaker.room(0, now_s=at_s) == 1


def test_what_it_asks_for_counts() -> None:
    breaker = after(Attempt(Outcome.THROTTLED, FailureReason.HTTP_4XX, 429, retry_after_s=40))
    assert breaker.rest_s(now_s=0) == 40
    breaker.note(BUSY, now_s=1)
    assert breaker.rest_s(now_s=1) == 39


@given(steps=st.lists(st.tuples(ATTEMPTS, st.floats(0, 3600)), max_size=60))
def test_it_never_gets_stuck(steps: list[tuple[Attempt, float]]) -> None:
    breaker, now_s = Breaker(concurrency=3), 0.0
    for attempt, passing_s in steps:
        breaker.note(attempt, now_s=now_s)
        now_s += passing_s
        rest_s = breaker.rest_s(now_s=now_s)
        assert 0 <= rest_s <= 60
        assert breaker.room(0, now_s=now_s + rest_s) >= 1
        assert breaker.room(3, now_s=now_s) == 0
