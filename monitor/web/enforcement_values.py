"""Plain values about policies, blocks and reports that cross the web layer's ports; see `monitor.web.port`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from monitor.vocabulary import StreamRef


@dataclass(frozen=True, slots=True)
class PolicyView:
    """The rule that an incident comes under; one that is configured no more has its code for a title."""

    code: str
    title: str
    category: str = ""
    tier: str = ""
    url: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class ReportView:
    """One user's report; who it was is not shown. `by` is the token's name, `text` a stranger's words, perhaps none."""

    at: datetime
    category: str
    text: str
    by: str
    live: bool


@dataclass(frozen=True, slots=True)
class NewBlock:
    """Whom to block, until when (None for ever), and why."""

    ref: StreamRef
    until: datetime | None
    why: str


@dataclass(frozen=True, slots=True)
class BlockView:
    """One publisher name that may not publish.

    Attributes:
        ref: Which stream; shown as `title` only, because names may be secret.
        until: When the block ends; None for never.
        by: Responder's name or ``protocol``.
        incident_id: The incident that led to it, if any.
    """

    ref: StreamRef
    title: str
    since: datetime
    until: datetime | None
    by: str
    why: str
    incident_id: str | None = None
