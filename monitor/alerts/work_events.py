"""Events about the sender's work on incidents: reviews, effects that failed, streams it cannot see, receivers and partners."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from monitor.alerts.envelope import Envelope, IncidentData
from monitor.vocabulary import EffectKind, EffectOutcome, ReviewDecision, ReviewReason


class ReviewData(IncidentData):
    """The incident's full current state, and where its review stands."""

    decision: ReviewDecision | None = None
    """What was decided; null while nobody has."""
    decided_because: ReviewReason | None = None
    """Why, from a closed list; null while nobody has decided."""
    by: str | None = Field(default=None, max_length=200)
    """Who decided; null where receivers are not told, or nobody has."""
    why: str | None = Field(default=None, max_length=2000)
    """In the responder's own words; null where receivers are not told, or nobody has decided."""


class ReviewRequestedEvent(Envelope):
    """A responder at the sender is asked to decide, until `data.review_due_at`."""

    type: Literal["livecordon.review.requested"]
    """What happened."""
    data: ReviewData
    """The incident's full current state."""


class ReviewDecidedEvent(Envelope):
    """A responder at the sender decided."""

    type: Literal["livecordon.review.decided"]
    """What happened."""
    data: ReviewData
    """The incident's full current state."""


class ReviewIsOverdueEvent(Envelope):
    """Nobody decided in time. The sender's own groups are told by `livecordon.incident.review_overdue`; this says the same to others."""

    type: Literal["livecordon.review.overdue"]
    """What happened."""
    data: ReviewData
    """The incident's full current state."""


class EffectData(IncidentData):
    """The incident's full current state, and what could not be done."""

    effect: EffectKind
    """What was to be done."""
    outcome: EffectOutcome
    """How it ended: `failed`, `unverified` or `unsupported`."""


class EffectFailedEvent(Envelope):
    """Something that the protocol asked for could not be done, or not be verified; the incident goes on."""

    type: Literal["livecordon.effect.failed"]
    """What happened."""
    data: EffectData
    """The incident's full current state."""


class WatchBlindEvent(Envelope):
    """A stream with an incident under way is not seen any more: nobody knows what it shows."""

    type: Literal["livecordon.watch.blind"]
    """What happened."""
    data: IncidentData
    """The incident's full current state."""


class WatchRestoredEvent(Envelope):
    """The stream is seen again."""

    type: Literal["livecordon.watch.restored"]
    """What happened."""
    data: IncidentData
    """The incident's full current state."""


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


class ReceiverDisabledEvent(Envelope):
    """For the sender's own people: a receiver answered 410, and is sent nothing more until somebody enables it again."""

    type: Literal["livecordon.receiver.disabled"]
    """What happened."""
    data: ReceiverData
    """The receiver's state."""


class ReceiptData(BaseModel):
    """What became of a partner's alert here; it carries the full current state, so that the highest `sequence` wins."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    incident_id: str | None = Field(max_length=64)
    """The partner's incident; null where the event was about none."""
    event_id: str = Field(max_length=64)
    """The partner's event that was heard last."""
    sequence: int = Field(ge=0)
    """Grows with every receipt about the same incident."""
    taken: Literal["taken", "repeated", "stale", "withdrawn", "refused", "ignored"]
    """What became of that event: `repeated` came before, `stale` is older than what is known, `withdrawn` is about an incident that
    was taken back for good, `refused` is an exercise and was not taken, `ignored` is nothing that is acted upon."""
    acted: tuple[Literal["shown", "watched", "told", "contained", "released"], ...]
    """What was done: responders see it, streams are watched more closely, protocols of matching streams were told; a matching stream is
    contained here, or is not any more."""
    matched: int = Field(ge=0)
    """How many streams here were of the same name, or showed the same to the classifier, while the alert stood."""
    disagree: bool
    """A responder here looked at such a stream and dismissed it."""
    drill: bool
    """The partner's event was an exercise."""


class ReceiptEvent(Envelope):
    """What came of a partner's alert. The first answers its request; others follow as things change."""

    type: Literal["livecordon.partner.receipt"]
    """What happened."""
    data: ReceiptData
    """What came of it."""
