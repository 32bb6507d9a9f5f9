"""What an alert says: CloudEvents 1.0 in JSON, composed from an incident's full current state.

The models below are the contract with receivers: `docs/events.schema.json` is generated from them
(``python -m monitor.alerts.events > docs/events.schema.json``). Only this module knows the CloudEvents library, whose
interface may still change.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote
from uuid import uuid4

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from monitor.policies import Policy
from monitor.protocol.decision import Reason
from monitor.store.deliveries import OutgoingEvent, Priority
from monitor.vocabulary import AlertEvent, Category, PolicyTier, Severity

CONTENT_TYPE: Final = JSONFormat.CONTENT_TYPE
"""Media type of every alert's body."""

TYPE_PREFIX: Final = "livecordon.incident."
RECEIVER_DISABLED_TYPE: Final = "livecordon.receiver.disabled"
MAX_STREAM_NAME: Final = 256
MAX_LABEL: Final = 64
_SEQUENCE_DIGITS: Final = 10
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
    policy: Policy | None = None


class PolicyData(BaseModel):
    """A rule of the sender's."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    code: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,47}$")
    """The sender's short name for it."""
    title: str = Field(max_length=200)
    """What it says, in short."""
    url: str | None
    """Where it can be read; null when there is no such place."""
    category: Category
    """What it is about."""
    tier: PolicyTier
    """How grave it is to break it."""


class IncidentData(BaseModel):
    """The incident's full current state; fields may be added, none is removed or changes its meaning."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    incident_id: str = Field(min_length=1, max_length=64)
    """Identifies the incident; the same in all its events."""
    sequence: int = Field(ge=0)
    """Grows with every change of the incident. Keep the state with the highest one and ignore what is older."""
    stream_id: str = Field(min_length=1, max_length=80)
    """Identifies the stream without telling its name: the media server's name and 16 hex digits."""
    server: str = Field(min_length=1, max_length=48)
    """The media server's name in the sender's configuration."""
    stream_name: str | None = Field(max_length=MAX_STREAM_NAME)
    """Application and stream as `app/name`, cut to 256 characters. The publisher chose it: treat it as hostile. Null
    where the sender keeps names secret."""
    protocol: str
    """Name of the protocol that runs."""
    state: str
    """Name of the protocol's state that the incident is in."""
    severity: Literal["none", "review", "act"]
    """Highest current severity of the detection: `review` asks for a person's look, `act` is grave enough to act on."""
    label: str = Field(max_length=MAX_LABEL)
    """What was detected, in the classifier's words."""
    score: float = Field(ge=0, le=1)
    """Score of the detection, from 0 to 1. Scores of different senders and models do not compare."""
    opened_at: AwareDatetime
    """When the incident began."""
    changed_at: AwareDatetime
    """When it came into this state; the same as the event's `time`."""
    reason: Reason
    """Why it is in this state."""
    dry_run: bool
    """The sender only recorded what it would have done: nothing was cut or blocked."""
    drill: bool
    """An exercise. Do not act on it unless you take part."""
    review_due_at: AwareDatetime | None
    """Until when a responder at the sender is asked to decide; null when no decision is awaited."""
    page_link: str | None
    """The sender's page about the incident, for people who may open it; null when there is none."""
    paused_until: AwareDatetime | None = None
    """Until when the sender has paused containment on this media server: nothing is held, cut or blocked there before. Null
    without a pause."""
    responder_group: str | None = None
    """The sender's group of responders that is asked to decide, where the review was passed on to it; else null."""
    policy: PolicyData | None = None
    """The rule that what the sender does enforces; null when none is known, as in older versions' events."""


