"""Which effects of an incident wait for each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Final

from monitor.store.effects import EffectRecord
from monitor.vocabulary import EffectKind


class Lane(StrEnum):
    """Effects of one incident in one lane run one after the other; lanes run side by side.

    Evidence must not delay containment, and neither may delay telling people.
    """

    CONTAINMENT = "containment"
    EVIDENCE = "evidence"
    PEOPLE = "people"


LANES: Final[Mapping[EffectKind, Lane]] = {
    EffectKind.BLOCK: Lane.CONTAINMENT,
    EffectKind.HOLD: Lane.CONTAINMENT,
    EffectKind.RELEASE: Lane.CONTAINMENT,
    EffectKind.CUT: Lane.CONTAINMENT,
    EffectKind.UNBLOCK: Lane.CONTAINMENT,
    EffectKind.PRESERVE: Lane.EVIDENCE,
    EffectKind.ALERT: Lane.PEOPLE,
    EffectKind.REQUEST_REVIEW: Lane.PEOPLE,
    EffectKind.SHARE: Lane.PEOPLE,
}


def beginning(effects: Sequence[EffectRecord], *, at: float) -> list[EffectRecord]:
    """Return a new incident's effects with those noted as begun that nothing is in front of.

    Written so together with the decision, they can be begun at once: the disk has been waited for already.
    """
    lanes: set[Lane] = set()
    noted = []
    for effect in effects:
        lane = LANES[effect.kind]
        noted.append(effect if lane in lanes else replace(effect, attempts=1, started_at=at))
        lanes.add(lane)
    return noted
