"""What the web layer needs to let people say that they are on an incident."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class AcknowledgeWay(StrEnum):
    """How somebody said so; the words are the metric's label values."""

    API = "api"
    PAGE = "page"
    LINK = "link"
    PAGERDUTY = "pagerduty"


class AcknowledgeOutcome(StrEnum):
    """What became of it."""

    ACCEPTED = "accepted"
    ALREADY = "already"
    UNKNOWN = "unknown_incident"
    CLOSED = "incident_closed"


@dataclass(frozen=True, slots=True)
class AcknowledgeResult:
    """What became of it; `by` and `at` are those of the acknowledgement that stands."""

    outcome: AcknowledgeOutcome
    by: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AcknowledgedView:
    """Who said first that they are on it; `via` is ``api``, ``page``, ``link`` or ``pagerduty``."""

    by: str
    at: datetime
    via: str


class PagerDutySaid(StrEnum):
    """What one of PagerDuty's webhooks came to."""

    ACKNOWLEDGED = "acknowledged"
    SOMETHING_ELSE = "something_else"
    NOT_PAGERDUTY = "not_pagerduty"


class LinkClaim(Protocol):
    """What a signed link says."""

    @property
    def incident_id(self) -> str:
        """Which incident."""
        ...

    @property
    def receiver(self) -> str:
        """Through which receiver it was sent out."""
        ...


class AcknowledgeService(Protocol):
    """Acknowledgements; the first one of an incident counts."""

    async def acknowledge(self, incident_id: str, *, by: str, way: AcknowledgeWay) -> AcknowledgeResult:
        """Record that somebody is on it; durable on return. `incident_id` may be any text."""
        ...

    def read_link(self, token: str) -> LinkClaim | None:
        """Return what a signed link says; None of one that is not ours, or has expired."""
        ...

    async def heard_from_pagerduty(self, receiver: str, body: bytes, signatures: str) -> PagerDutySaid:
        """Take one of PagerDuty's webhooks, once its signature holds; ValueError where it is signed and none."""
        ...
