"""From a protocol's `alert` effect, and from what people do, to rows in the outbox."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID, uuid5

from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.alerts.events import IncidentSnapshot, compose, compose_receiver_disabled
from monitor.alerts.routing import Routing, Subject
from monitor.config.people import ResponderGroup
from monitor.daemon.views import utc
from monitor.effects.restraint import Restraints
from monitor.metrics import ALERTS_SILENCED
from monitor.policies import Policies
from monitor.protocol.decision import Reason
from monitor.store import audit
from monitor.store.deliveries import Priority, enqueue, told
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import AlertEvent, Severity

_IDS: Final = UUID("0a6f2c0e-3c0b-5a38-8f0e-6a5d0f3c9b17")

WITHDRAWALS: Final = frozenset({AlertEvent.DISMISSED, AlertEvent.RELEASED})
"""What takes back earlier alerts: goes to everybody who got one, whatever their routing says."""


@dataclass(slots=True)
class Alerting:
    """Writes alerts into the outbox; implements `monitor.effects.decided.AlertQueue`.

    Attributes:
        source: CloudEvents source.
        receivers: Names of all receivers.
        secret_name_servers: Media servers whose stream names are keys, and are told to nobody.
        page_url: Where people reach the console, or None.
        routing: Says who is told of what; everybody of the usual things by default.
        restraints: Says what is silenced and paused; None if nothing ever is.
        policies: What incidents come under.
        acknowledged_at: Says since when somebody is on an incident.
    """

    source: str
    receivers: Sequence[str]
    secret_name_servers: frozenset[str]
    page_url: str | None
    routing: Routing = field(default_factory=lambda: Routing({}))
    restraints: Restraints | None = None
    policies: Policies = field(default_factory=Policies)
    acknowledged_at: Callable[[str], float | None] = lambda _incident_id: None

    async def enqueue(
        self, connection: AsyncConnection, effect: EffectRecord, incident: IncidentRecord, reason: Reason
    ) -> None:
        """Write one row per receiver, with the effect's id as event id: composing it twice is the same event.

        A silence keeps back everything but containment and withdrawals: nobody is cut off without people being told, and
        whoever was told something false is told so.
        """
        kind = AlertEvent(str(effect.parameters["event"]))
        earlier = await told(connection, incident.id)
        silence = None if self.restraints is None else self.restraints.silence_on(incident.ref)
        receivers = self._routed(kind, incident, earlier, at=effect.requested_at)
        if silence is not None and kind is not AlertEvent.CONTAINED:
            if receivers:
                ALERTS_SILENCED.inc()
                detail = {"event": kind.value, "silence": silence.id, "by": silence.owner, "until": silence.until}
                await audit.append(
                    connection,
                    at=effect.requested_at,
                    actor="daemon",
                    action="alert_silenced",
                    incident_id=incident.id,
                    detail=detail,
                )
            receivers = []
        if kind in WITHDRAWALS:
            receivers = [name for name in self.receivers if name in receivers or name in earlier]
        elif kind is AlertEvent.CLOSED:
            # Whoever keeps an incident open until told of its end is told even in a silence.
            ending = {name for name in earlier if self.routing.route(name).follows}
            receivers = [name for name in self.receivers if name in receivers or name in ending]
        event = compose(
            kind,
            self.snapshot(incident, reason),
            source=self.source,
            priority=Priority(str(effect.parameters.get("priority") or Priority.NORMAL.value)),
            event_id=effect.id,
        )
        await enqueue(connection, event, receivers, at=effect.requested_at)

    async def tell_overdue(
        self, connection: AsyncConnection, incident: IncidentRecord, group: ResponderGroup, *, step: int, at: float
    ) -> None:
        """Tell a group of responders that a review waits for it; see `monitor.daemon.ladder.OverdueAlerts`."""
        if self.restraints is not None and self.restraints.silence_on(incident.ref) is not None:
            ALERTS_SILENCED.inc()
            return
        wanted = {*group.receivers, *self.routing.asking_for("review_overdue")}
        event = compose(
            AlertEvent.REVIEW_OVERDUE,
            self.snapshot(incident, Reason.DEADLINE_PASSED, group=group.name),
            source=self.source,
            priority=Priority.CRISIS,
            event_id=str(uuid5(_IDS, f"{incident.id}/overdue/{incident.sequence}/{step}")),
        )
        await enqueue(connection, event, self._known(wanted), at=at)

    async def tell_acknowledged(self, connection: AsyncConnection, incident: IncidentRecord, *, at: float) -> None:
        """Tell whoever was alerted that somebody is on it; see `monitor.daemon.acknowledging.AcknowledgedAlerts`."""
        earlier = await told(connection, incident.id)
        kind = AlertEvent.ACKNOWLEDGED
        event = compose(
            kind,
            self.snapshot(incident, Reason.NO_TRANSITION),
            source=self.source,
            event_id=str(uuid5(_IDS, f"{incident.id}/acknowledged")),
        )
        wanted = [name for name in self._routed(kind, incident, earlier, at=at) if name in earlier]
        await enqueue(connection, event, wanted, at=at)

    async def tell_again(
        self, connection: AsyncConnection, incident: IncidentRecord, receiver: str, *, since: float, at: float
    ) -> bool:
        """Remind one receiver of an incident that nobody has acknowledged; see `monitor.daemon.reminding.Reminder`."""
        if self.restraints is not None and self.restraints.silence_on(incident.ref) is not None:
            ALERTS_SILENCED.inc()
            return False
        event = compose(
            AlertEvent.UPDATED,
            self.snapshot(incident, Reason.NO_TRANSITION),
            source=self.source,
            priority=Priority.CRISIS,
            event_id=str(uuid5(_IDS, f"{incident.id}/again/{receiver}/{since}")),
        )
        return await enqueue(connection, event, self._known([receiver]), at=at) > 0

    async def tell_released(self, connection: AsyncConnection, incident: IncidentRecord, *, at: float) -> None:
        """Tell everybody who was alerted that a block of a closed incident was lifted by hand."""
        event = compose(
            AlertEvent.RELEASED,
            self.snapshot(incident, Reason.REVIEW_RELEASED),
            source=self.source,
            event_id=str(uuid5(_IDS, f"{incident.id}/released/{incident.sequence}")),
        )
        await enqueue(connection, event, self._known(await told(connection, incident.id)), at=at)

    async def tell_disabled(self, connection: AsyncConnection, receiver: str, cancelled: int, at: float) -> None:
        """Tell the operator's people that a receiver answered 410; see `monitor.alerts.line.OnDisabled`."""
        wanted = self.routing.responders | self.routing.asking_for("receiver_disabled")
        event = compose_receiver_disabled(
            receiver,
            cancelled=cancelled,
            at=utc(at),
            source=self.source,
            event_id=str(uuid5(_IDS, f"{receiver}/disabled/{at}")),
            page_link=None if self.page_url is None else f"{self.page_url.rstrip('/')}/deliveries",
        )
        await enqueue(connection, event, self._known(wanted - {receiver}), at=at)
        detail = {"receiver": receiver, "cancelled": cancelled}
        await audit.append(
            connection, at=at, actor="daemon", action="receiver_disabled", incident_id=None, detail=detail
        )

    def _routed(self, kind: AlertEvent, incident: IncidentRecord, earlier: Collection[str], *, at: float) -> list[str]:
        severities = [Severity.from_word(word) for word in incident.severities.values()]
        subject = Subject(incident.server, max(severities, default=Severity.NONE), incident.label, utc(at))
        return self.routing.chosen(kind, subject, self.receivers, earlier)

    def _known(self, names: Iterable[str]) -> list[str]:
        wanted = set(names)
        return [name for name in self.receivers if name in wanted]

    def asking_for(self, word: str) -> list[str]:
        """Return the receivers whose `events` name this."""
        return self._known(self.routing.asking_for(word))

    def snapshot(self, incident: IncidentRecord, reason: Reason, *, group: str | None = None) -> IncidentSnapshot:
        """Return an incident as receivers are told it."""
        named = incident.server not in self.secret_name_servers
        severities = [Severity.from_word(word) for word in incident.severities.values()]
        pause = None if self.restraints is None else self.restraints.pause_on(incident.server)
        acknowledged_at = self.acknowledged_at(incident.id)
        return IncidentSnapshot(
            incident_id=incident.id,
            sequence=incident.sequence,
            stream_id=incident.ref.stream_id,
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
            drill=incident.drill,
            review_due_at=None if incident.review_due_at is None else utc(incident.review_due_at),
            page_link=None if self.page_url is None else f"{self.page_url.rstrip('/')}/incidents/{incident.id}",
            paused_until=None if pause is None else utc(pause.until),
            responder_group=group,
            acknowledged_at=None if acknowledged_at is None else utc(acknowledged_at),
            policy=self.policies.get(incident.policy),
        )
