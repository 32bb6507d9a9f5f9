from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.vocabulary import Posture
from monitor.watch.admission import (
    TURNS_PER_CALMER,
    TURNS_PER_HEAD,
    TURNS_PER_KNOWN,
    DecodeAdmission,
    DecodeLease,
    Rank,
    Turns,
    Wanted,
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.read_by: list[str] = []

    def __call__(self) -> float:
        self.read_by.append(threading.current_thread().name)
        return self.now_s


def order(*wanted: Wanted) -> list[Wanted]:
    turns = Turns()
    for one in wanted:
        turns.ask(one)
    return [turns.next() for _ in wanted]


def test_the_closest_posture_goes_first_and_a_head_last() -> None:
    head, begun, close, full = (Wanted(rank, 0.0) for rank in Rank)
    assert order(head, begun, close, full) == [full, close, begun, head]


def test_among_equals_goes_first_who_was_looked_at_longest_ago() -> None:
    new, old, never = Wanted(Rank.HEAD, 20.0), Wanted(Rank.HEAD, 10.0), Wanted(Rank.HEAD, float("-inf"))
    assert order(new, old, never) == [never, old, new]


def test_among_equals_that_were_looked_at_together_the_first_to_ask_goes_first() -> None:
    first, second = Wanted(Rank.CLOSE, 1.0), Wanted(Rank.CLOSE, 1.0)
    assert order(first, second) == [first, second]


def test_whoever_gave_up_gets_no_turn() -> None:
    turns = Turns()
    first, second = Wanted(Rank.FULL, 0.0), Wanted(Rank.HEAD, 0.0)
    turns.ask(first)
    turns.ask(second)
    turns.give_up(first)
    assert turns.next() is second
    assert len(turns) == 0


def served(ranks: list[Rank], turns_taken: int) -> list[list[int]]:
    """Let streams of these ranks ask again as soon as they were served; return at which turns each was.

    All have been looked at before; newcomers have a test of their own.
    """
    turns = Turns()
    at: list[list[int]] = [[] for _ in ranks]
    streams: dict[Wanted, int] = {}

    def ask(number: int, looked_at_s: float) -> None:
        wanted = Wanted(ranks[number], looked_at_s)
        streams[wanted] = number
        turns.ask(wanted)

    for number in range(len(ranks)):
        ask(number, float(number - len(ranks)))
    for turn in range(turns_taken):
        number = streams.pop(turns.next())
        at[number].append(turn)
        ask(number, float(turn))
    return at


@given(st.lists(st.sampled_from(Rank), min_size=1, max_size=12))
def test_no_stream_starves_whatever_the_others_want(ranks: list[Rank]) -> None:
    longest = (TURNS_PER_HEAD + TURNS_PER_CALMER) * len(ranks)
    for turns in served(ranks, 4 * longest):
        gaps = [later - earlier for earlier, later in zip([0, *turns], [*turns, 4 * longest], strict=True)]
        assert max(gaps) <= longest


@given(st.lists(st.sampled_from([Rank.CLOSE, Rank.HEAD]), min_size=1, max_size=12))
def test_equals_share_evenly(ranks: list[Rank]) -> None:
    at = served(ranks, 2000)
    for rank in set(ranks):
        counts = [len(turns) for number, turns in enumerate(at) if ranks[number] is rank]
        assert max(counts) - min(counts) <= 1


@given(st.integers(1, 10), st.integers(1, 60))
def test_a_crowd_of_newcomers_leaves_a_quarter_of_the_heads_to_those_known_and_waits_little_longer(
    known: int, newcomers: int
) -> None:
    turns = Turns()
    waiting_new = {Wanted(Rank.HEAD, -math.inf) for _ in range(newcomers)}
    waiting_known = {Wanted(Rank.HEAD, float(number)) for number in range(known)}
    for wanted in (*waiting_new, *waiting_known):
        turns.ask(wanted)
    looked_at_known, taken = 0, 0
    while waiting_new:
        wanted = turns.next()
        taken += 1
        if wanted in waiting_new:
            waiting_new.remove(wanted)
        else:
            looked_at_known += 1
        turns.ask(Wanted(Rank.HEAD, 100.0 + taken))
    assert taken <= math.ceil(newcomers * TURNS_PER_KNOWN / (TURNS_PER_KNOWN - 1)) + 1
    assert looked_at_known >= (taken - 1) // TURNS_PER_KNOWN


def test_close_streams_leave_calm_ones_a_quarter_and_heads_a_little() -> None:
    close, begun, head = (len(turns) for turns in served([Rank.CLOSE, Rank.BEGUN, Rank.HEAD], 6400))
    assert close == pytest.approx(4800, rel=0.02)
    assert begun == pytest.approx(1500, rel=0.1)
    assert head == 100


def lease(admission: DecodeAdmission, posture: Posture = Posture.CALM) -> DecodeLease:
    return admission.lease(lambda: posture)


def in_thread(work: Callable[[], object], name: str) -> threading.Thread:
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


def until_waiting(admission: DecodeAdmission, count: int) -> None:
    ready = threading.Event()
    for _ in range(5000):
        if admission.waiting == count:
            return
        ready.wait(0.001)
    raise TimeoutError(f"{admission.waiting} wait instead of {count}")


def test_no_more_decode_at_once_than_there_are_slots() -> None:
    admission = DecodeAdmission(2)
    streams = [lease(admission) for _ in range(3)]
    assert [stream.acquire(timeout=0) for stream in streams] == [True, True, False]
    streams[0].release()
    assert streams[2].acquire(timeout=0)


def test_a_slot_that_comes_free_goes_to_the_closest_who_waits() -> None:
    admission = DecodeAdmission(1)
    holder = lease(admission)
    assert holder.acquire(timeout=0)
    got: list[str] = []

    def wait_for(stream: DecodeLease, name: str) -> None:
        assert stream.acquire(timeout=10)
        got.append(name)
        stream.release()

    threads = []
    for number, (name, posture) in enumerate(
        [("calm", Posture.CALM), ("close", Posture.CLOSE), ("full", Posture.FULL)]
    ):
        threads.append(in_thread(partial(wait_for, lease(admission, posture), name), name))
        until_waiting(admission, number + 1)
    holder.release()
    for thread in threads:
        thread.join(10)
    assert got == ["full", "close", "calm"]
    assert admission.waiting == 0


def test_a_head_without_room_is_left_out_and_counted_and_goes_first_next_time() -> None:
    clock = Clock()
    admission = DecodeAdmission(1, clock)
    holder, left_out, newer = (lease(admission) for _ in range(3))
    assert left_out.admit(1.0)
    clock.now_s = 1.0
    assert newer.admit(1.0)
    assert holder.acquire(timeout=0)
    clock.now_s = 2.0
    assert not left_out.admit(0.01)
    assert admission.thinned == 1
    # The clock is read by whoever has got in, before the next one may.
    clock.read_by.clear()
    threads = []
    for number, (stream, name) in enumerate([(newer, "newer"), (left_out, "left out")]):
        threads.append(in_thread(partial(stream.admit, 10.0), name))
        until_waiting(admission, number + 1)
    holder.release()
    for thread in threads:
        thread.join(10)
    assert clock.read_by == ["left out", "newer"]
    assert admission.thinned == 1


def test_a_head_that_is_late_is_left_out_even_where_there_is_room() -> None:
    admission = DecodeAdmission(1)
    assert not lease(admission).admit(0.0)
    assert admission.thinned == 1


def test_whoever_is_admitted_leaves_the_slot_free() -> None:
    admission = DecodeAdmission(1)
    assert lease(admission).admit(1.0)
    assert lease(admission).acquire(timeout=0)


def test_of_streams_that_wait_for_a_head_one_with_weight_counts_as_waiting_longer() -> None:
    now_s = [0.0]
    admission = DecodeAdmission(1, lambda: now_s[0])
    light, heavy = admission.lease(lambda: Posture.CALM), admission.lease(lambda: Posture.CALM)
    heavy.weight = 3.0
    light.looked()
    now_s[0] = 2.0
    heavy.looked()
    # The lighter one was looked at earlier: ten seconds ago, and the other eight.
    now_s[0] = 10.0
    turns: list[str] = []

    def wait_for_a_head(lease: DecodeLease, name: str) -> None:
        if lease.admit(5):
            turns.append(name)

    assert light.acquire(timeout=1)
    threads = [threading.Thread(target=wait_for_a_head, args=who) for who in ((light, "light"), (heavy, "heavy"))]
    for thread in threads:
        thread.start()
    until_waiting(admission, 2)
    light.release()
    for thread in threads:
        thread.join(5)
    assert turns == ["heavy", "light"]
