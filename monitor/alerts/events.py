"""Composes alerts: CloudEvents 1.0 in JSON, from an incident's full current state.

The contract with receivers is `monitor.alerts.event_models`; ``python -m monitor.alerts.events > docs/events.schema.json``
writes its schema. Only this module knows the CloudEvents library, whose interface may still change.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import quote
from uuid import uuid4

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pydantic import BaseModel

from monitor.alerts.envelope import MAX_LABEL, MAX_STREAM_NAME, SEQUENCE_DIGITS, IncidentData, PolicyData
from monitor.alerts.event_models import schema_json
from monitor.alerts.work_events import EffectData, ReceiptData, ReceiverData, ReviewData
from monitor.policies import Policy
from monitor.protocol.decision import Reason
from monitor.protocol.events import Reviewed
from monitor.store.deliveries import OutgoingEvent, Priority
from monitor.vocabulary import AlertEvent, EffectKind, EffectOutcome, Severity

CONTENT_TYPE: Final = JSONFormat.CONTENT_TYPE
"""Media type of every alert's body."""

TYPE_PREFIX: Final = "livecordon.incident."
RECEIVER_DISABLED_TYPE: Final = "livecordon.receiver.disabled"
RECEIPT_TYPE: Final = "livecordon.partner.receipt"
_MAX_BY: Final = 200
_MAX_WHY: Final = 2000
_REFERENCE_CHARACTERS: Final = "/:?#[]@!$&'()*+,;=%-._~"


@dataclass(frozen=True, slots=True)
class IncidentSnapshot:
    """An incident's whole current state, as receivers are told it.

    Attributes:
        sequence: Grows with every change of the incident.
        stream_name: ``app/name`` as the publisher chose it, or None where names are secret.
        severity: Highest current severity over all labels.
        label: What was detected; may be empty.
        score: The score in [0, 1] of the detection that set `label`.
        changed_at: Aware time of the change that this reports.
        reason: Why the incident is in this state.
        dry_run: Containment is only recorded: nothing was cut or blocked.
        drill: This is an exercise; receivers must not act on it.
        review_due_at: Until when a responder is asked to decide, or None.
        page_link: Where people see more, or None.
        paused_until: Until when containment is paused on this media server, or None.
        responder_group: The group of responders that is asked, where the review was passed on to it.
        acknowledged_at: Since when somebody is on it, or None.
        policy: The rule that is enforced, or None.
    """

    incident_id: str
    sequence: int
    stream_id: str
    server: str
    stream_name: str | None
    protocol: str
    state: str
    severity: Severity
    label: str
    score: float
    opened_at: datetime
    changed_at: datetime
    reason: Reason
    dry_run: bool
    drill: bool
    review_due_at: datetime | None
    page_link: str | None
    paused_until: datetime | None = None
    responder_group: str | None = None
    acknowledged_at: datetime | None = None
    policy: Policy | None = None


def compose(
    kind: AlertEvent,
    snapshot: IncidentSnapshot,
    *,
    source: str,
    priority: Priority = Priority.NORMAL,
    event_id: str | None = None,
) -> OutgoingEvent:
    """Return the alert that tells receivers `snapshot`.

    Args:
        kind: Why they are told.
        snapshot: The incident as it stands.
        source: CloudEvents source; characters that a URI reference cannot hold are percent-encoded.
        priority: The protocol's word for how much it matters.
        event_id: The event's id: letters, digits, ``_`` and ``-``. A random UUID by default; give the effect's id to make
            a repeated composition the same event.
    """
    return _of_incident(
        TYPE_PREFIX + kind.value,
        _data(snapshot),
        source=source,
        priority=priority,
        event_id=event_id or str(uuid4()),
    )


def compose_review(
    word: Literal["requested", "decided", "overdue"],
    snapshot: IncidentSnapshot,
    *,
    source: str,
    event_id: str,
    decision: Reviewed | None = None,
) -> OutgoingEvent:
    """Return the event that tells where a review stands.

    Args:
        word: What happened.
        snapshot: The incident as it stands.
        source: As in `compose`.
        event_id: As in `compose`.
        decision: What was decided, if anything was.
    """
    said = (
        {}
        if decision is None
        else {
            "decision": decision.decision,
            "decided_because": decision.reason,
            "by": _safe_text(decision.by, _MAX_BY),
            "why": _safe_text(decision.why, _MAX_WHY),
        }
    )
    data = ReviewData.model_validate({**_data(snapshot).model_dump(), **said})
    return _of_incident(f"livecordon.review.{word}", data, source=source, priority=Priority.NORMAL, event_id=event_id)


def compose_effect_failed(
    snapshot: IncidentSnapshot, kind: EffectKind, outcome: EffectOutcome, *, source: str, event_id: str
) -> OutgoingEvent:
    """Return the event that tells that something could not be done; see `compose`."""
    data = EffectData.model_validate({**_data(snapshot).model_dump(), "effect": kind, "outcome": outcome})
    return _of_incident("livecordon.effect.failed", data, source=source, priority=Priority.CRISIS, event_id=event_id)


