from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.vocabulary import Posture
from monitor.watch.pending import PendingClip, PendingClips
from tests.fakes.sources import clip


def pending(stream_id: str, at_s: float = 0.0, posture: Posture = Posture.CALM) -> PendingClip:
    return PendingClip(stream_id, clip(at_s, posture))


def ids(batch: list[PendingClip]) -> list[str]:
    return [one.stream_id for one in batch]


def test_the_newest_clip_of_a_stream_wins() -> None:
    store = PendingClips()
    for at_s in (1.0, 2.0, 3.0):
        store.put(pending("a", at_s))
    batch = store.take(8, 0)
    assert [one.clip.times_s[-1] for one in batch] == [3.0]
    assert store.dropped() == {"superseded": 2}


def test_under_overload_calm_streams_lose_before_close_ones() -> None:
    store = PendingClips(capacity=3)
    store.put(pending("close", posture=Posture.CLOSE))
    for name in "abc":
        store.put(pending(name))
    store.put(pending("full", posture=Posture.FULL))
    kept = set(ids(store.take(8, 0)))
    assert {"close", "full"} < kept
    assert len(kept) == 3
    assert store.dropped() == {"overload": 2}


def test_under_overload_streams_of_one_posture_take_turns() -> None:
    store = PendingClips(capacity=4)
    served: Counter[str] = Counter()
    for _ in range(100):
        for name in "abcdefgh":
            store.put(pending(name))
        served.update(ids(store.take(2, 0)))
    assert set(served.values()) == {25}


@pytest.mark.parametrize("most", [1, 3, 8])
def test_closely_watched_streams_never_blind_the_others(most: int) -> None:
    store = PendingClips()
    served: Counter[str] = Counter()
    while sum(served.values()) < 400:
        for number in range(20):
            store.put(pending(f"close-{number}", posture=Posture.CLOSE))
        for number in range(4):
            store.put(pending(f"calm-{number}"))
        batch = store.take(most, 0)
        assert len(batch) == most
        served.update(ids(batch))
    assert all(25 <= served[f"calm-{number}"] <= 26 for number in range(4))
    assert all(15 <= served[f"close-{number}"] <= 16 for number in range(20))


def test_a_batch_of_one_goes_to_the_closest_posture() -> None:
    store = PendingClips()
    store.put(pending("calm"))
    store.put(pending("full", posture=Posture.FULL))
    assert ids(store.take(1, 0)) == ["full"]
    assert ids(store.take(1, 0)) == ["calm"]


def test_a_batch_waits_for_company_but_no_longer_than_told() -> None:
    now_s = [100.0]
    store = PendingClips(monotonic_s=lambda: now_s[0])
    store.put(pending("a"))
    now_s[0] += 0.021
    assert ids(store.take(8, 0.020)) == ["a"]


def test_a_full_batch_does_not_wait() -> None:
    store = PendingClips()
    for number in range(8):
        store.put(pending(str(number)))
    assert len(store.take(8, 3600)) == 8


def test_how_long_a_stream_waits_counts_from_its_first_unscored_clip() -> None:
    now_s = [0.0]
    store = PendingClips(monotonic_s=lambda: now_s[0])
    store.put(pending("a"))
    now_s[0] = 5.0
    store.put(pending("a"))
    assert store.oldest_waiting_s() == 5.0
    store.take(1, 0)
    assert store.oldest_waiting_s() == 0.0


def test_take_wakes_for_a_clip_from_another_thread() -> None:
    store = PendingClips()
    taken: list[PendingClip] = []
    taker = threading.Thread(target=lambda: taken.extend(store.take(8, 0)))
    taker.start()
    store.put(pending("a"))
    taker.join(10)
    assert ids(taken) == ["a"]


def test_close_ends_a_waiting_take_and_counts_what_is_lost() -> None:
    store = PendingClips()
    taken: list[list[PendingClip]] = []
    taker = threading.Thread(target=lambda: taken.append(store.take(8, 0)))
    taker.start()
    store.close()
    taker.join(10)
    assert not taker.is_alive()
    store.put(pending("late"))
    assert store.dropped()["stopped"] == 1


def test_forgetting_a_stream_drops_what_waits_for_it() -> None:
    store = PendingClips()
    store.put(pending("a"))
    store.put(pending("b"))
    store.forget("a")
    store.forget("never seen")
    assert ids(store.take(8, 0)) == ["b"]
    assert store.dropped() == {"stopped": 1}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 12), st.sampled_from(Posture)),
        st.tuples(st.just("take"), st.integers(1, 8)),
        st.tuples(st.just("forget"), st.integers(0, 12)),
    ),
    max_size=80,
)


@given(st.integers(1, 6), steps)
def test_every_clip_is_taken_or_counted_and_no_stream_waits_twice(
    capacity: int, script: list[tuple[object, ...]]
) -> None:
    store = PendingClips(capacity=capacity)
    put = taken = 0
    for step in script:
        match step:
            case ("put", int(stream), Posture() as posture):
                store.put(pending(str(stream), posture=posture))
                put += 1
            case ("take", int(most)):
                if not store._waiting:
                    continue
                batch = store.take(most, 0)
                taken += len(batch)
                assert 0 < len(batch) <= most
                assert len(set(ids(batch))) == len(batch)
            case ("forget", int(stream)):
                store.forget(str(stream))
            case _:
                raise AssertionError(step)
        assert len(store._waiting) <= capacity
        assert store._since_s.keys() == store._waiting.keys()
        assert put == taken + sum(store.dropped().values()) + len(store._waiting)
