from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.watch.quarantine import GIVEN_UP_S, Quarantine


def test_one_death_makes_no_suspect_and_two_within_a_minute_do() -> None:
    quarantine = Quarantine(most=4)
    assert quarantine.blame(["a", "b"], 0) == ()
    assert quarantine.blame(["b", "c"], 60) == ("b",)


def test_two_deaths_further_apart_make_no_suspect() -> None:
    quarantine = Quarantine(most=4)
    quarantine.blame(["a"], 0)
    assert quarantine.blame(["a"], 61) == ()
    assert quarantine.blame(["a"], 121) == ("a",)


def test_a_lone_suspect_that_kills_again_is_given_up_and_later_tried_alone() -> None:
    quarantine = Quarantine(most=4)
    quarantine.isolate(["a"])
    assert quarantine.enter(10)
    assert quarantine.streams_of(10) == ("a",)
    quarantine.begin(10, 0)
    assert quarantine.died(10, 1) == "a"
    assert quarantine.offended("a")
    assert quarantine.to_retry(GIVEN_UP_S) == ()
    assert quarantine.to_retry(1 + GIVEN_UP_S) == ("a",)
    assert quarantine.to_retry(2 + GIVEN_UP_S) == ()


def test_a_group_that_lives_through_its_probation_is_acquitted() -> None:
    quarantine = Quarantine(most=4)
    quarantine.blame(["a"], 0)
    quarantine.isolate(["a"])
    quarantine.enter(10)
    assert quarantine.acquit(1000) == {}
    quarantine.begin(10, 1000)
    assert quarantine.acquit(1029) == {}
    assert quarantine.acquit(1030) == {10: ("a",)}
    assert quarantine.place_of("a") is None
    assert quarantine.blame(["a"], 1030) == ()


def test_a_group_whose_streams_all_left_ends_at_once() -> None:
    quarantine = Quarantine(most=4)
    quarantine.isolate(["a"])
    quarantine.enter(10)
    assert quarantine.remove("a") == 10
    assert quarantine.acquit(0) == {10: ()}
    assert not quarantine.is_member(10)


def test_a_stream_that_leaves_while_its_group_waits_is_not_watched_again() -> None:
    quarantine = Quarantine(most=0)
    quarantine.isolate(["a"])
    assert not quarantine.enter(10)
    assert list(quarantine.waiting) == ["a"]
    assert quarantine.remove("a") is None
    assert list(quarantine.waiting) == []


@pytest.mark.parametrize("suspects", [1, 2, 5, 40])
@given(data=st.data())
def test_the_guilty_are_found_and_no_innocent_is_given_up(suspects: int, data: st.DataObject) -> None:
    streams = [str(number) for number in range(suspects)]
    guilty = data.draw(st.sets(st.sampled_from(streams), min_size=1, max_size=3))
    quarantine = Quarantine(most=8)
    members = itertools.count(1)
    quarantine.isolate(streams)
    given_up: set[str] = set()
    acquitted: set[str] = set()
    deaths = 0
    now_s = 0.0
    while quarantine.waiting or len(given_up) + len(acquitted) < suspects:
        now_s += 1
        while quarantine.enter(member := next(members)):
            quarantine.begin(member, now_s)
        running = list(quarantine._groups)
        assert len(running) <= 8
        placed = [stream for member in running for stream in quarantine.streams_of(member)]
        assert sorted([*placed, *quarantine.waiting, *given_up, *acquitted]) == sorted(streams)
        for member in running:
            if guilty & set(quarantine.streams_of(member)):
                deaths += 1
                culprit = quarantine.died(member, now_s)
                given_up |= {culprit} if culprit else set()
        acquitted.update(stream for done in quarantine.acquit(now_s).values() for stream in done)
    assert given_up == guilty
    assert deaths <= len(guilty) * 6
