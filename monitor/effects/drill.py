"""Effects of a drill: people are asked and alerts go out, marked; nothing is done to the stream, its publisher or its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from monitor.effects.port import EffectResult, Performer
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectKind, EffectOutcome

TELLS: Final = frozenset({EffectKind.ALERT, EffectKind.REQUEST_REVIEW})
"""Effects that a drill truly carries out. Alerts say of themselves that they belong to one."""


class DrillPerformer:
    """Hands an effect on unless its incident is a drill; of a drill's, only those that tell people."""

    def __init__(self, inner: Performer) -> None:
        """Have real incidents' effects carried out by `inner`."""
        self._inner = inner

    async def perform(self, effect: EffectRecord, incident: IncidentRecord) -> EffectResult:
        """Carry it out, or in a drill count it as done; see `Performer.perform`."""
        if not incident.drill:
            return await self._inner.perform(effect, incident)
        if effect.kind not in TELLS:
            # Evidence, too: nobody's pictures are kept for an exercise.
            return EffectResult(EffectOutcome.SUCCEEDED, {"dry_run": True, "drill": True})
        result = await self._inner.perform(effect, incident)
        return replace(result, detail={**result.detail, "drill": True})


def sparing_drills(performers: Mapping[EffectKind, Performer]) -> dict[EffectKind, Performer]:
    """Return performers that do nothing to the world for incidents that are drills."""
    return {kind: DrillPerformer(performer) for kind, performer in performers.items()}