class ReceiverData(BaseModel):
    """One of the sender's receivers, as it stands."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    receiver: str = Field(min_length=1, max_length=48)
    """The receiver's name in the sender's configuration."""
    reason: Literal["gone"]
    """Why it gets nothing more: `gone`, because it answered 410."""
    disabled_at: AwareDatetime
    """Since when."""
    cancelled: int = Field(ge=0)
    """How many alerts waited for it and are not sent; they can be replayed once it is enabled again."""
    page_link: str | None
    """Where the sender's people enable it again; null when there is no such place."""


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    specversion: Literal["1.0"]
    """Version of CloudEvents."""
    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Identifies this event; equal to the `webhook-id` header and constant over retries. Act on each id once."""
    source: str = Field(min_length=1)
    """Which installation sent it."""
    subject: str
    """What it is about: of an incident the stream, equal to `data.stream_id`; else the receiver's name."""
    time: AwareDatetime
    """When what it reports happened; not when it was sent, which the `webhook-timestamp` header tells."""
    timestamp: AwareDatetime
    """The same as `time`, under the name that Standard Webhooks suggests."""
    sequence: str = Field(pattern=rf"^\d{{{_SEQUENCE_DIGITS}}}$")
    """`data.sequence` with leading zeros, so that text order is number order; zero of what has no sequence."""
    priority: Literal["normal", "crisis"]
    """`crisis` is worth waking people for."""
    datacontenttype: Literal["application/json"]
    """Media type of `data`."""


class _IncidentEvent(_Event):
    data: IncidentData
    """The incident's full current state."""


class RaisedEvent(_IncidentEvent):
    """Something was detected, and an incident began."""

    type: Literal["livecordon.incident.raised"]
    """What happened."""


class UpdatedEvent(_IncidentEvent):
    """Something that matters has changed: a higher severity, a reminder, a cut that failed."""

    type: Literal["livecordon.incident.updated"]
    """What happened."""


class ContainedEvent(_IncidentEvent):
    """The stream is off the air: it was cut, and the media server no longer lists it. With `dry_run` only recorded."""

    type: Literal["livecordon.incident.contained"]
    """What happened."""


class ReleasedEvent(_IncidentEvent):
    """The block is lifted: the publisher may stream again."""

    type: Literal["livecordon.incident.released"]
    """What happened."""


class DismissedEvent(_IncidentEvent):
    """It was a mistake, and what was said before is withdrawn: undo whatever you did because of this incident."""

    type: Literal["livecordon.incident.dismissed"]
    """What happened."""


class ClosedEvent(_IncidentEvent):
    """The incident is over; its state says how."""

    type: Literal["livecordon.incident.closed"]
    """What happened."""


class ReviewOverdueEvent(_IncidentEvent):
    """Nobody decided in time, or a responder passed it on: `data.responder_group` is asked to decide now."""

    type: Literal["livecordon.incident.review_overdue"]
    """What happened."""


class ReceiverDisabledEvent(_Event):
    """For the sender's own people: a receiver answered 410, and is sent nothing more until somebody enables it again."""

    type: Literal["livecordon.receiver.disabled"]
    """What happened."""
    data: ReceiverData
    """The receiver's state."""


AnyEvent = Annotated[
    RaisedEvent
    | UpdatedEvent
    | ContainedEvent
    | ReleasedEvent
    | DismissedEvent
    | ClosedEvent
    | ReviewOverdueEvent
    | ReceiverDisabledEvent,
    Field(discriminator="type"),
]
_ANY_EVENT: Final[TypeAdapter[AnyEvent]] = TypeAdapter(AnyEvent)


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
    changed_at = snapshot.changed_at.astimezone(UTC)
    data = IncidentData(
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
        policy=None if snapshot.policy is None else _policy(snapshot.policy),
    )
    return _event(
        TYPE_PREFIX + kind.value,
        data,
        source=source,
        subject=snapshot.stream_id,
        at=changed_at,
        sequence=snapshot.sequence,
        priority=priority,
        event_id=event_id or str(uuid4()),
        incident_id=snapshot.incident_id,
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
        "sequence": f"{sequence:0{_SEQUENCE_DIGITS}d}",
        "datacontenttype": "application/json",
    }
    body = JSONFormat().write(CloudEvent(attributes, data.model_dump(mode="json")))
    return OutgoingEvent(event_id, event_type, incident_id, sequence, priority, body)


def parse(body: bytes) -> AnyEvent:
    """Check an alert's body against the documented model and return it.

    Raises:
        pydantic.ValidationError: it is not one of the documented events.
    """
    return _ANY_EVENT.validate_json(body)


def schema_json() -> str:
    """Return the JSON schema of all events, one definition per type, as it is kept in ``docs/events.schema.json``."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Livecordon's alerts",
        **_ANY_EVENT.json_schema(),
    }
    return json.dumps(schema, indent=2) + "\n"


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
