"""Events about a crisis: many incidents that show the same attack, handled as one; and about what to look out for in it."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from monitor.alerts.envelope import Envelope


class CrisisData(BaseModel):
    """The crisis's full current state; fields may be added, none is removed or changes its meaning."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    crisis_id: str = Field(min_length=1, max_length=64)
    """Identifies the crisis; the same in all its events."""
    sequence: int = Field(ge=0)
    """Grows with every change of the crisis. Keep the state with the highest one and ignore what is older."""
    stage: Literal["assessing", "active", "concluded", "withdrawn"]
    """Where it stands."""
    title: str = Field(min_length=1, max_length=200)
    """What it is called; never a publisher's words."""
    summary: str = Field(default="", max_length=2000)
    """What is known, in the sender's words."""
    label: str = Field(default="", max_length=64)
    """What is to be looked out for, in the classifier's words; empty where it has none."""
    incidents: int = Field(default=0, ge=0)
    """How many incidents of the sender's belong to it."""
    began_at: AwareDatetime
    """When it began."""
    changed_at: AwareDatetime
    """When it came to stand so; the same as the event's `time`."""
    drill: bool
    """An exercise. Do not act on it unless you take part."""
    page_link: str | None
    """The sender's page about it, for people who may open it; null when there is none."""


class CrisisAssessingEvent(Envelope):
    """The sender considers whether what happens is a crisis. Advice to look; nothing to act on yet."""

    type: Literal["livecordon.crisis.assessing"]
    """What happened."""
    data: CrisisData
    """The crisis's full current state."""


class CrisisActivatedEvent(Envelope):
    """It is one: look out for copies."""

    type: Literal["livecordon.crisis.activated"]
    """What happened."""
    data: CrisisData
    """The crisis's full current state."""


class CrisisUpdateEvent(Envelope):
    """Something has changed that others want to know."""

    type: Literal["livecordon.crisis.update"]
    """What happened."""
    data: CrisisData
    """The crisis's full current state."""


class CrisisConcludedEvent(Envelope):
    """It is over."""

    type: Literal["livecordon.crisis.concluded"]
    """What happened."""
    data: CrisisData
    """The crisis's full current state."""


class CrisisWithdrawnEvent(Envelope):
    """It was a mistake: undo whatever you did because of it. Whatever arrives later about the same crisis stays withdrawn."""

    type: Literal["livecordon.crisis.withdrawn"]
    """What happened."""
    data: CrisisData
    """The crisis's full current state."""


class HashesData(BaseModel):
    """Fingerprints of what was shown in a crisis: never media, and not the fingerprints themselves, but where they are fetched."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    crisis_id: str = Field(min_length=1, max_length=64)
    """To which crisis they belong."""
    sequence: int = Field(ge=0)
    """Grows with every change of the crisis's list. A withdrawal of a fingerprint beats any addition with a lower one."""
    kind: Literal["pdq", "sha256"]
    """Which kind of fingerprint."""
    count: int = Field(ge=1)
    """How many were added or withdrawn."""
    fetch_after: str = Field(max_length=200)
    """Cursor of the sender's feed after which they are found."""
    changed_at: AwareDatetime
    """When; the same as the event's `time`."""
    drill: bool
    """An exercise: match nothing against them."""


class HashesAddedEvent(Envelope):
    """There are new fingerprints to look out for."""

    type: Literal["livecordon.hashes.added"]
    """What happened."""
    data: HashesData
    """Where they are."""


class HashesWithdrawnEvent(Envelope):
    """Fingerprints were a mistake: remove them, and undo what they matched."""

    type: Literal["livecordon.hashes.withdrawn"]
    """What happened."""
    data: HashesData
    """Which ones."""
