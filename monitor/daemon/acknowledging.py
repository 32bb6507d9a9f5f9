"""Who is on an incident: said through the API, the page, a signed link, or PagerDuty; once, and for good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import structlog
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.alerts.links import Claim, Links
from monitor.alerts.pagerduty import acknowledgement_in, is_from_pagerduty
from monitor.clock import Clock
from monitor.daemon.views import utc
from monitor.metrics import ACKNOWLEDGE_SECONDS, ACKNOWLEDGEMENTS
from monitor.store import acknowledgements, audit
from monitor.store import incidents as incident_rows
from monitor.store.acknowledgements import AcknowledgementRecord
from monitor.store.database import Database
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import Severity
from monitor.web.acknowledge_port import AcknowledgeOutcome, AcknowledgeResult, AcknowledgeWay, PagerDutySaid

_LONGEST_NAME = 200

log = structlog.get_logger()


class AcknowledgedAlerts(Protocol):
    """Tells those who were alerted that somebody is on it."""

    async def tell_acknowledged(self, connection: AsyncConnection, incident: IncidentRecord, *, at: float) -> None:
        """Write the alerts, in the caller's transaction."""
        ...


class Acknowledging:
    """Takes acknowledgements, and remembers those of incidents under way; implements `monitor.web.acknowledge_port`.

    Attributes:
        links: Reads signed links; None where none are made.
        webhook_secrets: By receiver, what proves that PagerDuty's webhooks are PagerDuty's.
        on_change: Called after each, when it is durable.
    """

    def __init__(self, database: Database, alerts: AcknowledgedAlerts, clock: Clock) -> None:
        """Begin with none; see `load`."""
        self.links: Links | None = None
        self.webhook_secrets: Mapping[str, tuple[SecretStr, ...]] = {}
        self.on_change: Callable[[], None] = lambda: None
        self._database = database
        self._alerts = alerts
        self._clock = clock
        self._known: dict[str, AcknowledgementRecord] = {}
        for way in AcknowledgeWay:
            ACKNOWLEDGEMENTS.labels(way.value)

    async def load(self) -> None:
        """Take up what was said before the daemon last stopped.

        Raises:
            StoreError: the store cannot be read.
        """
        async with self._database.reading() as connection:
            self._known = await acknowledgements.of_open_incidents(connection)

    def at(self, incident_id: str) -> float | None:
        """Return since when somebody is on an incident under way; from memory."""
        found = self._known.get(incident_id)
        return None if found is None else found.at

    def answered(self, incident: IncidentRecord) -> bool:
        """Whether somebody has acknowledged an incident or taken a decision."""
        return incident.review_decision is not None or incident.id in self._known

    def wants_answer(self, incident: IncidentRecord) -> bool:
        """Whether people are waited for: a review is, or it was grave, and nobody has answered."""
        if incident.closed_at is not None or self.answered(incident):
            return False
        return incident.review_due_at is not None or incident.max_severity == Severity.ACT.word

    def forget_closed(self, open_ids: set[str]) -> None:
        """Keep in memory what incidents under way need."""
        for incident_id in self._known.keys() - open_ids:
            del self._known[incident_id]

    async def acknowledge(self, incident_id: str, *, by: str, way: AcknowledgeWay) -> AcknowledgeResult:
        """Record that somebody is on it; the first one counts. Durable on return.

        Raises:
            StoreError: nothing was recorded.
        """
        now = self._clock.now().timestamp()
        record = AcknowledgementRecord(incident_id, now, by[:_LONGEST_NAME], way.value)
        async with self._database.transaction() as connection:
            incident = await incident_rows.load(connection, incident_id)
            if incident is None:
                return AcknowledgeResult(AcknowledgeOutcome.UNKNOWN)
            earlier = (await acknowledgements.of_incidents(connection, [incident_id])).get(incident_id)
            if earlier is not None:
                return AcknowledgeResult(AcknowledgeOutcome.ALREADY, earlier.by, utc(earlier.at))
            if incident.closed_at is not None:
                return AcknowledgeResult(AcknowledgeOutcome.CLOSED)
            await acknowledgements.add(connection, record)
            await audit.append(
                connection,
                at=now,
                actor=record.by,
                action="acknowledged",
                incident_id=incident_id,
                detail={"via": way.value},
            )
            # Alerts that are composed from here on say so; where the transaction fails, they are not kept either.
            self._known[incident_id] = record
            try:
                await self._alerts.tell_acknowledged(connection, incident, at=now)
            except BaseException:
                del self._known[incident_id]
                raise
        ACKNOWLEDGEMENTS.labels(way.value).inc()
        if not incident.drill:
            ACKNOWLEDGE_SECONDS.observe(max(0.0, now - incident.opened_at))
        log.info("incident_acknowledged", incident_id=incident_id, stream_id=incident.stream_id, via=way.value)
        self.on_change()
        return AcknowledgeResult(AcknowledgeOutcome.ACCEPTED, record.by, utc(now))

    def read_link(self, token: str) -> Claim | None:
        """Return what a signed link says; None of one that is not ours, or has expired."""
        return None if self.links is None else self.links.read(token, now=self._clock.now().timestamp())

    async def heard_from_pagerduty(self, receiver: str, body: bytes, signatures: str) -> PagerDutySaid:
        """Take one of PagerDuty's webhooks: its signature is checked before it is read.

        Raises:
            ValueError: it is signed, and no webhook of PagerDuty's.
            StoreError: nothing was recorded.
        """
        secrets = self.webhook_secrets.get(receiver, ())
        if not is_from_pagerduty(body, signatures, secrets):
            return PagerDutySaid.NOT_PAGERDUTY
        said = acknowledgement_in(body)
        if said is None:
            return PagerDutySaid.SOMETHING_ELSE
        result = await self.acknowledge(
            said.incident_id, by=f"{said.agent} via {receiver}", way=AcknowledgeWay.PAGERDUTY
        )
        log.info("pagerduty_acknowledged", receiver=receiver, outcome=result.outcome.value)
        return PagerDutySaid.ACKNOWLEDGED
