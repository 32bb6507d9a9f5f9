"""What the web layer needs from the daemon: four ports and the plain values that cross them.

Every text in these values is fit for a page and for JSON: titles are already replaced by the stream id where names are
secret, details hold no address, key or token. Titles may still hold a publisher's hostile text; the web layer escapes it.
Times are aware and in UTC. Methods that read memory are synchronous and must not block; methods that touch the store are
coroutines and raise `StoreError`, which the web layer answers with 503.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from monitor.protocol.decision import Reason
from monitor.servers.port import GateReply, RawGateRequest
from monitor.vocabulary import (
    EffectKind,
    EffectOutcome,
    Freshness,
    Posture,
    ReviewDecision,
    ReviewReason,
    Severity,
    StreamRef,
    WatchState,
)
from monitor.web.acknowledge_port import AcknowledgedView
from monitor.web.enforcement_values import BlockView, NewBlock, PolicyView, ReportView
from monitor.web.people_port import Standing
from monitor.web.threshold_values import ThresholdView


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a health endpoint. `detail` is a short safe sentence that says what is wrong or what was measured."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ServerView:
    """One configured media server.

    Attributes:
        ok, last_error: The last listing succeeded; else the `reason` of its error.
        dry_run: Nothing is cut or blocked on this server (its own setting or the daemon's).
        streams: Live publications in the last listing.
        state: A word of `monitor.daemon.discovery.ServerState`.
        excluded: Live publications that are not watched because the configuration says so.
        can_cut, synchronous_block: As in `monitor.servers.port.Capabilities`. warnings: What `probe` warned of, in words.
    """

    name: str
    kind: str
    ok: bool
    last_error: str
    dry_run: bool
    streams: int
    can_cut: bool = True
    synchronous_block: bool = True
    warnings: tuple[str, ...] = ()
    state: str = "up"
    excluded: int = 0


@dataclass(frozen=True, slots=True)
class StreamView:
    """One live stream as the daemon sees it now.

    Attributes:
        title: ``app/name``, or the stream id where names are secret.
        last_scores: Last score in [0, 1] per label; empty before the first verdict.
        verdict_age_s: Seconds since the last verdict's last frame arrived; None before the first.
        viewers: 0 if unknown.
        protocol: Name of the protocol in force.
        incident_id: The open incident on this stream, if any.
        since: When the daemon first saw this publication.
        detail: Codec and size, or why it is not watched; may be empty.
    """

    stream_id: str
    server: str
    title: str
    state: WatchState
    freshness: Freshness
    posture: Posture
    severity: Severity
    last_scores: Mapping[str, float]
    verdict_age_s: float | None
    viewers: int
    protocol: str
    incident_id: str | None
    since: datetime
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ReviewView:
    """A decision that a responder took."""

    decision: ReviewDecision
    by: str
    why: str
    at: datetime
    reason: ReviewReason = ReviewReason.OTHER


@dataclass(frozen=True, slots=True)
class IncidentView:
    """One incident in a list.

    Attributes:
        state: Name of the protocol state.
        state_summary: What that state means to a responder, in the protocol's words; empty where it has none, and once closed.
        severity: Highest current severity over all labels.
        sequence: As in `IncidentState.sequence`; grows with every change.
        review_due: When the protocol acts by itself if nobody decides; None when no review is awaited.
        reviewable: A decision by a responder would be accepted now.
        review: The last decision taken, if any.
        dry_run, drill: Its cuts and blocks are only recorded; it is an exercise, and nothing is done to the stream.
        decisions: What a responder may decide now.
        people, confirmed_by: How many people must confirm, and who has so far, while more must.
        policy: The rule that is enforced, if one is known.
        reports, strikes: Users' reports of the stream in this incident; strikes against its publisher.
        acknowledged: Who is on it, if anybody has said so.
    """

    incident_id: str
    stream_id: str
    server: str
    title: str
    protocol: str
    state: str
    severity: Severity
    max_severity: Severity
    sequence: int
    opened_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    reviewable: bool
    review_due: datetime | None = None
    review: ReviewView | None = None
    dry_run: bool = False
    drill: bool = False
    decisions: Sequence[ReviewDecision] = (ReviewDecision.CONFIRM, ReviewDecision.DISMISS)
    people: int = 1
    confirmed_by: Sequence[str] = ()
    policy: PolicyView | None = None
    reports: int = 0
    strikes: int = 0
    state_summary: str = ""
    acknowledged: AcknowledgedView | None = None


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One audit row.

    Attributes:
        actor: Who or what caused it: a responder's name, ``protocol``, ``media server``, ``watcher`` …
        reason: Why, from the closed list; None for rows that are no decision.
        before, after: State names; equal when no transition took place.
        detail: One safe sentence; may be empty. Holds a responder's own words for a review.
    """

    at: datetime
    actor: str
    reason: Reason | None
    before: str
    after: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class EffectView:
    """One effect that the protocol asked for; `outcome` is None while it is still to be done or being done."""

    key: str
    kind: EffectKind
    requested_at: datetime
    finished_at: datetime | None
    outcome: EffectOutcome | None
    attempts: int
    detail: str = ""
    dry_run: bool = False


class DeliveryState(StrEnum):
    """Where an alert to one receiver stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One alert to one receiver; `last_reason` is the reason word of the last failure, `at` the time of the last change."""

    receiver: str
    event: str
    state: DeliveryState
    attempts: int
    last_reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class EvidenceView:
    """One evidence package; never media itself. `reference` is its name below the evidence folder.

    `videos`, `video_s` and `video_bytes` say how many files of compressed video there are, and what they hold.
    """

    reference: str
    preserved_at: datetime
    frames: int
    scores: int
    size_bytes: int
    sha256: str
    videos: int = 0
    video_s: float = 0.0
    video_bytes: int = 0


@dataclass(frozen=True, slots=True)
class IncidentDetail:
    """One incident with everything that happened, oldest first."""

    summary: IncidentView
    severities: Mapping[str, Severity] = field(default_factory=dict)
    timeline: Sequence[TimelineEntry] = ()
    effects: Sequence[EffectView] = ()
    deliveries: Sequence[DeliveryView] = ()
    evidence: Sequence[EvidenceView] = ()
    standing: Standing = field(default_factory=Standing)
    reports: Sequence[ReportView] = ()


class ReviewOutcome(StrEnum):
    """What became of a review."""

    ACCEPTED = "accepted"
    NOTED = "noted"
    REPEATED = "already_confirmed"
    UNKNOWN = "unknown_incident"
    ALREADY_DECIDED = "already_decided"
    CLOSED = "incident_closed"
    NOT_AWAITED = "review_not_awaited"


@dataclass(frozen=True, slots=True)
class ReviewResult:
    """The answer to a review.

    Attributes:
        outcome: `ACCEPTED` or `NOTED` (more people must confirm), or why not.
        confirmed_by: Who has confirmed so far, where more people must.
        people: How many must.
        standing: For a decision that came late: what was done, and what can still be undone; None where that is not it.
        state: The incident's state afterwards; empty when unknown.
        review: The decision that stands: the new one when accepted, the earlier one when already decided; None if none.
    """

    outcome: ReviewOutcome
    state: str = ""
    review: ReviewView | None = None
    confirmed_by: Sequence[str] = ()
    people: int = 1
    standing: Standing | None = None


class DaemonView(Protocol):
    """What the daemon knows, from memory."""

    @property
    def model(self) -> str:
        """Name and version of the model in force."""
        ...

    @property
    def dry_run(self) -> bool:
        """Nothing is cut or blocked anywhere."""
        ...

    def streams(self) -> Sequence[StreamView]:
        """Return every live stream; the web layer sorts."""
        ...

    def servers(self) -> Sequence[ServerView]:
        """Return every configured media server."""
        ...

    def thresholds(self) -> Sequence[ThresholdView]:
        """Return the thresholds in force, by server and application."""
        ...

    def ref_of(self, stream_id: str) -> StreamRef | None:
        """Return the live or recently live stream with this id, or None."""
        ...

    def live(self) -> Sequence[Check]:
        """Return the checks of liveness: the daemon itself makes progress. Never depends on other systems."""
        ...

    def ready(self) -> Sequence[Check]:
        """Return the checks of readiness: model warm, store writable, servers answering, not draining."""
        ...

    def started(self) -> Sequence[Check]:
        """Return the checks of the start; once all of them hold, they hold for as long as the daemon runs."""
        ...

    @property
    def revision(self) -> int:
        """Grows with every change that a page would show."""
        ...

    async def wait_changed(self, after: int) -> int:
        """Wait until `revision` is greater than `after` and return it, as `ChangeSignal` does; cancellation ends the wait."""
        ...


class IncidentService(Protocol):
    """Incidents, and the one thing people do to them."""

    async def incidents(
        self, *, limit: int, open_only: bool = False, after: str | None = None
    ) -> Sequence[IncidentView]:
        """Return incidents, newest first.

        Args:
            limit: At most so many, 1 to 500.
            open_only: Leave out those that are closed.
            after: Continue below this incident id (the last one of the page before); an unknown id gives an empty page.
        """
        ...

    async def incident(self, incident_id: str) -> IncidentDetail | None:
        """Return one incident with its history, or None when there is none; `incident_id` may be any text."""
        ...

    async def review(
        self,
        incident_id: str,
        decision: ReviewDecision,
        *,
        by: str,
        why: str,
        reason: ReviewReason = ReviewReason.OTHER,
    ) -> ReviewResult:
        """Record a responder's decision and step the protocol; returns after the transaction is durable."""
        ...


class BlockService(Protocol):
    """Who may not publish."""

    async def blocks(self) -> Sequence[BlockView]:
        """Return the blocks in force, newest first."""
        ...

    async def add(self, ref: StreamRef, *, until: datetime | None, by: str, why: str) -> BlockView:
        """Block, or prolong or shorten the block in force; durable on return."""
        ...

    async def add_many(self, blocks: Sequence[NewBlock], *, by: str) -> None:
        """Block as `add` does, all in one transaction."""
        ...

    async def remove(self, ref: StreamRef, *, by: str, why: str) -> bool:
        """Lift the block; False when there was none."""
        ...

    def is_blocked(self, ref: StreamRef) -> bool:
        """Answer from memory."""
        ...


class GateService(Protocol):
    """The publish gate: asks the adapter to read the request and the blocks for the answer."""

    async def decide(self, server_name: str, request: RawGateRequest) -> GateReply:
        """Answer one gate request; called only for names for which `reply` gives an answer.

        Raises:
            GateRequestError: it cannot be understood; the web layer then sends ``reply(server_name, allow=False)``.
        """
        ...

    def reply(self, server_name: str, *, allow: bool) -> GateReply | None:
        """Return the adapter's answer without a request (``gate_reply(None, allow=allow)``); None for an unknown server."""
        ...
