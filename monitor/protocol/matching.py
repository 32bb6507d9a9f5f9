"""Whether an event pulls a trigger, and whether a guard holds."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.protocol.decision import IncidentState, Reason
from monitor.protocol.definition import (
    AllOf,
    AnyOf,
    Guard,
    LabelDetected,
    MaxSeverityAtLeast,
    Not,
    OnDetection,
    OnEased,
    OnEffect,
    OnKnownContent,
    OnPartner,
    OnReport,
    OnReview,
    OnStream,
    OnStrikes,
    OnViewers,
    OnWatched,
    ReportsAtLeast,
    ServerCan,
    SeverityAtLeast,
    StreamChange,
    StrikesAtLeast,
    Trigger,
    ViewersAtLeast,
)
from monitor.protocol.events import (
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
from monitor.vocabulary import EffectOutcome, Freshness, PartnerSignal, ReviewDecision, Severity

_EFFECT_REASONS: Mapping[EffectOutcome, Reason] = {
    EffectOutcome.SUCCEEDED: Reason.EFFECT_SUCCEEDED,
    EffectOutcome.FAILED: Reason.EFFECT_FAILED,
    EffectOutcome.UNVERIFIED: Reason.EFFECT_UNVERIFIED,
    EffectOutcome.UNSUPPORTED: Reason.EFFECT_UNSUPPORTED,
}

_REVIEW_REASONS: Mapping[ReviewDecision, Reason] = {
    ReviewDecision.CONFIRM: Reason.REVIEW_CONFIRMED,
    ReviewDecision.DISMISS: Reason.REVIEW_DISMISSED,
    ReviewDecision.ESCALATE: Reason.REVIEW_ESCALATED,
    ReviewDecision.RELEASE: Reason.REVIEW_RELEASED,
}

_WATCH_REASONS: Mapping[Freshness, Reason] = {
    Freshness.FRESH: Reason.WATCHED_FRESH,
    Freshness.LATE: Reason.WATCHED_LATE,
    Freshness.BLIND: Reason.WATCHED_BLIND,
}

_PARTNER_REASONS: Mapping[PartnerSignal, Reason] = {
    PartnerSignal.RAISED: Reason.PARTNER_ALERTED,
    PartnerSignal.WITHDRAWN: Reason.PARTNER_WITHDREW,
}


def matched(  # noqa: C901, PLR0911, PLR0912 - one per trigger
    trigger: Trigger, event: Event, before: IncidentState, incident: IncidentState
) -> Reason | None:
    """Return why `event` pulls `trigger`, or None if it does not; deadlines are not looked at here.

    Args:
        trigger: What a transition waits for.
        event: What happened.
        before: The incident before it.
        incident: The incident with what the event says about the stream.
    """
    match trigger, event:
        case OnDetection(wanted, label), DetectionRaised(raised, severity):
            if Severity.NONE < wanted <= severity and label in (None, raised):
                return Reason.DETECTION_RAISED
        case OnDetection(Severity.NONE, label), DetectionCleared(cleared, severity):
            if severity is Severity.NONE and (
                incident.severity is Severity.NONE if label is None else label == cleared
            ):
                return Reason.DETECTION_CLEARED
        case OnEased(label), DetectionCleared():
            if _severity_of(label, incident) < Severity.ACT <= _severity_of(label, before):
                return Reason.DETECTION_EASED
        case OnReview(wanted), Reviewed(decision, _, _):
            if decision is wanted:
                return _REVIEW_REASONS[decision]
        case OnEffect(wanted, outcomes, late), EffectFinished(key, kind, outcome):
            if kind is wanted and outcome in outcomes and (late or _is_newest(key, incident.asked.get(kind))):
                return _EFFECT_REASONS[outcome]
        case OnStream(StreamChange.ENDED), StreamEnded():
            return Reason.STREAM_ENDED
        case OnStream(StreamChange.RETURNED), StreamReturned():
            return Reason.STREAM_RETURNED
        case OnWatched(wanted), WatchChanged(freshness):
            if freshness is wanted:
                return _WATCH_REASONS[freshness]
        case OnReport(wanted), UserReported(category):
            if wanted in (None, category):
                return Reason.USER_REPORTED
        case OnPartner(wanted), PartnerAlerted(_, signal):
            if signal is wanted:
                return _PARTNER_REASONS[signal]
        case OnKnownContent(wanted), KnownContentMatched(source):
            if wanted in (None, source):
                return Reason.KNOWN_CONTENT_MATCHED
        case OnViewers(count), ViewersChanged(viewers):
            if before.viewers < count <= viewers:
                return Reason.VIEWERS_ROSE
        case OnStrikes(count), StrikesChanged(strikes):
            if before.strikes < count <= strikes:
                return Reason.STRIKES_ROSE
        case _:
            pass
    return None


def _severity_of(label: str | None, incident: IncidentState) -> Severity:
    return incident.severity if label is None else incident.severities.get(label, Severity.NONE)


def _is_newest(key: str, newest: int | None) -> bool:
    """Whether the request of this key was made by the decision that last asked for its kind."""
    # An incident from before this was remembered takes every outcome for the newest.
    return newest is None or key.partition(".")[0] == str(newest)


def holds(guard: Guard | None, incident: IncidentState) -> bool:  # noqa: C901, PLR0911 - one per word
    """Whether a guard holds now; None always does."""
    match guard:
        case None:
            return True
        case SeverityAtLeast(severity):
            return incident.severity >= severity
        case MaxSeverityAtLeast(severity):
            return incident.max_severity >= severity
        case LabelDetected(label):
            return label in incident.severities
        case StrikesAtLeast(count):
            return incident.strikes >= count
        case ViewersAtLeast(count):
            return incident.viewers >= count
        case ReportsAtLeast(count):
            return incident.reports >= count
        case ServerCan():
            # Where the server can, binding has put something else in its place.
            return False
        case AllOf(guards):
            return all(holds(inner, incident) for inner in guards)
        case AnyOf(guards):
            return any(holds(inner, incident) for inner in guards)
        case Not(inner):
            return not holds(inner, incident)
