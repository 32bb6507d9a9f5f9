"""What the audit log holds of an incident: as a script for another protocol, or as the state that it was left in.

In a script, deadlines are left out, for they fire by themselves; outcomes are kept by kind of effect, so that the script can be
played through another protocol than the one that ran. The state is that of the same protocol, event by event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from monitor.errors import LivecordonError
from monitor.protocol.decision import IncidentState
from monitor.protocol.definition import Definition
from monitor.protocol.events import (
    DeadlinePassed,
    DetectionCleared,
    DetectionRaised,
    EffectFinished,
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
from monitor.protocol.step import begin, step
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
    # Older entries name no threshold.
    "DetectionRaised": lambda at: DetectionRaised(
        at["label"], Severity.from_word(at["severity"]), at["score"], at.get("threshold")
    ),
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
    "DeadlinePassed": lambda at: DeadlinePassed(at["key"]),
    "EffectFinished": lambda at: EffectFinished(at["key"], EffectKind(at["kind"]), EffectOutcome(at["outcome"])),
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
    for entry, event in _events(entries):
        began_at = entry.at if began_at is None else began_at
        at_s = entry.at - began_at
        asked_at |= dict.fromkeys(entry.detail.get("effects", ()), at_s)
        match event:
            case EffectFinished(key, kind, outcome):
                took_s = max(0.0, at_s - asked_at.get(key, at_s))
                outcomes.setdefault(kind, []).append(PlannedOutcome(outcome, took_s))
            case DeadlinePassed():
                pass
            case _:
                events.append(TimedEvent(at_s, event))
    if not events:
        raise _nothing_recorded()
    return Script(tuple(events), {kind: tuple(found) for kind, found in outcomes.items()}, "as recorded")


def recorded_state(definition: Definition, entries: Iterable[AuditEntry]) -> IncidentState:
    """Return the state in which the audit log says that an incident is: each of its events, stepped again.

    Args:
        definition: The one that the incident began under.
        entries: Those of the incident, in order.

    Raises:
        LivecordonError: they are none of an incident, or of a version that wrote them otherwise.
    """
    state: IncidentState | None = None
    for entry, event in _events(entries):
        if state is None:
            known = entry.detail.get("known", {})
            strikes, viewers = known.get("strikes", 0), known.get("viewers", 0)
            state = begin(definition, entry.at, strikes=strikes, viewers=viewers, event=event)
        state = step(definition, state, event, entry.at).after
    if state is None:
        raise _nothing_recorded()
    return state


def _events(entries: Iterable[AuditEntry]) -> Iterator[tuple[AuditEntry, Event]]:
    for entry in entries:
        cause = entry.detail.get("caused_by") or (entry.detail if "event" in entry.detail else None)
        if cause is None or cause["event"] not in _EVENTS:
            continue
        try:
            event = _EVENTS[cause["event"]](cause)
        except (KeyError, TypeError, ValueError) as error:
            message = f"entry {entry.number} of the audit log was written by another version, and cannot be played"
            raise LivecordonError(message, reason="unreadable_audit_entry") from error
        yield entry, event


def _nothing_recorded() -> LivecordonError:
    return LivecordonError("the audit log holds no incident of this id", reason="unknown_incident")
