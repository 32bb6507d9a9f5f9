"""From a protocol's `alert` effect to rows in the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.alerts.events import IncidentSnapshot, compose
from monitor.daemon.views import utc
from monitor.protocol.decision import Reason
from monitor.store.deliveries import Priority, enqueue
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import AlertEvent, Severity


@dataclass(frozen=True, slots=True)
class Alerting:
    """Writes alerts into the outbox; implements `monitor.effects.decided.AlertQueue`.

    Attributes:
        source: CloudEvents source.
        receivers: Names of all receivers; each gets every alert.
        secret_name_servers: Media servers whose stream names are keys, and are told to nobody.
        page_url: Where people reach the console, or None.
    """

    source: str
    receivers: Sequence[str]
    secret_name_servers: frozenset[str]
    page_url: str | None

    async def enqueue(
        self, connection: AsyncConnection, effect: EffectRecord, incident: IncidentRecord, reason: Reason
    ) -> None:
        """Write one row per receiver, with the effect's id as event id: composing it twice is the same event."""
        named = incident.server not in self.secret_name_servers
        severities = [Severity.from_word(word) for word in incident.severities.values()]
        snapshot = IncidentSnapshot(
            incident_id=incident.id,
            sequence=incident.sequence,
            stream_id=incident.stream_id,
            server=incident.server,
            stream_name=f"{incident.app}/{incident.name}" if named else None,
            protocol=incident.protocol,
            state=incident.state,
            severity=max(severities, default=Severity.NONE),
            label=incident.label,
            score=incident.score,
            opened_at=utc(incident.opened_at),
            changed_at=utc(incident.changed_at),
            reason=reason,
            dry_run=incident.dry_run,
            drill=False,
            review_due_at=None if incident.review_due_at is None else utc(incident.review_due_at),
            page_link=None if self.page_url is None else f"{self.page_url.rstrip('/')}/incidents/{incident.id}",
        )
        event = compose(
            AlertEvent(str(effect.parameters["event"])),
            snapshot,
            source=self.source,
            priority=Priority(str(effect.parameters.get("priority") or Priority.NORMAL.value)),
            event_id=effect.id,
        )
        await enqueue(connection, event, self.receivers, at=effect.requested_at)
