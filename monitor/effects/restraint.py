"""The pauses and silences in force, answered from memory: neither effects nor alerts wait for the store to know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from fnmatch import fnmatchcase

from monitor.clock import Clock, wait_until
from monitor.metrics import PAUSE_ENDS, PAUSED, SILENCES_ACTIVE
from monitor.store.silences import SilenceKind, SilenceRecord
from monitor.vocabulary import StreamRef

_LOOK_AGAIN_S = 1.0


class Restraints:
    """What is at rest now. An end counts by the clock alone: no failure of anything can make a pause last longer."""

    def __init__(self, clock: Clock) -> None:
        """Begin with nothing at rest; `replace` fills it from the store."""
        self._clock = clock
        self._records: tuple[SilenceRecord, ...] = ()
        self._changed = asyncio.Event()

    def replace(self, records: Iterable[SilenceRecord]) -> None:
        """Take over all that the store has and nobody has ended."""
        self._records = tuple(records)
        self.measure()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def active(self) -> list[SilenceRecord]:
        """Return what is in force, oldest first."""
        now = self._now()
        return [record for record in self._records if record.until > now]

    def over(self) -> list[SilenceRecord]:
        """Return those whose time has come, and that nobody has ended in the store yet."""
        now = self._now()
        return [record for record in self._records if record.until <= now]

    def pause_on(self, server: str) -> SilenceRecord | None:
        """Return the pause of containment on a media server, of several the one that ends last."""
        return _last(one for one in self._of(SilenceKind.PAUSE) if one.server in (None, server))

    def is_paused(self, server: str) -> bool:
        """Whether containment rests on a media server."""
        return self.pause_on(server) is not None

    def silence_on(self, ref: StreamRef) -> SilenceRecord | None:
        """Return the silence over a stream, of several the one that ends last."""
        return _last(one for one in self._of(SilenceKind.SILENCE) if _covers(one, ref))

    async def wait_a_little(self) -> None:
        """Wait until something changes, at most a second; cancellation ends the wait at once."""
        await wait_until(self._clock, self._changed, _LOOK_AGAIN_S)

    async def wait_for_next_end(self) -> None:
        """Wait until one of those in force may be over, or something else changes."""
        ends = [record.until for record in self._records]
        # Ends are in wall time, which can be set while the sleep goes on: look again now and then.
        delay_s = max(0.0, min(min(ends) - self._now(), 30.0)) if ends else None
        await wait_until(self._clock, self._changed, delay_s)

    def measure(self) -> None:
        """Bring the gauges up to date; call it now and then."""
        pauses = self._of(SilenceKind.PAUSE)
        PAUSED.set(bool(pauses))
        PAUSE_ENDS.set(max((record.until for record in pauses), default=0.0))
        SILENCES_ACTIVE.set(len(self._of(SilenceKind.SILENCE)))

    def _of(self, kind: SilenceKind) -> list[SilenceRecord]:
        return [record for record in self.active() if record.kind is kind]

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _last(records: Iterable[SilenceRecord]) -> SilenceRecord | None:
    return max(records, key=lambda record: record.until, default=None)


def _covers(record: SilenceRecord, ref: StreamRef) -> bool:
    if record.server not in (None, ref.server):
        return False
    pattern = record.pattern
    return pattern is None or fnmatchcase(f"{ref.app}/{ref.name}", pattern) or fnmatchcase(ref.stream_id, pattern)
