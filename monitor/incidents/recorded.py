"""A recorded incident as a script: what happened on its stream, when, and how its effects ended.

Deadlines are left out, for they fire by themselves; outcomes are kept by kind of effect, so that the script can be played
through another protocol than the one that ran.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from monitor.errors import LivecordonError
from monitor.protocol.events import (
    DetectionCleared,
    DetectionRaised,
    Event,
    KnownContentMatched,
    PartnerAlerted,
    Reviewed,
    StreamEnded,
    StreamReturned,
    StrikesChanged,
    UserReported,
    ViewersChanged,
    WatchChanged,
)
from monitor.protocol.script import PlannedOutcome, Script, TimedEvent
from monitor.store.audit import AuditEntry
from monitor.vocabulary import (
    EffectKind,
    EffectOutcome,
    Freshness,
    PartnerSignal,
    ReviewDecision,
    ReviewReason,
    Severity,
)

_Values = Mapping[str, Any]

_EVENTS: Final[Mapping[str, Callable[[_Values], Event]]] = {
    "DetectionRaised": lambda at: DetectionRaised(at["label"], Severity.from_word(at["severity"]), at["score"]),
    "DetectionCleared": lambda at: DetectionCleared(at["label"], Severity.from_word(at["severity"])),
    # Older entries have no reason.
    "Reviewed": lambda at: Reviewed(
        ReviewDecision(at["decision"]), at["by"], at["why"], ReviewReason(at.get("reason", ReviewReason.OTHER.value))
    ),
    "StreamEnded": lambda _: StreamEnded(),
    "StreamReturned": lambda _: StreamReturned(),
    "WatchChanged": lambda at: WatchChanged(Freshness(at["freshness"])),
    "UserReported": lambda at: UserReported(at["category"]),
    "PartnerAlerted": lambda at: PartnerAlerted(at["partner"], PartnerSignal(at["signal"])),
    "KnownContentMatched": lambda at: KnownContentMatched(at["source"]),
    "ViewersChanged": lambda at: ViewersChanged(at["viewers"]),
    "StrikesChanged": lambda at: StrikesChanged(at["strikes"]),
}


def recorded_script(entries: Iterable[AuditEntry]) -> Script:
    """Return what the audit log holds of one incident, as a script that begins with it.

    Args:
        entries: Those of the incident, in order.

    Raises:
        LivecordonError: they are none of an incident, or of a version that wrote them otherwise.
    """
    began_at: float | None = None
    events: list[TimedEvent] = []
    asked_at: dict[str, float] = {}
    outcomes: dict[EffectKind, list[PlannedOutcome]] = {}
    for entry in entries:
        cause = entry.detail.get("caused_by") or (entry.detail if "event" in entry.detail else None)
        if cause is None:
            continue
        began_at = entry.at if began_at is None else began_at
        at_s = entry.at - began_at
        asked_at |= dict.fromkeys(entry.detail.get("effects", ()), at_s)
        try:
            if cause["event"] == "EffectFinished":
                took_s = max(0.0, at_s - asked_at.get(cause["key"], at_s))
                ended = PlannedOutcome(EffectOutcome(cause["outcome"]), took_s)
                outcomes.setdefault(EffectKind(cause["kind"]), []).append(ended)
            elif cause["event"] in _EVENTS:
                events.append(TimedEvent(at_s, _EVENTS[cause["event"]](cause)))
        except (KeyError, TypeError, ValueError) as error:
            message = f"entry {entry.number} of the audit log was written by another version, and cannot be played"
            raise LivecordonError(message, reason="unreadable_audit_entry") from error
    if not events:
        raise LivecordonError("the audit log holds no incident of this id", reason="unknown_incident")
    return Script(tuple(events), {kind: tuple(found) for kind, found in outcomes.items()}, "as recorded")
