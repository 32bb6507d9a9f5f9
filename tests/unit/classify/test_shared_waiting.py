from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitor.classify.shared.waiting import WaitingRequests


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 0.001
        return self.now_s


def names(store: WaitingRequests[str], most: int) -> list[str]:
    return [one.client for one in store.take(most, 0.0)]


def test_the_newest_request_goes_first() -> None:
    store: WaitingRequests[str] = WaitingRequests(Clock())
    for client in "abc":
        store.put(client, 1, (0,))
    assert names(store, 2) == ["c", "b"]
    assert names(store, 2) == ["a"]


def test_a_newer_request_of_a_client_takes_the_place_of_its_older_one() -> None:
    store: WaitingRequests[str] = WaitingRequests(Clock())
    store.put("a", 1, (0,))
    store.put("b", 1, (0,))
    store.put("a", 2, (1, 2))
    taken = store.take(8, 0.0)
    assert [(one.client, one.generation, one.slots) for one in taken] == [("a", 2, (1, 2)), ("b", 1, (0,))]


def test_requests_are_never_split_and_a_large_one_comes_alone() -> None:
    store: WaitingRequests[str] = WaitingRequests(Clock())
    store.put("small", 1, (0,))
    store.put("large", 1, tuple(range(6)))
    assert names(store, 4) == ["large"]
    assert names(store, 4) == ["small"]


def test_nobody_waits_for_company_longer_than_asked() -> None:
    clock = Clock()
    store: WaitingRequests[str] = WaitingRequests(clock)
    store.put("a", 1, (0,))
    put_at_s = clock.now_s
    assert names_after_fill(store) == ["a"]
    assert clock.now_s - put_at_s >= 0.02


def names_after_fill(store: WaitingRequests[str]) -> list[str]:
    return [one.client for one in store.take(8, 0.02)]


def test_what_is_forgotten_is_not_taken_and_a_closed_store_gives_nothing() -> None:
    store: WaitingRequests[str] = WaitingRequests(Clock())
    store.put("a", 1, (0,))
    store.put("b", 1, (0,))
    store.forget("b")
    store.forget("nobody")
    assert names(store, 8) == ["a"]
    store.put("a", 2, (0,))
    store.close()
    assert names(store, 8) == []


@given(st.lists(st.integers(1, 4), min_size=2, max_size=8), st.integers(4, 8))
def test_under_overload_everybody_has_a_turn(sizes: list[int], most: int) -> None:
    store: WaitingRequests[int] = WaitingRequests(Clock())
    served = dict.fromkeys(range(len(sizes)), 0)
    for client, size in enumerate(sizes):
        store.put(client, 1, tuple(range(size)))
    rounds = 20 * len(sizes)
    for _ in range(rounds):
        batch = store.take(most, 0.0)
        assert batch[0].clips <= most
        assert sum(one.clips for one in batch) <= most
        for one in batch:
            served[one.client] += 1
            # As a watcher does: the next request follows the answer at once.
            store.put(one.client, one.generation + 1, one.slots)
    # Two batches may pass anybody over; then those before it in the queue come first.
    assert min(served.values()) >= rounds // (len(sizes) + 2)
