"""Events about the work on incidents, for receivers that ask for them: reviews, effects that failed, streams that are not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.alerts.events import compose_effect_failed, compose_review, compose_watch
from monitor.daemon.alerting import Alerting
from monitor.protocol.decision import Reason
from monitor.protocol.events import EffectFinished, Event, Reviewed, WatchChanged
from monitor.store.deliveries import OutgoingEvent, enqueue
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectKind, EffectOutcome, Freshness

_IDS: Final = UUID("6a7f4b7e-0f0c-5f1f-9a55-94c8b3d1f2aa")
_NOT_TAKEN: Final = frozenset({Reason.NO_TRANSITION, Reason.ALREADY_CLOSED, Reason.REVIEW_REPEATED})


@dataclass(frozen=True, slots=True)
class WorkAlerts:
    """Implements `monitor.effects.decided.WorkQueue`."""

    alerting: Alerting

    async def tell(
        self,
        connection: AsyncConnection,
        incident: IncidentRecord,
        event: Event,
        effects: Sequence[EffectRecord],
        reason: Reason,
    ) -> None:
        """Write what one decision is to tell; see the port. A silence keeps all of it back."""
        restraints = self.alerting.restraints
        if restraints is not None and restraints.silence_on(incident.ref) is not None:
            return
        if any(effect.kind is EffectKind.REQUEST_REVIEW for effect in effects):
            await self._send(connection, "review_requested", incident, event, reason)
        match event:
            case Reviewed() if reason not in _NOT_TAKEN:
                await self._send(connection, "review_decided", incident, event, reason)
            case EffectFinished(outcome=outcome) if outcome is not EffectOutcome.SUCCEEDED:
                await self._send(connection, "effect_failed", incident, event, reason)
            case WatchChanged(freshness=Freshness.BLIND):
                await self._send(connection, "watch_blind", incident, event, reason)
            case WatchChanged(freshness=Freshness.FRESH):
                await self._send(connection, "watch_restored", incident, event, reason)
            case _:
                pass

    async def _send(
        self, connection: AsyncConnection, word: str, incident: IncidentRecord, event: Event, reason: Reason
    ) -> None:
        if receivers := self.alerting.asking_for(word):
            composed = self._compose(word, incident, event, reason)
            await enqueue(connection, composed, receivers, at=incident.changed_at)

    def _compose(self, word: str, incident: IncidentRecord, event: Event, reason: Reason) -> OutgoingEvent:
        snapshot, source = self.alerting.snapshot(incident, reason), self.alerting.source
        key = event.key if isinstance(event, EffectFinished) else ""
        # The same decision, written again, is the same event.
        event_id = str(uuid5(_IDS, f"{incident.id}/{word}/{incident.sequence}/{incident.changed_at}/{key}"))
        match word, event:
            case "effect_failed", EffectFinished(kind=kind, outcome=outcome):
                return compose_effect_failed(snapshot, kind, outcome, source=source, event_id=event_id)
            case "review_decided", Reviewed():
                return compose_review("decided", snapshot, source=source, event_id=event_id, decision=event)
            case "watch_blind", _:
                return compose_watch("blind", snapshot, source=source, event_id=event_id)
            case "watch_restored", _:
                return compose_watch("restored", snapshot, source=source, event_id=event_id)
            case _:
                return compose_review("requested", snapshot, source=source, event_id=event_id)
