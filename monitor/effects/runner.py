"""Takes pending effects from the store, carries them out, and reports how they ended."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor import faults
from monitor.clock import Clock, wait_until
from monitor.effects.lanes import LANES, Lane
from monitor.effects.port import EffectResult, Performer
from monitor.errors import LivecordonError, StoreError
from monitor.metrics import EFFECTS, STORE_FAILURES
from monitor.store import effects as effect_rows
from monitor.store import incidents as incident_rows
from monitor.store.database import Database
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectKind, EffectOutcome

_STORE_RETRY_S = 1.0
_ENDS_REMEMBERED = 1_000
_BEGINS = frozenset({EffectKind.PRESERVE, EffectKind.CUT, EffectKind.UNBLOCK, EffectKind.HOLD, EffectKind.RELEASE})
_ENDS = frozenset({EffectKind.CUT, EffectKind.HOLD, EffectKind.RELEASE})

log = structlog.get_logger()

OnFinished = Callable[[EffectRecord, EffectResult], Awaitable[None]]


class Incidents(Protocol):
    """What the runner asks of the engine while the store refuses."""

    def record_of(self, incident_id: str) -> IncidentRecord | None:
        """Return the row of an incident under way, from memory."""
        ...

    def has_ended(self, effect_id: str) -> bool:
        """Whether an effect has ended, and only the store does not know it yet."""
        ...


class EffectRunner:
    """Runs every pending effect once, in order within its lane, whatever was running when the daemon last stopped."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        performers: Mapping[EffectKind, Performer],
        on_finished: OnFinished,
        incidents: Incidents,
    ) -> None:
        """Run effects with `performers`.

        Args:
            database: Holds the effects.
            clock: For attempts and retries.
            performers: Who carries each kind out.
            on_finished: Must keep the outcome before it returns.
            incidents: Asked where the store does not answer.
        """
        self._database = database
        self._clock = clock
        self._performers = performers
        self._on_finished = on_finished
        self._incidents = incidents
        self._handed: deque[EffectRecord] = deque()
        self._rowless: set[str] = set()
        self._taken: deque[tuple[EffectRecord, IncidentRecord]] = deque()
        self._begun: dict[str, IncidentRecord] = {}
        self._ended: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._known: set[str] = set()
        self._queues: dict[tuple[str, Lane], deque[EffectRecord]] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    def wake(self) -> None:
        """Look for new effects at once; call it after a transaction that wrote some."""
        self._wake.set()

    def take(self, effects: Sequence[EffectRecord], incident: IncidentRecord) -> None:
        """Carry out effects that were committed just now, without looking for them.

        Args:
            effects: As their rows are. One that its row says is begun is not noted as begun once more, if nothing is in
                front of it.
            incident: As it stands.
        """
        self._taken.extend((effect, incident) for effect in effects)
        self._wake.set()

    def hand(self, effects: Sequence[EffectRecord]) -> None:
        """Carry out effects that the store has not taken, and will take later under the same ids."""
        self._handed.extend(effects)
        self._wake.set()

    async def idle(self) -> None:
        """Wait until nothing is being carried out; cancellation ends the wait at once."""
        await self._idle.wait()

    async def run(self) -> None:
        """Run until cancelled; effects in the middle of being carried out stay pending in the store."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                retry_s = None
                self._take_handed(group)
                try:
                    await self._take_up(group)
                except StoreError:
                    STORE_FAILURES.inc()
                    log.exception("effects_not_readable")
                    retry_s = _STORE_RETRY_S
                await wait_until(self._clock, self._wake, retry_s)

    def _take_handed(self, group: asyncio.TaskGroup) -> None:
        while self._taken:
            effect, incident = self._taken.popleft()
            if effect.id in self._ended:
                continue
            if effect.attempts and (effect.incident_id, LANES[effect.kind]) not in self._queues:
                self._begun[effect.id] = incident
            self._enqueue(effect, group)
        while self._handed:
            effect = self._handed.popleft()
            self._rowless.add(effect.id)
            self._enqueue(effect, group)

    async def _take_up(self, group: asyncio.TaskGroup) -> None:
        async with self._database.reading() as connection:
            pending = await effect_rows.unfinished(connection)
        for effect in pending:
            if not self._incidents.has_ended(effect.id):
                self._enqueue(effect, group)

    def _enqueue(self, effect: EffectRecord, group: asyncio.TaskGroup) -> None:
        if effect.id in self._known:
            return
        self._known.add(effect.id)
        lane = (effect.incident_id, LANES[effect.kind])
        if lane in self._queues:
            self._queues[lane].append(effect)
        else:
            self._queues[lane] = deque([effect])
            self._idle.clear()
            group.create_task(self._drain(lane))

    async def _drain(self, lane: tuple[str, Lane]) -> None:
        queue = self._queues[lane]
        while queue:
            effect = queue.popleft()
            await self._run_one(effect)
            self._known.discard(effect.id)
            self._remember_end_of(effect.id)
            self._rowless.discard(effect.id)
        del self._queues[lane]
        if not self._queues:
            self._idle.set()

    def _remember_end_of(self, effect_id: str) -> None:
        # A look into the store may have found an effect before it was taken: it must not be done again.
        self._ended[effect_id] = None
        if len(self._ended) > _ENDS_REMEMBERED:
            del self._ended[next(iter(self._ended))]

    async def _run_one(self, effect: EffectRecord) -> None:
        result: EffectResult | None = None
        while True:
            try:
                result = result or await self._perform(effect)
                if result is None:
                    return
                await self._on_finished(effect, result)
                if effect.kind is EffectKind.BLOCK:
                    faults.reach("block_ended")
            except Exception as error:
                # The effect may be done already; only its record is missing. Keep the result and write it later.
                if isinstance(error, StoreError):
                    STORE_FAILURES.inc()
                log.exception("effect_outcome_not_stored", effect=effect.kind.value, incident_id=effect.incident_id)
                await self._clock.sleep(_STORE_RETRY_S)
            else:
                break
        if not result.detail.get("drill"):
            # Taken back before it was done: nobody has to be woken for that.
            withdrawn = result.detail.get("reason") == "withdrawn"
            EFFECTS.labels(effect.kind.value, "withdrawn" if withdrawn else result.outcome.value).inc()
        log.info(
            "effect_finished",
            effect=effect.kind.value,
            incident_id=effect.incident_id,
            outcome=result.outcome.value,
            detail=dict(result.detail),
        )

    async def _perform(self, effect: EffectRecord) -> EffectResult | None:
        begun, incident = await self._begin(effect)
        if not begun:
            # It ended between the look at the pending effects and now.
            return None
        if incident is None:
            return EffectResult(EffectOutcome.FAILED, {"reason": "incident_missing"})
        performer = self._performers.get(effect.kind)
        if performer is None:
            return EffectResult(EffectOutcome.FAILED, {"reason": "no_performer"})
        if effect.kind in _BEGINS:
            faults.reach(f"{effect.kind.value}_begun")
        try:
            result = await performer.perform(effect, incident)
        except StoreError:
            raise
        except LivecordonError as error:
            log.warning("effect_failed", effect=effect.kind.value, incident_id=incident.id, reason=error.reason)
            return EffectResult(EffectOutcome.FAILED, {"reason": error.reason})
        except Exception:
            # A defect in one performer must neither stop the others nor leave this effect without an outcome.
            log.exception("effect_crashed", effect=effect.kind.value, incident_id=incident.id)
            return EffectResult(EffectOutcome.FAILED, {"reason": "internal_error"})
        if effect.kind in _ENDS:
            faults.reach(f"{effect.kind.value}_done")
        return result

    async def _begin(self, effect: EffectRecord) -> tuple[bool, IncidentRecord | None]:
        """Note that an attempt begins; returns whether it may, and the incident as it stands."""
        if (begun := self._begun.pop(effect.id, None)) is not None:
            return True, begun
        if effect.id in self._rowless:
            return True, self._incidents.record_of(effect.incident_id)

        async def work(connection: AsyncConnection) -> tuple[bool, IncidentRecord | None]:
            if not await effect_rows.begin(connection, effect.id, at=self._clock.now().timestamp()):
                return False, None
            return True, await incident_rows.load(connection, effect.incident_id)

        faults.reach("effect_taken_up")
        try:
            return await self._database.write(work)
        except StoreError as error:
            incident = self._incidents.record_of(effect.incident_id)
            if incident is None or error.reason == "in_use":
                raise
            # An attack does not wait for the disk; only the attempt goes unnoted.
            STORE_FAILURES.inc()
            log.warning("attempt_not_stored", effect=effect.kind.value, incident_id=incident.id, reason=error.reason)
            return True, incident
