"""What the web layer needs to know of partners: what they send is answered, and responders see what they said.

As in `monitor.web.port`: texts are safe to show once escaped, times aware and in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PartnerReply:
    """The answer to one request of a partner's.

    Attributes:
        status: HTTP status.
        body: Exactly what is sent; of a refusal empty.
        headers: Signature and content type of a receipt; none of a refusal.
        refused: Why nothing was taken: ``unauthenticated``, ``malformed`` or ``too_many``; empty where a receipt was written.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""


@dataclass(frozen=True, slots=True)
class PartnerAlertView:
    """What a partner said of one of its incidents, and what came of it here.

    Attributes:
        state: ``standing``, ``withdrawn`` or ``over``.
        title: Its stream's name where it tells it; hostile.
        watched_until: Until when streams are watched more closely because of it; None where they are not.
        streams: Ids of our streams that it concerned.
        acted: Words of `monitor.alerts.work_events.ReceiptData`.
    """

    partner: str
    incident_id: str
    state: str
    word: str
    severity: str
    label: str
    title: str
    page_link: str | None
    drill: bool
    first_at: datetime
    heard_at: datetime
    watched_until: datetime | None
    streams: Sequence[str]
    acted: Sequence[str]
    disagrees: bool


class FeedService(Protocol):
    """What a partner was to be told, to be read again."""

    async def page(self, partner: str, headers: Mapping[str, str], target: bytes, after: str) -> PartnerReply:
        """Return one page of lines of JSON.

        Args:
            partner: Who says to be asking; may be any text.
            headers: By lower-case name; the signature is over `target`.
            target: Path and query of the request, as they were sent.
            after: Cursor of the last line that it has; from the beginning if empty or unknown.

        Raises:
            StoreError: the store cannot be read.
        """
        ...


class PartnerService(Protocol):
    """Other platforms."""

    @property
    def feed(self) -> FeedService:
        """What they were to be told."""
        ...

    async def take(self, partner: str, headers: Mapping[str, str], body: bytes) -> PartnerReply:
        """Check and act upon one event; durable on return.

        Args:
            partner: The name in the address; may be any text.
            headers: By lower-case name.
            body: Exactly the bytes that came.

        Raises:
            StoreError: nothing was noted; the partner sends it again.
        """
        ...

    def alerts(self) -> Sequence[PartnerAlertView]:
        """Return what was heard in the last day, newest first, from memory."""
        ...
