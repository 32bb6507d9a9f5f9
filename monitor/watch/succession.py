"""Watchers that run with other settings take the places of those that do not, one after the other.

Each watcher's streams go to a new one, a few at a time, and each is let go by the old one only when the new one has scored
it. So no stream is unwatched meanwhile, and at no time is there a watcher less; there is one more.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Final

import structlog

from monitor.clock import Clock
from monitor.watch.child import WatcherChild
from monitor.watch.roster import Roster
from monitor.watch.settings import WatchSettings

log = structlog.get_logger()

_LOOK_S: Final = 0.05
_MOVES_AT_ONCE: Final = 4
_MOST_KEPT: Final = 4


@dataclass(slots=True, eq=False)
class Succession:
    """Replaces every watcher that does not run with the settings in force.

    Attributes:
        roster: Streams and processes.
        common: Numbers of the watchers that are kept running; those that are replaced are taken out.
        settings: Returns the settings in force; a watcher that was started with any others is outdated.
        wanted: How many watchers there are to be in the end.
        start: Starts one more watcher with the settings in force, and keeps it running.
        spawn: Runs something for as long as watchers run.
    """

    roster: Roster
    clock: Clock
    common: set[int]
    settings: Callable[[], WatchSettings]
    wanted: int
    start: Callable[[], None]
    spawn: Callable[[Coroutine[None, None, None]], object]
    _kept: set[WatcherChild] = field(default_factory=set)

    async def run(self) -> None:
        """Replace all of them; returns when none that is outdated has a stream."""
        while self.outdated:
            if (member := self._next()) is None:
                # What is left watches streams under suspicion, which come back within half a minute or kill it.
                await self.clock.sleep(_LOOK_S)
            else:
                await self._replace(member)
        self._dismiss_surplus()

    @property
    def outdated(self) -> tuple[WatcherChild, ...]:
        """Every process with other settings that is still of use, except as a keeper of evidence."""
        return tuple(
            child
            for member, child in self.roster.children.items()
            if child.settings is not self.settings() and (member in self.common or child.streams)
        )

    def _next(self) -> int | None:
        members = (child.member for child in self.outdated)
        return next((member for member in sorted(members) if self._is_common(member)), None)

    async def _replace(self, member: int) -> None:
        while len(self._kept) >= _MOST_KEPT:
            await self.clock.sleep(_LOOK_S)
        old = self.roster.children.get(member)
        if len(self.common) <= self.wanted:
            self.start()
        while (successor := self._idle()) is None:
            await self.clock.sleep(_LOOK_S)
        if old is None or not self._runs(old):
            # It has died meanwhile: what runs under its number now, or soon, is up to date.
            return
        self.roster.assignment.succeed(member, successor)
        log.info("watcher_succeeded", watcher=member, by=successor, streams=len(old.streams))
        while self._runs(old) and (waiting := self._still_with(old)):
            room = _MOVES_AT_ONCE - len(self.roster.overlaps.leaving(old))
            for stream_id in waiting[: max(0, room)]:
                if (target := self._target(member, successor)) is not None and stream_id in self.roster.streams:
                    self.roster.succeed(stream_id, target)
            await self.clock.sleep(_LOOK_S)
        while self._runs(old) and self.roster.overlaps.leaving(old):
            await self.clock.sleep(_LOOK_S)
        if self._runs(old):
            self._dismiss(old)

    def _still_with(self, old: WatcherChild) -> tuple[str, ...]:
        return self.roster.assignment.streams_of(old.member)

    def _target(self, member: int, successor: int) -> WatcherChild | None:
        """Return who gets the next stream: the successor, unless it has died; then whoever has least to do."""
        assignment = self.roster.assignment
        if self._is_up_to_date(successor):
            if assignment.is_spare(successor):
                assignment.succeed(member, successor)
            return self.roster.children[successor]
        others = [
            known
            for known in self.common
            if self._is_up_to_date(known) and not assignment.is_spare(known) and known != member
        ]
        return self.roster.children[min(others, key=assignment.reserved_on)] if others else None

    def _idle(self) -> int | None:
        """Return an up-to-date watcher without streams."""
        assignment = self.roster.assignment
        idle = [known for known in self.common if self._is_up_to_date(known) and not assignment.streams_of(known)]
        return min(idle, default=None)

    def _is_up_to_date(self, member: int) -> bool:
        child = self.roster.children.get(member)
        return (
            child is not None
            and child.ready is not None
            and child.settings is self.settings()
            and self._is_common(member)
        )

    def _is_common(self, member: int) -> bool:
        return member in self.common and not self.roster.quarantine.is_member(member)

    def _runs(self, child: WatcherChild) -> bool:
        return self.roster.children.get(child.member) is child

    def _dismiss_surplus(self) -> None:
        """Where a watcher died while it was being replaced, there is one too many now."""
        while len(self.common) > self.wanted and (member := self._idle()) is not None:
            self.roster.assignment.leave(member)
            self._dismiss(self.roster.children[member])

    def _dismiss(self, child: WatcherChild) -> None:
        self.common.discard(child.member)
        self.roster.assignment.leave(child.member)
        self._kept.add(child)
        self.spawn(self._keep_evidence(child))

    async def _keep_evidence(self, child: WatcherChild) -> None:
        """What the successor has not seen, only this process remembers: the frames of an attack's first seconds, perhaps."""
        if self.roster.holders.has_any(child):
            await self.clock.sleep(child.settings.keep_replaced_s)
        child.retire()
        self._kept.discard(child)
