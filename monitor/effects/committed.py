"""Effects that were done in the transaction of their decision: block, unblock, alert and request_review.

Nothing is left to do for them in the world; performing them only reports what the transaction wrote, so that a
protocol sees every effect end in the same way.
"""

from __future__ import annotations

from monitor.effects.port import EffectResult
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectKind, EffectOutcome


class UnsupportedPerformer:
    """Says of every effect that this installation has no way to carry it out."""

    def __init__(self, reason: str) -> None:
        """Give `reason`, a static word, with every outcome."""
        self._reason = reason

    async def perform(self, effect: EffectRecord, incident: IncidentRecord) -> EffectResult:
        """Return ``unsupported`` at once; see `Performer.perform`."""
        if incident.dry_run:
            return EffectResult(EffectOutcome.SUCCEEDED, {"dry_run": True})
        return EffectResult(EffectOutcome.UNSUPPORTED, {"reason": self._reason, "effect": effect.kind.value})


class CommittedPerformer:
    """Reports success of an effect whose whole work was committed with its decision."""

    async def perform(self, effect: EffectRecord, incident: IncidentRecord) -> EffectResult:
        """Return success at once; see `Performer.perform`."""
        dry = incident.dry_run and effect.kind in (EffectKind.BLOCK, EffectKind.UNBLOCK)
        return EffectResult(EffectOutcome.SUCCEEDED, {"dry_run": True} if dry else {})
