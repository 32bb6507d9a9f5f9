"""Effects that rest while containment is paused, and are done afterwards if their protocol still wants them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from monitor.clock import Clock
from monitor.effects.port import EffectResult, Performer
from monitor.effects.restraint import Restraints
from monitor.errors import StoreError
from monitor.metrics import EFFECTS_PAUSED, STORE_FAILURES
from monitor.store import audit
from monitor.store import effects as effect_rows
from monitor.store.database import Database
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.store.silences import SilenceRecord
from monitor.vocabulary import EffectOutcome

log = structlog.get_logger()


class PausablePerformer:
    """Holds another performer back during a pause.

    The effect stays pending meanwhile, marked as paused, over restarts too. Its protocol is told nothing: its deadlines go
    on, and where they bring up that nothing was contained, people are told so, which is true. An effect that is
    withdrawn, replaced by a newer request, or whose incident is closed meanwhile, is not done at all.
    """

    def __init__(
        self,
        inner: Performer,
        restraints: Restraints,
        database: Database,
        clock: Clock,
        *,
        is_wanted: Callable[[EffectRecord], Awaitable[bool]],
        make_up: Callable[[EffectRecord, IncidentRecord], Awaitable[None]],
    ) -> None:
        """Hold `inner` back.

        Args:
            inner: Carries the effect out.
            restraints: Say whether containment is paused.
            database: Takes the mark and the audit log's row.
            clock: For their times.
            is_wanted: Whether the effect's incident still wants it.
            make_up: Writes, after a pause, the rows that the decision did not write because of it: blocks.
        """
        self._inner = inner
        self._restraints = restraints
        self._database = database
        self._clock = clock
        self._is_wanted = is_wanted
        self._make_up = make_up

    async def perform(self, effect: EffectRecord, incident: IncidentRecord) -> EffectResult:
        """Wait for the end of a pause, then do it; see `Performer.perform`."""
        marked = bool((effect.detail or {}).get("paused"))
        pause = self._restraints.pause_on(incident.server)
        if incident.dry_run or (pause is None and not marked):
            return await self._inner.perform(effect, incident)
        if pause is not None:
            await self._mark(effect, incident, pause, new=not marked)
            EFFECTS_PAUSED.inc()
            try:
                while self._restraints.is_paused(incident.server) and await self._still_wanted(effect):
                    await self._restraints.wait_a_little()
            finally:
                EFFECTS_PAUSED.dec()
        if not await self._still_wanted(effect):
            return EffectResult(EffectOutcome.FAILED, {"reason": "withdrawn", "paused": True})
        log.info("effect_resumed", effect=effect.kind.value, incident_id=incident.id)
        await self._make_up(effect, incident)
        result = await self._inner.perform(effect, incident)
        return EffectResult(result.outcome, {**result.detail, "paused": True})

    async def _still_wanted(self, effect: EffectRecord) -> bool:
        try:
            return await self._is_wanted(effect)
        except StoreError:
            return True

    async def _mark(self, effect: EffectRecord, incident: IncidentRecord, pause: SilenceRecord, *, new: bool) -> None:
        log.warning("effect_paused", effect=effect.kind.value, incident_id=incident.id, until=pause.until)
        if not new:
            return
        try:
            async with self._database.transaction() as connection:
                if not await effect_rows.mark(connection, effect.id, {"paused": True, "until": pause.until}):
                    return
                await audit.append(
                    connection,
                    at=self._clock.now().timestamp(),
                    actor="daemon",
                    action="effect_paused",
                    incident_id=incident.id,
                    detail={"effect": effect.key, "pause": pause.id, "by": pause.owner, "until": pause.until},
                )
        except StoreError:
            # It rests all the same; only the mark is missing.
            STORE_FAILURES.inc()
            log.exception("paused_effect_not_stored", effect=effect.kind.value, incident_id=incident.id)
