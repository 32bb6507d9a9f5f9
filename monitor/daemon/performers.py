"""Who carries out which effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from monitor.clock import Clock
from monitor.config.models import Config
from monitor.daemon.containment import Containment
from monitor.daemon.people import People
from monitor.effects.committed import CommittedPerformer, UnsupportedPerformer
from monitor.effects.cut import CutPerformer, CutSettings
from monitor.effects.hold import HoldPerformer
from monitor.effects.port import Performer
from monitor.effects.preserve import EvidenceSource, PreservePerformer, VideoSource
from monitor.incidents.engine import IncidentEngine
from monitor.servers.port import MediaServer
from monitor.vocabulary import EffectKind


class Evidence(EvidenceSource, VideoSource, Protocol):
    """Whoever hands over a stream's last minute, as frames and as video."""


def performers_of(
    config: Config,
    servers: Mapping[str, MediaServer],
    clock: Clock,
    engine: IncidentEngine,
    people: People,
    *,
    evidence: Evidence,
    containment: Containment,
) -> dict[EffectKind, Performer]:
    """Return a performer for each kind of effect; those that contain rest while containment is paused.

    Args:
        config: How hard they try, and where evidence goes.
        servers: Media servers by configured name; filled by the time of the first effect.
        clock: For deadlines.
        engine: Asked whether an effect is still wanted.
        people: Knows of pauses.
        evidence: Asked for a stream's last minute.
        containment: The operator's own means; hears of what was done.
    """
    deadline_s = config.effects.cut_deadline
    committed = CommittedPerformer()
    holding = HoldPerformer(
        servers,
        deadline_s,
        clock,
        is_wanted=engine.is_wanted,
        on_moved=containment.on_moved,
        remains=containment.remains,
    )
    cutting = CutPerformer(
        servers,
        CutSettings(deadline_s),
        clock,
        is_wanted=engine.is_wanted,
        on_cut=containment.on_cut,
        last_resort=containment.last_resort,
        remains=containment.remains,
    )
    return {
        EffectKind.ALERT: committed,
        EffectKind.REQUEST_REVIEW: committed,
        EffectKind.BLOCK: people.pausable(committed),
        EffectKind.UNBLOCK: committed,
        EffectKind.HOLD: people.pausable(holding),
        EffectKind.RELEASE: holding,
        EffectKind.SHARE: UnsupportedPerformer("no_partners"),
        EffectKind.CUT: people.pausable(cutting),
        EffectKind.PRESERVE: PreservePerformer(evidence, config.evidence_directory, clock, videos=evidence),
    }
