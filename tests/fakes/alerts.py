"""Alerts as the outbox holds them, for receivers of every kind."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.alerts.events import IncidentSnapshot, compose
from monitor.protocol.decision import Reason
from monitor.store.deliveries import DeliveryRecord, Priority
from monitor.vocabulary import AlertEvent, Severity

AT = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)

SNAPSHOT = IncidentSnapshot(
    incident_id="5f1c7a52-6d0b-4f0e-9a51-0f6a3c1d2e4b",
    sequence=2,
    stream_id="edge-9f2b6c1d0e8a7354",
    server="edge",
    stream_name="live/<!channel> *show*\r\nBcc: everybody@example.org",
    protocol="assisted",
    state="under_review",
    severity=Severity.ACT,
    label="violence",
    score=0.94,
    opened_at=AT,
    changed_at=AT + timedelta(seconds=5),
    reason=Reason.DETECTION_RAISED,
    dry_run=False,
    drill=False,
    review_due_at=AT + timedelta(minutes=2),
    page_link="https://watch.example/incidents/5f1c7a52-6d0b-4f0e-9a51-0f6a3c1d2e4b",
)


def an_alert(
    kind: AlertEvent = AlertEvent.RAISED,
    *,
    priority: Priority = Priority.NORMAL,
    created_at: float = 0.0,
    **changes: Any,
) -> DeliveryRecord:
    """Return an alert about an incident whose stream has a hostile name."""
    event = compose(
        kind, replace(SNAPSHOT, **changes), source="https://watch.example", priority=priority, event_id=f"event-{kind}"
    )
    return DeliveryRecord(
        id="1",
        event_id=event.id,
        event_type=event.type,
        incident_id=event.incident_id,
        sequence=event.sequence,
        receiver="it",
        priority=event.priority.value,
        body=event.body,
        status="pending",
        attempts=0,
        created_at=created_at,
        next_at=0,
        finished_at=None,
        last_status=None,
        last_reason=None,
    )
