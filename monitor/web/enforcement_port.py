"""What the web layer needs from the daemon about offences and reports: two ports and the values that cross them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from monitor.vocabulary import Category, OffenceContext, StreamRef
from monitor.web.enforcement_values import PolicyView


@dataclass(frozen=True, slots=True)
class StrikeView:
    """One strike that stands. Who it is against is known by hashes only; `stream_id` is None where there was no stream.

    Attributes:
        known_by: What the publisher is known by: ``stream``, ``account``, ``address``.
        server: Media server, or empty for all.
        number: Place on the ladder; 0 for an offence that its context excuses.
        until: Until when it bars from live; `expires_at` until when it counts.
    """

    strike_id: str
    stream_id: str | None
    known_by: tuple[str, ...]
    server: str
    scope: str
    policy: PolicyView
    origin: str
    context: str
    number: int
    decided_at: datetime
    until: datetime
    expires_at: datetime
    incident_id: str | None
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Culprit:
    """Whom a strike is against: exactly one of these. An account or address may be on one `server`, or on all with None."""

    ref: StreamRef | None = None
    account: str | None = None
    address: str | None = None
    server: str | None = None


class StrikeService(Protocol):
    """Offences that count against publishers."""

    @property
    def knows_accounts(self) -> bool:
        """Whether streams can be told to belong to an account."""
        ...

    @property
    def knows_addresses(self) -> bool:
        """Whether addresses count."""
        ...

    @property
    def everywhere(self) -> bool:
        """Whether strikes count on every media server."""
        ...

    def policies(self) -> Sequence[tuple[PolicyView, bool]]:
        """Return the policies, each with whether breaking it gives a strike."""
        ...

    async def strikes(self) -> Sequence[StrikeView]:
        """Return the strikes that stand, newest first."""
        ...

    async def add(
        self,
        culprit: Culprit,
        policy: str,
        *,
        context: OffenceContext,
        decided_at: datetime | None,
        by: str,
        why: str,
    ) -> StrikeView:
        """Record an offence that was not seen on a live stream here; durable on return.

        Raises:
            ValueError: the address is none.
        """
        ...

    async def remove(self, strike_id: str, *, by: str, why: str) -> bool:
        """Take a strike back, and what it barred; False when there is none that stands."""
        ...


class ReportOutcome(StrEnum):
    """What became of a report. `ended`: taken, though the stream is over."""

    TAKEN = "taken"
    ENDED = "ended"
    DUPLICATE = "duplicate"
    TOO_MANY = "too_many"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ReportResult:
    """The answer to a report; `wait_s` is how long to wait after too many."""

    outcome: ReportOutcome
    report_id: str | None = None
    incident_id: str | None = None
    ended_at: datetime | None = None
    wait_s: float = 0.0


class ReportService(Protocol):
    """Takes reports by users."""

    async def report(self, stream_id: str, category: Category, *, text: str, reporter: str, by: str) -> ReportResult:
        """Tell the stream's protocol, and record it.

        Args:
            stream_id: Which stream.
            category: What it is about.
            text: The user's words; may be empty.
            reporter: Whoever reports, as the owner of the token names them; only a keyed hash is kept.
            by: The token's name.
        """
        ...
