"""What the web layer needs to know of alerts on their way to receivers, and what people do about them.

As in `monitor.web.port`: times are aware and in UTC. An alert's body is what receivers are sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from monitor.store.deliveries import DeliveryStatus


class Shown(StrEnum):
    """Which alerts a list shows."""

    DEAD_LETTERS = "dead_letters"
    PENDING = "pending"
    DELIVERED = "delivered"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class ReceiverView:
    """Where one receiver stands.

    Attributes:
        configured: Whether the configuration in force names it.
        dead_letters: Alerts that nobody sends again unless they are replayed.
        oldest_at: When the oldest pending alert was written, or None.
        disabled_at: Since when it is sent nothing, because it answered 410; None when it is sent alerts.
    """

    name: str
    configured: bool
    pending: int
    delivered: int
    dead_letters: int
    oldest_at: datetime | None
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class OutgoingView:
    """One alert to one receiver.

    Attributes:
        next_at: When it is tried next; None once nobody tries.
        reason: Reason word of the last failure; empty where there was none.
        http_status: Of the receiver's last answer, or None.
        body: The event, CloudEvents JSON in UTF-8.
    """

    delivery_id: str
    event_id: str
    event_type: str
    incident_id: str | None
    sequence: int
    receiver: str
    priority: str
    status: DeliveryStatus
    attempts: int
    created_at: datetime
    next_at: datetime | None
    finished_at: datetime | None
    http_status: int | None
    reason: str
    body: bytes = field(repr=False)


class DeliveryService(Protocol):
    """The outbox, for people."""

    async def receivers(self) -> Sequence[ReceiverView]:
        """Return every receiver that is configured or that an alert was ever written for, by name."""
        ...

    async def deliveries(
        self, shown: Shown, *, receiver: str | None, after: str | None, limit: int
    ) -> Sequence[OutgoingView]:
        """Return alerts, newest first; `after` is the id of the last one of the page before."""
        ...

    async def delivery(self, delivery_id: str) -> OutgoingView | None:
        """Return one alert to one receiver."""
        ...

    async def replay(self, ids: Sequence[str] | None, receiver: str | None, *, by: str, why: str) -> int:
        """Send dead letters again under their old ids: these, or all of a receiver, or all; durable on return.

        Returns:
            How many; those of a disabled receiver are not.
        """
        ...

    async def discard(self, ids: Sequence[str] | None, receiver: str | None, *, by: str, why: str) -> int:
        """Give up dead letters for good, or a pending alert by its id; returns how many, durable on return."""
        ...

    async def enable(self, receiver: str, *, by: str, why: str) -> bool:
        """Send a receiver alerts again that answered 410; False when it is not disabled. Durable on return."""
        ...
