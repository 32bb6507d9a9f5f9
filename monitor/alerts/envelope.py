"""What all events have in common: the envelope, and the state of an incident."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from monitor.protocol.decision import Reason
from monitor.vocabulary import Category, PolicyTier

MAX_STREAM_NAME: Final = 256
MAX_LABEL: Final = 64
SEQUENCE_DIGITS: Final = 10


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
    acknowledged_at: AwareDatetime | None = None
    """When somebody at the sender said that they are on it; null while nobody has."""
    policy: PolicyData | None = None
    """The rule that what the sender does enforces; null when none is known, as in older versions' events."""


class Envelope(BaseModel):
    """An event without what it reports."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    specversion: Literal["1.0"]
    """Version of CloudEvents."""
    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Identifies this event; equal to the `webhook-id` header and constant over retries. Act on each id once."""
    source: str = Field(min_length=1)
    """Which installation sent it."""
    subject: str
    """What it is about: of an incident the stream, equal to `data.stream_id`; else the name or id of what it reports."""
    time: AwareDatetime
    """When what it reports happened; not when it was sent, which the `webhook-timestamp` header tells."""
    timestamp: AwareDatetime
    """The same as `time`, under the name that Standard Webhooks suggests."""
    sequence: str = Field(pattern=rf"^\d{{{SEQUENCE_DIGITS}}}$")
    """`data.sequence` with leading zeros, so that text order is number order; zero of what has no sequence."""
    priority: Literal["normal", "crisis"]
    """`crisis` is worth waking people for."""
    datacontenttype: Literal["application/json"]
    """Media type of `data`."""


class IncidentEvent(Envelope):
    """An event that reports an incident."""

    data: IncidentData
    """The incident's full current state."""
