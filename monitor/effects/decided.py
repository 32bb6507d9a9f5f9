"""What effects write in the very transaction of the decision that asked for them.

A block, a lifted block, an alert in the outbox and a review's due time are rows: committed together with the
transition, none of them can be lost or done twice, whatever dies afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.protocol.decision import Reason
from monitor.store import blocks
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectKind

DEFAULT_BLOCK_S = 30 * 86_400.0
"""One strike: 30 days from the decision, where the protocol says nothing else."""


class AlertQueue(Protocol):
    """Where alerts wait for delivery."""

    async def enqueue(
        self, connection: AsyncConnection, effect: EffectRecord, incident: IncidentRecord, reason: Reason
    ) -> None:
        """Write one delivery row per receiver, with the incident's full current state, in the caller's transaction."""
        ...


@dataclass(frozen=True, slots=True)
class DecidedEffects:
    """Writes the rows of an effect at decision time.

    Attributes:
        alerts: Takes alerts.
        cut_guard_s: How long a cut keeps the publisher out by itself, so that the encoder cannot be back before the
            cut is verified; a longer block is the protocol's to ask for.
    """

    alerts: AlertQueue
    cut_guard_s: float

    async def write(
        self, connection: AsyncConnection, effect: EffectRecord, incident: IncidentRecord, reason: Reason
    ) -> IncidentRecord:
        """Write `effect`'s rows; returns the incident, changed where the effect changes it (a review's due time)."""
        at = effect.requested_at
        why = f"protocol {incident.protocol}"
        match effect.kind:
            case EffectKind.BLOCK if not incident.dry_run:
                until = at + float(effect.parameters.get("for_s") or DEFAULT_BLOCK_S)
                await self._block(connection, effect, incident, until=until, why=why)
            case EffectKind.CUT if not incident.dry_run:
                guard_s = max(self.cut_guard_s, float(effect.parameters.get("for_s") or 0.0))
                if await blocks.blocked_until(connection, incident.ref, at=at) < at + guard_s:
                    await self._block(connection, effect, incident, until=at + guard_s, why=f"{why}: while it is cut")
            case EffectKind.UNBLOCK if not incident.dry_run:
                await blocks.lift_of_incident(connection, incident.id, at=at, by="protocol", why=why)
            case EffectKind.ALERT:
                await self.alerts.enqueue(connection, effect, incident, reason)
            case EffectKind.REQUEST_REVIEW:
                within_s = effect.parameters.get("within_s")
                due_at = at + float(within_s) if within_s is not None else None
                return replace(incident, review_due_at=due_at)
            case _:
                pass
        return incident

    async def _block(
        self, connection: AsyncConnection, effect: EffectRecord, incident: IncidentRecord, *, until: float, why: str
    ) -> None:
        await blocks.add(
            connection,
            incident.ref,
            at=effect.requested_at,
            until=until,
            by="protocol",
            why=why,
            incident_id=incident.id,
            effect_id=effect.id,
        )
