from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from monitor.vocabulary import Posture
from monitor.watch.assignment import MOST_CORES, PRIOR_CORES, Assignment


def test_streams_that_come_together_are_spread() -> None:
    assignment = Assignment(active=2)
    assignment.join(1)
    assignment.join(2)
    for number in range(10):
        assignment.add(str(number), Posture.CALM)
    assert len(assignment.place()) == 10
    assert (len(assignment.streams_of(1)), len(assignment.streams_of(2))) == (5, 5)


def test_a_closely_watched_stream_weighs_more() -> None:
    assignment = Assignment(active=2)
    assignment.join(1)
    assignment.join(2)
    assignment.add("full", Posture.FULL)
    for number in range(5):
        assignment.add(str(number), Posture.CALM)
    assignment.place()
    full = assignment.place_of("full")
    assert full is not None
    assert assignment.streams_of(full) == ("full",)


def test_a_spare_gets_the_streams_of_the_dead_and_nobody_else_moves() -> None:
    assignment = Assignment(active=2)
    for member in (1, 2, 3):
        assignment.join(member)
    for number in range(20):
        assignment.add(str(number), Posture.CALM)
    assignment.place()
    assert assignment.is_spare(3)
    assert assignment.streams_of(3) == ()
    before = assignment.streams_of(2)
    orphans = assignment.leave(1)
    placements = assignment.place()
    assert {placement.stream_id for placement in placements} == set(orphans)
    assert {placement.target for placement in placements} == {3}
    assert assignment.streams_of(2) == before
    assignment.join(1)
    assert assignment.is_spare(1)


def test_without_a_spare_the_survivor_takes_all_and_gives_calm_ones_back() -> None:
    assignment = Assignment(active=2)
    assignment.join(1)
    assignment.join(2)
    for number in range(20):
        assignment.add(str(number), Posture.CALM)
    assignment.add("close", Posture.CLOSE)
    assignment.place()
    assignment.leave(1)
    assert {placement.target for placement in assignment.place()} == {2}
    assert assignment.rebalance(4) == ()
    assignment.join(1)
    moves = [move for _ in range(10) for move in assignment.rebalance(4)]
    assert all((move.source, move.target) == (2, 1) for move in moves)
    assert "close" not in {move.stream_id for move in moves}
    assert abs(assignment.reserved_on(1) - assignment.reserved_on(2)) <= 4 * PRIOR_CORES[Posture.CALM]
    assert assignment.rebalance(4) == ()


def test_the_idle_watcher_is_the_last_without_streams() -> None:
    assignment = Assignment(active=2)
    seen = [(assignment.idle, assignment.size)]
    for member in (1, 2, 3):
        assignment.join(member)
        seen.append((assignment.idle, assignment.size))
    assignment.add("a", Posture.CALM)
    assignment.place()
    for member in (3, 2):
        assignment.leave(member)
        seen.append((assignment.idle, assignment.size))
    assert seen == [(None, 0), (1, 1), (2, 2), (3, 3), (2, 2), (None, 1)]


def test_nothing_is_placed_while_nobody_is_ready() -> None:
    assignment = Assignment(active=1)
    assignment.add("a", Posture.CALM)
    assert assignment.place() == ()
    assert assignment.unplaced == ("a",)
    assignment.join(1)
    assert [placement.stream_id for placement in assignment.place()] == ["a"]


def test_a_stream_that_was_measured_to_cost_more_weighs_more() -> None:
    assignment = Assignment(active=2)
    assignment.join(1)
    assignment.join(2)
    assignment.add("1080p60", Posture.CALM)
    assignment.add("360p", Posture.CALM)
    assignment.place()
    assignment.measure("1080p60", Posture.CALM, 0.06)
    assignment.measure("360p", Posture.CALM, 0.006)
    for number in range(6):
        assignment.add(str(number), Posture.CALM)
    assignment.place()
    heavy = assignment.place_of("1080p60")
    assert heavy is not None
    assert len(assignment.streams_of(heavy)) == 3
    # What is unknown counts as the mean of what is known here.
    assert assignment.reserved_for("0") == pytest.approx(0.033)


def test_a_streams_own_measure_counts_in_a_posture_that_it_never_had() -> None:
    assignment = Assignment(active=1)
    assignment.add("large", Posture.CALM)
    assignment.add("small", Posture.CALM)
    assignment.measure("large", Posture.CALM, 0.03)
    assignment.measure("small", Posture.CALM, 0.01)
    for stream_id in ("large", "small"):
        assignment.set_posture(stream_id, Posture.FULL)
    assert assignment.reserved_for("large") == pytest.approx(3 * assignment.reserved_for("small"))
    assert assignment.reserved_for("large") == pytest.approx(1.5 * PRIOR_CORES[Posture.FULL])


def test_measures_are_smoothed_and_impossible_ones_ignored() -> None:
    assignment = Assignment(active=1)
    assignment.add("s", Posture.CALM)
    assignment.measure("s", Posture.CALM, 0.01)
    for cores in (0.02, math.nan, math.inf, -1.0, 0.0, MOST_CORES + 1):
        assignment.measure("s", Posture.CALM, cores)
    assignment.measure("stranger", Posture.CALM, 1.0)
    assert assignment.reserved_for("s") == pytest.approx(0.013)
    assert assignment.typical(Posture.CALM) == pytest.approx(0.015)


