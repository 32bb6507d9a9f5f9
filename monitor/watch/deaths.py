"""What is done when a watcher dies: its streams move at once, and those that seem to kill watchers are set apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from monitor import metrics
from monitor.vocabulary import WatchState
from monitor.watch.child import Ending, WatcherChild
from monitor.watch.messages import WatcherFault
from monitor.watch.roster import Roster

GIVEN_UP_REASON: Final = "quarantined"
"""Why a stream that was given up has failed."""

log = structlog.get_logger()


@dataclass(slots=True)
class Deaths:
    """Draws the consequences of deaths and of probations that were lived through.

    Attributes:
        roster: Streams and processes.
        start_quarantine: Enters the next group that waits into a new quarantine watcher, and starts that; False where
            no group waits, or too many watchers run.
        is_common: Whether a number is that of a common watcher.
    """

    roster: Roster
    start_quarantine: Callable[[], bool]
    is_common: Callable[[int], bool]
    _told_to_wait: set[str] = field(default_factory=set)

    def left(self, child: WatcherChild, ending: Ending) -> None:
        """A process is no longer used, and no child of the roster any more."""
        if ending.detail == "retired":
            self.roster.holders.ended(child)
        elif self.roster.quarantine.is_member(child.member):
            self._left_quarantine(child, ending)
        else:
            self._left_common(child, ending)
        self.open_quarantine()

    def begin_probation(self, child: WatcherChild) -> None:
        """A quarantine watcher is ready: it gets its group."""
        self.roster.quarantine.begin(child.member, self.roster.clock.monotonic_s())
        for stream_id in self.roster.quarantine.streams_of(child.member):
            self.roster.hand_over(child, stream_id)

    def isolate(self, stream_id: str) -> None:
        """A stream that was given up before comes again: test it alone."""
        self.roster.quarantine.isolate((stream_id,))
        self.open_quarantine()

    def review(self, now_s: float) -> None:
        """End the probations that are over, and try again what was given up long ago."""
        quarantine = self.roster.quarantine
        for member, acquitted in quarantine.acquit(now_s).items():
            self._end_probation(member, acquitted)
        for stream_id in quarantine.to_retry(now_s):
            if stream_id in self.roster.streams:
                quarantine.isolate((stream_id,))
        self.open_quarantine()

    def open_quarantine(self) -> None:
        """Start a watcher for each group that waits, as far as there may be more; say of the others that they wait."""
        while self.start_quarantine():
            pass
        waiting = set(self.roster.quarantine.waiting)
        for stream_id in waiting - self._told_to_wait:
            self.roster.tell(stream_id, WatchState.STALLED, "quarantine_wait")
        self._told_to_wait = waiting

    def _left_common(self, child: WatcherChild, ending: Ending) -> None:
        assignment, quarantine = self.roster.assignment, self.roster.quarantine
        kept = self.roster.take_back(child)
        orphans = assignment.leave(child.member)
        suspects: tuple[str, ...] = ()
        if ending.blames_streams:
            suspects = quarantine.blame((*orphans, *kept), self.roster.clock.monotonic_s())
        for stream_id in suspects:
            if stream_id in kept and (holder := self.roster.child_of(stream_id)) is not None:
                self.roster.let_go(holder, stream_id)
                orphans = (*orphans, stream_id)
            assignment.remove(stream_id)
        self._mourn(child, ending, orphans)
        if suspects:
            log.warning("streams_suspected", watcher=child.member, streams=len(suspects))
            self._isolate_all(suspects)
        self.roster.place()

    def _isolate_all(self, suspects: tuple[str, ...]) -> None:
        assignment, quarantine = self.roster.assignment, self.roster.quarantine
        idle = assignment.idle
        if idle is None or (assignment.unplaced and assignment.size == 1):
            # Processes yet to start take their time anyway, so let them narrow it down as well.
            quarantine.isolate(suspects)
            return
        # Two accidents in a row look like a culprit too: an idle watcher lent from the others takes all this instant.
        quarantine.isolate(suspects, groups=1)
        if quarantine.enter(idle):
            assignment.leave(idle)
            self.begin_probation(self.roster.children[idle])

    def _left_quarantine(self, child: WatcherChild, ending: Ending) -> None:
        if child.ready is None or not ending.blames_streams:
            self._mourn(child, ending, tuple(child.streams))
            return
        quarantine = self.roster.quarantine
        streams = quarantine.streams_of(child.member)
        given_up = quarantine.died(child.member, self.roster.clock.monotonic_s())
        self._mourn(child, ending, tuple(stream_id for stream_id in streams if stream_id != given_up))
        if given_up is not None:
            metrics.STREAMS_QUARANTINED.inc()
            log.error("stream_given_up", stream_id=given_up)
            self.roster.tell(given_up, WatchState.FAILED, GIVEN_UP_REASON, "it ended every watcher that read it")

    def _mourn(self, child: WatcherChild, ending: Ending, orphans: tuple[str, ...]) -> None:
        """Say what happened to a process and to its streams; they are not placed anew yet."""
        self.roster.holders.ended(child)
        self.roster.callbacks.fault(ending.fault or WatcherFault(reason=ending.reason, detail=ending.detail))
        for stream_id in orphans:
            self.roster.tell(stream_id, WatchState.STALLED, "watcher_died")

    def _end_probation(self, member: int, acquitted: tuple[str, ...]) -> None:
        """Return streams to the common watchers, and their watcher too if it was lent from there."""
        child = self.roster.children.get(member)
        for stream_id in acquitted:
            self.roster.assignment.add(stream_id, self.roster.streams[stream_id].posture)
            if child is not None:
                self.roster.let_go(child, stream_id)
        if child is None:
            return
        if not self.is_common(member):
            child.retire()
        elif child.ready is not None:
            self.roster.assignment.join(member)
