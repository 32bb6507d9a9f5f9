"""Every stream that is to be watched, every process that can, and who has which: shared by all that the supervisor does."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitor import metrics
from monitor.clock import Clock
from monitor.vocabulary import WatchState
from monitor.watch.assignment import AssignedStream, Assignment, Placement
from monitor.watch.callbacks import Callbacks
from monitor.watch.child import WatcherChild
from monitor.watch.holders import EvidenceHolders
from monitor.watch.messages import Observation, StreamStatus
from monitor.watch.overlaps import Overlaps
from monitor.watch.quarantine import Quarantine
from monitor.watch.settings import STEADY_AFTER_S


@dataclass(slots=True)
class Roster:
    """Carries out placements: whatever moves between processes moves here.

    Attributes:
        assignment: Which common watcher has which stream.
        quarantine: Which quarantine watcher has which suspect.
        streams: Every stream that is to be watched, by `stream_id`.
        children: Every process that there is, by the number of its watcher.
        holders: Which process may have evidence of which stream.
        overlaps: Which streams two processes have.
    """

    clock: Clock
    callbacks: Callbacks
    assignment: Assignment
    quarantine: Quarantine
    streams: dict[str, AssignedStream] = field(default_factory=dict)
    children: dict[int, WatcherChild] = field(default_factory=dict)
    holders: EvidenceHolders = field(default_factory=EvidenceHolders)
    overlaps: Overlaps = field(default_factory=Overlaps)

    def child_of(self, stream_id: str) -> WatcherChild | None:
        """Return the process that has the stream, if it is ready."""
        member = self.assignment.place_of(stream_id)
        if member is None:
            member = self.quarantine.place_of(stream_id)
        child = None if member is None else self.children.get(member)
        return child if child is not None and child.ready is not None else None

    def children_of(self, stream_id: str) -> tuple[WatcherChild, ...]:
        """Return every process that has the stream: one that takes over comes last."""
        child, overlap = self.child_of(stream_id), self.overlaps.of(stream_id)
        return (*(() if overlap is None else (overlap.old,)), *(() if child is None else (child,)))

    def place(self) -> None:
        """Hand every stream without a place to a common watcher."""
        self._carry_out(self.assignment.place())

    def rebalance(self, most: int) -> None:
        """Move up to `most` streams from the fullest watcher to the emptiest, if that is worth it."""
        self._carry_out(self.assignment.rebalance(most))

    def hand_over(self, child: WatcherChild, stream_id: str) -> None:
        """Have a process watch a stream, as one that has failed as often as it has."""
        stream = self.streams[stream_id]
        since_s = stream.watching_since_s
        if since_s is not None and self.clock.monotonic_s() - since_s >= STEADY_AFTER_S:
            stream.tries = 0
        self.holders.came(stream_id, child)
        child.assign(stream_id, stream.url, stream.posture, stream.tries, stream.weight)

    def succeed(self, stream_id: str, target: WatcherChild) -> None:
        """Have `target` watch a stream from now on; who watches it now goes on until `target` has scored it."""
        source = self.child_of(stream_id)
        self.assignment.move(stream_id, target.member)
        if source is not None and source.streams.get(stream_id) is WatchState.WATCHING:
            self.overlaps.begin(stream_id, source, target, self.clock.monotonic_s())
        elif source is not None:
            # Nothing is lost by letting go first of what is not being watched.
            self.let_go(source, stream_id)
        self.hand_over(target, stream_id)

    def settle(self, stream_id: str) -> None:
        """End a stream's overlap, if it is in one: who had it lets go, and what the other said is heard."""
        if (overlap := self.overlaps.end(stream_id)) is None:
            return
        self.let_go(overlap.old, stream_id)
        if overlap.last is not None:
            self._pass_on(overlap.last)

    def take_back(self, child: WatcherChild) -> tuple[str, ...]:
        """A process is gone; return the streams that another still has, which keeps them."""
        for stream_id in self.overlaps.leaving(child):
            overlap = self.overlaps.end(stream_id)
            if overlap is not None and overlap.last is not None:
                self._pass_on(overlap.last)
        kept = self.overlaps.coming(child)
        for stream_id in kept:
            if (overlap := self.overlaps.end(stream_id)) is not None:
                self.assignment.move(stream_id, overlap.old.member)
        return kept

    def let_go(self, child: WatcherChild, stream_id: str) -> None:
        """Have a process stop watching a stream; it keeps the evidence for a while."""
        child.release(stream_id)
        self.holders.left(stream_id, child, self.clock.monotonic_s())

    def heard(self, child: WatcherChild, status: StreamStatus) -> None:
        """A watcher has said how a stream of its own is."""
        pass_on, over = self.overlaps.hear(child, status)
        if pass_on:
            self._pass_on(status)
        if over:
            self.settle(status.stream_id)

    def scored(self, child: WatcherChild, observation: Observation) -> None:
        """A watcher has scored a clip of a stream of its own."""
        stream_id = observation.stream_id
        if child.ready is None:
            return
        overlap = self.overlaps.of(stream_id)
        if overlap is not None and child is overlap.new:
            self.settle(stream_id)
        stream = self.streams.get(stream_id)
        if stream is not None and stream.model != child.ready.model:
            stream.model = child.ready.model
            self.callbacks.model(stream_id, stream.model)
        self.callbacks.observation(observation, child.ready.labels)

    def _pass_on(self, status: StreamStatus) -> None:
        if (stream := self.streams.get(status.stream_id)) is not None:
            stream.tries = max(0, status.tries)
            stream.watching_since_s = self.clock.monotonic_s() if status.state is WatchState.WATCHING else None
        self.callbacks.status(status)

    def tell(self, stream_id: str, state: WatchState, reason: str, detail: str = "") -> None:
        """Say how a stream is while no watcher can."""
        if stream_id in self.streams:
            self.callbacks.status(StreamStatus(stream_id=stream_id, state=state, reason=reason, detail=detail))

    def count_ready(self) -> None:
        """Put the number of processes that are ready into the metrics."""
        metrics.WATCHERS.set(sum(child.ready is not None for child in self.children.values()))

    def _carry_out(self, placements: tuple[Placement, ...]) -> None:
        for placement in placements:
            if placement.source is not None and (source := self.children.get(placement.source)) is not None:
                self.let_go(source, placement.stream_id)
            if (target := self.children.get(placement.target)) is not None:
                self.hand_over(target, placement.stream_id)