def compose_watch(
    word: Literal["blind", "restored"], snapshot: IncidentSnapshot, *, source: str, event_id: str
) -> OutgoingEvent:
    """Return the event that tells that a stream is not seen any more, or again; see `compose`."""
    kind = f"livecordon.watch.{word}"
    return _of_incident(kind, _data(snapshot), source=source, priority=Priority.NORMAL, event_id=event_id)


def compose_receipt(data: ReceiptData, *, at: datetime, source: str) -> OutgoingEvent:
    """Return what a partner is told of what became of its alert.

    Args:
        data: What became of it.
        at: Aware time at which that was so.
        source: As in `compose`.
    """
    return _event(
        RECEIPT_TYPE,
        data,
        source=source,
        subject=data.incident_id or data.event_id,
        at=at.astimezone(UTC),
        sequence=data.sequence,
        priority=Priority.NORMAL,
        event_id=str(uuid4()),
        incident_id=None,
    )


def _data(snapshot: IncidentSnapshot) -> IncidentData:
    changed_at = snapshot.changed_at.astimezone(UTC)
    return IncidentData(
        incident_id=snapshot.incident_id,
        sequence=snapshot.sequence,
        stream_id=snapshot.stream_id,
        server=snapshot.server,
        stream_name=None if snapshot.stream_name is None else _safe_text(snapshot.stream_name, MAX_STREAM_NAME),
        protocol=snapshot.protocol,
        state=snapshot.state,
        severity=_severity_word(snapshot.severity),
        label=_safe_text(snapshot.label, MAX_LABEL),
        # A classifier's nonsense must not keep the alert, and with it the decision, from being written.
        score=min(1.0, max(0.0, snapshot.score)) if math.isfinite(snapshot.score) else 0.0,
        opened_at=snapshot.opened_at.astimezone(UTC),
        changed_at=changed_at,
        reason=snapshot.reason,
        dry_run=snapshot.dry_run,
        drill=snapshot.drill,
        review_due_at=None if snapshot.review_due_at is None else snapshot.review_due_at.astimezone(UTC),
        page_link=snapshot.page_link,
        paused_until=None if snapshot.paused_until is None else snapshot.paused_until.astimezone(UTC),
        responder_group=snapshot.responder_group,
        acknowledged_at=None if snapshot.acknowledged_at is None else snapshot.acknowledged_at.astimezone(UTC),
        policy=None if snapshot.policy is None else _policy(snapshot.policy),
    )


def _of_incident(
    event_type: str, data: IncidentData, *, source: str, priority: Priority, event_id: str
) -> OutgoingEvent:
    return _event(
        event_type,
        data,
        source=source,
        subject=data.stream_id,
        at=data.changed_at,
        sequence=data.sequence,
        priority=priority,
        event_id=event_id,
        incident_id=data.incident_id,
    )


def compose_receiver_disabled(
    receiver: str, *, cancelled: int, at: datetime, source: str, event_id: str, page_link: str | None
) -> OutgoingEvent:
    """Return the alert that tells people that a receiver answered 410.

    Args:
        receiver: Its name.
        cancelled: How many alerts are not sent because of it.
        at: Aware time since when.
        source: As in `compose`.
        event_id: As in `compose`.
        page_link: Where it can be enabled again, or None.
    """
    at = at.astimezone(UTC)
    data = ReceiverData(receiver=receiver, reason="gone", disabled_at=at, cancelled=cancelled, page_link=page_link)
    return _event(
        RECEIVER_DISABLED_TYPE,
        data,
        source=source,
        subject=receiver,
        at=at,
        sequence=0,
        priority=Priority.CRISIS,
        event_id=event_id,
        incident_id=None,
    )


def _event(
    event_type: str,
    data: BaseModel,
    *,
    source: str,
    subject: str,
    at: datetime,
    sequence: int,
    priority: Priority,
    event_id: str,
    incident_id: str | None,
) -> OutgoingEvent:
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": event_id,
        "source": quote(source, safe=_REFERENCE_CHARACTERS),
        "type": event_type,
        "subject": subject,
        "time": at,
        "timestamp": at,
        "priority": priority.value,
        "sequence": f"{sequence:0{SEQUENCE_DIGITS}d}",
        "datacontenttype": "application/json",
    }
    body = JSONFormat().write(CloudEvent(attributes, data.model_dump(mode="json")))
    return OutgoingEvent(event_id, event_type, incident_id, sequence, priority, body)


def _policy(policy: Policy) -> PolicyData:
    return PolicyData(code=policy.code, title=policy.title, url=policy.url, category=policy.category, tier=policy.tier)


def _severity_word(severity: Severity) -> Literal["none", "review", "act"]:
    match severity:
        case Severity.NONE:
            return "none"
        case Severity.REVIEW:
            return "review"
        case Severity.ACT:
            return "act"


def _safe_text(text: str, longest: int) -> str:
    """Return a text that every JSON parser takes: no lone surrogates, and not endless."""
    return text.encode("utf-8", "replace").decode("utf-8")[:longest]


if __name__ == "__main__":
    sys.stdout.write(schema_json())