def test_measures_that_waver_move_nobody_back_and_forth() -> None:
    assignment = Assignment(active=2)
    assignment.join(1)
    assignment.join(2)
    for number in range(40):
        assignment.add(str(number), Posture.CALM)
    assignment.place()
    for wave in range(20):
        for number in range(40):
            # A tenth up on one watcher and down on the other, and the reverse.
            assignment.measure(str(number), Posture.CALM, 0.02 * (1.1 if (number + wave) % 2 else 0.9))
        assert assignment.rebalance(4) == ()


COSTS = st.floats(0.001, MOST_CORES)


@given(st.lists(st.tuples(st.sampled_from(Posture), st.none() | COSTS), max_size=40), st.integers(1, 6))
def test_no_watcher_has_more_than_one_stream_too_many(
    streams: list[tuple[Posture, float | None]], members: int
) -> None:
    assignment = Assignment(active=members)
    for number, (posture, cores) in enumerate(streams):
        assignment.add(str(number), posture)
        if cores is not None:
            assignment.measure(str(number), posture, cores)
    for member in range(members):
        assignment.join(member)
    assignment.place()
    reserved = [assignment.reserved_on(member) for member in range(members)]
    heaviest = max((assignment.reserved_for(str(number)) for number in range(len(streams))), default=0.0)
    assert max(reserved) - min(reserved) <= heaviest + 1e-9


@given(st.lists(COSTS, min_size=1, max_size=40), st.lists(st.integers(1, 3), min_size=40, max_size=40))
def test_rebalancing_evens_out_and_comes_to_an_end(costs: list[float], places: list[int]) -> None:
    assignment = Assignment(active=3)
    for number, (cores, member) in enumerate(zip(costs, places, strict=False)):
        assignment.join(member)
        assignment.add(str(number), Posture.CALM)
        assignment.measure(str(number), Posture.CALM, cores)
        assignment.place()
        for other in (1, 2, 3):
            assignment.join(other)
    moved = 0
    while moves := assignment.rebalance(1):
        (move,) = moves
        assert move.source is not None
        # Judged after the move, the giver still has as much as the taker.
        assert assignment.reserved_on(move.source) >= assignment.reserved_on(move.target) - 1e-9
        moved += 1
        assert moved <= 3 * len(costs)


class AnythingHappens(RuleBasedStateMachine):
    """Streams and watchers come and go; the model is what each watcher would have been told."""

    @initialize(active=st.integers(1, 3))
    def begin(self, active: int) -> None:
        self.assignment = Assignment(active=active)
        self.active = active
        self.members: list[int] = []
        self.wanted: dict[str, Posture] = {}
        self.told: dict[int, set[str]] = {}

    def place(self) -> None:
        for placement in self.assignment.place():
            assert placement.source is None
            assert placement.target in self.members[: self.active]
            self.told[placement.target].add(placement.stream_id)

    @rule(member=st.integers(1, 5))
    def join(self, member: int) -> None:
        if member not in self.members:
            self.members.append(member)
            self.told[member] = set()
        self.assignment.join(member)
        self.place()

    @rule(member=st.integers(1, 5))
    def leave(self, member: int) -> None:
        orphans = set(self.assignment.leave(member))
        assert orphans == self.told.pop(member, set())
        if member in self.members:
            self.members.remove(member)
        self.place()

    @rule(stream=st.integers(0, 15), posture=st.sampled_from(Posture))
    def add(self, stream: int, posture: Posture) -> None:
        self.wanted[str(stream)] = posture
        self.assignment.add(str(stream), posture)
        self.place()

    @rule(stream=st.integers(0, 15))
    def remove(self, stream: int) -> None:
        place = self.assignment.remove(str(stream))
        self.wanted.pop(str(stream), None)
        if place is not None:
            self.told[place].remove(str(stream))

    @rule(stream=st.integers(0, 15), posture=st.sampled_from(Posture))
    def change(self, stream: int, posture: Posture) -> None:
        self.assignment.set_posture(str(stream), posture)
        if str(stream) in self.wanted:
            self.wanted[str(stream)] = posture

    @rule(stream=st.integers(0, 15), posture=st.sampled_from(Posture), cores=st.floats(allow_nan=True))
    def measure(self, stream: int, posture: Posture, cores: float) -> None:
        self.assignment.measure(str(stream), posture, cores)

    @rule(most=st.integers(1, 5))
    def rebalance(self, most: int) -> None:
        moves = self.assignment.rebalance(most)
        assert len(moves) <= most
        for move in moves:
            assert move.source is not None
            assert self.wanted[move.stream_id] is Posture.CALM
            self.told[move.source].remove(move.stream_id)
            self.told[move.target].add(move.stream_id)

    @invariant()
    def every_stream_is_watched_exactly_once(self) -> None:
        placed = [stream_id for streams in self.told.values() for stream_id in streams]
        assert len(placed) == len(set(placed))
        if self.members:
            assert set(placed) == set(self.wanted)
            assert self.assignment.unplaced == ()
        for member in self.members:
            assert set(self.assignment.streams_of(member)) == self.told[member]
            reserved = sum(self.assignment.reserved_for(stream_id) for stream_id in self.told[member])
            assert self.assignment.reserved_on(member) == pytest.approx(reserved)


TestAnythingHappens = AnythingHappens.TestCase
