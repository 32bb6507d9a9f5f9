from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from monitor.vocabulary import Posture
from monitor.watch.assignment import POSTURE_WEIGHT, Assignment


def test_streams_that_come_together_are_spread() -> None:
    assignment = Assignment(active=2)
    assignment.join(1)
    assignment.join(2)
    for number in range(10):
        assignment.add(str(number), Posture.CALM)
    assert len(assignment.place()) == 10
    assert (assignment.weight_of(1), assignment.weight_of(2)) == (5, 5)


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
    assert abs(assignment.weight_of(1) - assignment.weight_of(2)) <= 4
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


@given(st.lists(st.sampled_from(Posture), max_size=40), st.integers(1, 6))
def test_no_watcher_has_more_than_one_stream_too_many(postures: list[Posture], members: int) -> None:
    assignment = Assignment(active=members)
    for member in range(members):
        assignment.join(member)
    for number, posture in enumerate(postures):
        assignment.add(str(number), posture)
    assignment.place()
    weights = [assignment.weight_of(member) for member in range(members)]
    assert max(weights) - min(weights) <= max(POSTURE_WEIGHT.values())


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
            weight = sum(POSTURE_WEIGHT[self.wanted[stream_id]] for stream_id in self.told[member])
            assert self.assignment.weight_of(member) == weight


TestAnythingHappens = AnythingHappens.TestCase
