"""What carries an effect out: one performer per kind, each in a module of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectOutcome

DetailValue = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class EffectResult:
    """How an effect ended. `detail` is kept, shown and audited: JSON values without names, addresses or keys."""

    outcome: EffectOutcome
    detail: Mapping[str, DetailValue] = field(default_factory=dict)


class Performer(Protocol):
    """Carries out one kind of effect."""

    async def perform(self, effect: EffectRecord, incident: IncidentRecord) -> EffectResult:
        """Do it, however often it was begun before: a crash in the middle means a second call with the same effect.

        Cancellation leaves the effect pending; it is taken up again at the next start.

        Raises:
            LivecordonError: it failed; the runner turns this into `EffectOutcome.FAILED` with the error's reason.
        """
        ...
