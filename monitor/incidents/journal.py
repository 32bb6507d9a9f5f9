"""Decisions that were acted upon although the store did not take them; written, in order, when it does again.

An attack does not wait for a disk. While the store refuses, protocols go on in memory, deadlines fire, and what can be
done without rows is done: holding, cutting, barring at the gate, keeping evidence. What *is* rows waits: alerts, reviews,
lifted blocks. Should the daemon die before the store takes the journal, its decisions are forgotten, and only the log
tells of them; what they did to the world stays done.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.effects.decided import DecidedEffects
from monitor.errors import StoreError
from monitor.incidents.writing import Step, Written, is_written, write_step
from monitor.metrics import STORE_FAILURES, STORE_UNWRITTEN
from monitor.store import audit
from monitor.store.database import Database

MOST_NOTES: Final = 20_000
"""Steps beyond these are kept only where they changed something: a store that is away for days must not fill memory."""

AWAY: Final = frozenset({"disk_full", "locked", "corrupt", "read_only", "io_error", "open_failed", "unreachable"})
"""Reasons that say something about the store and nothing about what was to be written."""

log = structlog.get_logger()


class Journal:
    """The steps that wait for the store, oldest first."""

    def __init__(self, database: Database, decided: DecidedEffects) -> None:
        self._database = database
        self._decided = decided
        self._steps: deque[Step] = deque()
        self._streams: dict[str, int] = {}
        self._uncertain: set[int] = set()
        self._dropped = 0
        self._away = False
        self._writing = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._steps)

    def must_take(self, stream_id: str) -> bool:
        """Whether the next step of this stream cannot be written before what waits here."""
        return self._away or stream_id in self._streams

    def note(self, step: Step, refusal: StoreError | None) -> None:
        """Take a step that the store refused, or that must not overtake one."""
        if refusal is not None:
            STORE_FAILURES.inc()
            self._away = self._away or refusal.reason in AWAY
            if refusal.reason == "unreachable":
                # A connection that breaks at a commit does not tell whether it was one.
                self._uncertain.add(id(step))
        matters = step.decision.transitioned or step.decision.effects or step.ended is not None
        if len(self._steps) >= MOST_NOTES and not matters:
            self._dropped += 1
            return
        self._steps.append(step)
        record = step.incident.record
        self._streams[record.stream_id] = self._streams.get(record.stream_id, 0) + 1
        STORE_UNWRITTEN.set(len(self._steps))
        # The log is all that is left of this decision if the daemon dies now.
        log.error(
            "decision_not_stored",
            incident_id=record.id,
            stream_id=record.stream_id,
            before=step.decision.before,
            after=step.decision.after.state,
            reason=step.decision.reason.value,
            effects=[request.key for request in step.decision.effects],
            at=record.changed_at,
            store="waiting" if refusal is None else refusal.reason,
        )

    def has_effect(self, effect_id: str) -> bool:
        """Whether an effect was asked for by a step that waits here."""
        return any(effect_id in step.effect_ids for step in self._steps)

    def has_outcome(self, effect_id: str) -> bool:
        """Whether an effect has ended, and only the store does not know it yet."""
        return any(step.ended is not None and step.ended.effect_id == effect_id for step in self._steps)

    async def write(self, *, now: float) -> Sequence[Written]:
        """Write what waits: all in one transaction, or, where a stream's steps are refused, the other streams'.

        Returns:
            What was written, in order; empty when the store took nothing.

        Raises:
            StoreError: another daemon has taken over the store.
        """
        # Two at a time would write the same steps twice.
        async with self._writing:
            waiting = list(self._steps)
            if not waiting:
                return []
            written = await self._write(waiting, now=now)
            if written is None and not self._away and len(self._streams) > 1:
                parts = [await self._write(list(part), now=now) for part in _by_stream(waiting)]
                return [one for part in parts if part is not None for one in part]
            return written or []

    async def _write(self, steps: list[Step], *, now: float) -> list[Written] | None:
        async def work(connection: AsyncConnection) -> list[Written]:
            done = []
            for step in steps:
                if id(step) in self._uncertain and await is_written(connection, step):
                    continue
                written = await write_step(connection, self._decided, step, stored_at=now)
                if written is not None:
                    done.append(written)
            if len(steps) == len(self._steps):
                detail = {
                    "decisions": len(steps),
                    "dropped": self._dropped,
                    "since": steps[0].incident.record.changed_at,
                }
                await audit.append(
                    connection, at=now, actor="daemon", action="store_caught_up", incident_id=None, detail=detail
                )
            return done

        try:
            done = await self._database.write(work)
        except StoreError as error:
            if error.reason == "in_use":
                raise
            STORE_FAILURES.inc()
            self._away = error.reason in AWAY
            return None
        self._away = False
        self._forget(steps)
        log.warning("decisions_stored_late", decisions=len(steps), waiting=len(self._steps))
        return done

    def _forget(self, steps: Sequence[Step]) -> None:
        gone = {id(step) for step in steps}
        self._uncertain -= gone
        self._steps = deque(step for step in self._steps if id(step) not in gone)
        self._streams = {}
        for step in self._steps:
            stream_id = step.incident.record.stream_id
            self._streams[stream_id] = self._streams.get(stream_id, 0) + 1
        if not self._steps:
            self._dropped = 0
        STORE_UNWRITTEN.set(len(self._steps))


def _by_stream(steps: Sequence[Step]) -> Iterator[Sequence[Step]]:
    parts: dict[str, list[Step]] = {}
    for step in steps:
        parts.setdefault(step.incident.record.stream_id, []).append(step)
    return iter(parts.values())
