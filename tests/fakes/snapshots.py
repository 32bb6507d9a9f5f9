"""An incident as receivers are told it."""

from __future__ import annotations

from datetime import UTC, datetime

from monitor.alerts.events import IncidentSnapshot
from monitor.protocol.decision import Reason
from monitor.vocabulary import Severity

SNAPSHOT = IncidentSnapshot(
    incident_id="0190c1d2-0000-7000-8000-000000000001",
    sequence=3,
    stream_id="main-0123456789abcdef",
    server="main",
    stream_name="live/show",
    protocol="assisted",
    state="under_review",
    severity=Severity.REVIEW,
    label="violence",
    score=0.83,
    opened_at=datetime(2026, 3, 15, 12, 0, tzinfo=UTC),
    changed_at=datetime(2026, 3, 15, 12, 0, 2, 500_000, tzinfo=UTC),
    reason=Reason.DETECTION_RAISED,
    dry_run=False,
    drill=False,
    review_due_at=datetime(2026, 3, 15, 12, 10, 2, tzinfo=UTC),
    page_link="https://watch.example/incidents/1",
)
