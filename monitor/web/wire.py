# ruff: noqa: D101, D103 - docs/api.md describes every object and field; the names are the same
"""The JSON of API v1: what goes out, and what may come in. Fields are only ever added."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from monitor.vocabulary import ReviewReason
from monitor.web import port
from monitor.web.acknowledge_wire import AcknowledgedBy, acknowledged
from monitor.web.display import displayable, displayable_lines
from monitor.web.enforcement_values import BlockView
from monitor.web.people_port import Standing
from monitor.web.policy_wire import Policy, Report, policy, report


class ReviewBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Body of a review."""

    decision: Literal["confirm", "dismiss", "escalate", "release"]
    why: str
    by: str | None = None
    reason: str = ReviewReason.OTHER.value


class BlockBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename={"duration": "for"}):
    """Body that blocks a publisher: by `stream_id`, or by `server`, `app` and `name`."""

    duration: str
    why: str
    stream_id: str | None = None
    server: str | None = None
    app: str | None = None
    name: str | None = None


class UnblockBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Body that lifts a block."""

    why: str


class Server(msgspec.Struct, frozen=True):
    name: str
    kind: str
    ok: bool
    last_error: str
    dry_run: bool
    state: str
    streams: int
    excluded: int
    can_cut: bool
    synchronous_block: bool
    warnings: Sequence[str]


class Stream(msgspec.Struct, frozen=True):
    stream_id: str
    server: str
    title: str
    state: str
    freshness: str
    posture: str
    severity: str
    last_scores: dict[str, float]
    verdict_age_s: float | None
    viewers: int
    protocol: str
    incident_id: str | None
    since: datetime
    detail: str


class Review(msgspec.Struct, frozen=True):
    decision: str
    by: str
    why: str
    at: datetime
    reason: str


class Incident(msgspec.Struct, frozen=True):
    incident_id: str
    stream_id: str
    server: str
    title: str
    protocol: str
    state: str
    severity: str
    max_severity: str
    sequence: int
    opened_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    reviewable: bool
    review_due: datetime | None
    review: Review | None
    dry_run: bool
    drill: bool
    decisions: Sequence[str]
    people: int
    confirmed_by: Sequence[str]
    policy: Policy | None
    reports: int
    strikes: int
    state_summary: str
    acknowledged: AcknowledgedBy | None


class Step(msgspec.Struct, frozen=True):
    at: datetime
    actor: str
    reason: str | None
    before: str
    after: str
    detail: str


class Effect(msgspec.Struct, frozen=True):
    key: str
    kind: str
    requested_at: datetime
    finished_at: datetime | None
    outcome: str | None
    attempts: int
    detail: str
    dry_run: bool


class Delivery(msgspec.Struct, frozen=True):
    receiver: str
    event: str
    state: str
    attempts: int
    last_reason: str
    at: datetime


class Evidence(msgspec.Struct, frozen=True):
    reference: str
    preserved_at: datetime
    frames: int
    scores: int
    size_bytes: int
    sha256: str
    videos: int
    video_s: float
    video_bytes: int


class Happening(msgspec.Struct, frozen=True):
    what: str
    at: datetime
    by: str
    because: str


class Undo(msgspec.Struct, frozen=True):
    action: str
    what: str
    how: str


class IncidentHistory(msgspec.Struct, frozen=True):
    incident: Incident
    severities: dict[str, str]
    timeline: Sequence[Step]
    effects: Sequence[Effect]
    deliveries: Sequence[Delivery]
    evidence: Sequence[Evidence]
    happened: Sequence[Happening]
    undo: Sequence[Undo]
    reports: Sequence[Report]


class Block(msgspec.Struct, frozen=True):
    stream_id: str
    server: str
    title: str
    since: datetime
    until: datetime | None
    by: str
    why: str
    incident_id: str | None


class CheckLine(msgspec.Struct, frozen=True):
    name: str
    ok: bool
    detail: str


class Status(msgspec.Struct, frozen=True):
    version: str
    model: str
    dry_run: bool
    ready: bool
    checks: Sequence[CheckLine]
    servers: Sequence[Server]


class Streams(msgspec.Struct, frozen=True):
    streams: Sequence[Stream]


class Incidents(msgspec.Struct, frozen=True):
    incidents: Sequence[Incident]
    next_after: str | None


class Blocks(msgspec.Struct, frozen=True):
    blocks: Sequence[Block]


class Session(msgspec.Struct, frozen=True):
    name: str
    role: str


class Reviewed(msgspec.Struct, frozen=True):
    incident_id: str
    state: str
    review: Review | None
    confirmed_by: Sequence[str] = ()
    people: int = 1


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    reason: str
    message: str
    field: str | None = None
    review: Review | None = None
    state: str | None = None
    happened: Sequence[Happening] = ()
    undo: Sequence[Undo] = ()


class Error(msgspec.Struct, frozen=True):
    error: ErrorBody


def server(view: port.ServerView) -> Server:
    return Server(**{name: getattr(view, name) for name in Server.__struct_fields__})


def stream(view: port.StreamView) -> Stream:
    return Stream(
        stream_id=view.stream_id,
        server=view.server,
        title=displayable(view.title),
        state=view.state.value,
        freshness=view.freshness.value,
        posture=view.posture.value,
        severity=view.severity.word,
        last_scores={label: round(score, 4) for label, score in view.last_scores.items()},
        verdict_age_s=None if view.verdict_age_s is None else round(view.verdict_age_s, 3),
        viewers=view.viewers,
        protocol=view.protocol,
        incident_id=view.incident_id,
        since=view.since,
        detail=displayable(view.detail),
    )


def review(view: port.ReviewView) -> Review:
    return Review(
        decision=view.decision.value,
        by=displayable(view.by),
        why=displayable_lines(view.why),
        at=view.at,
        reason=view.reason.value,
    )


def happened(view: Standing) -> list[Happening]:
    return [Happening(one.what.value, one.at, displayable(one.by), one.because) for one in view.happened]


def undo(view: Standing) -> list[Undo]:
    return [Undo(one.action, one.what, one.how) for one in view.undo]


def incident(view: port.IncidentView) -> Incident:
    return Incident(
        incident_id=view.incident_id,
        stream_id=view.stream_id,
        server=view.server,
        title=displayable(view.title),
        protocol=view.protocol,
        state=view.state,
        severity=view.severity.word,
        max_severity=view.max_severity.word,
        sequence=view.sequence,
        opened_at=view.opened_at,
        updated_at=view.updated_at,
        closed_at=view.closed_at,
        reviewable=view.reviewable,
        review_due=view.review_due,
        review=None if view.review is None else review(view.review),
        dry_run=view.dry_run,
        drill=view.drill,
        decisions=[decision.value for decision in view.decisions],
        people=view.people,
        confirmed_by=[displayable(by) for by in view.confirmed_by],
        policy=None if view.policy is None else policy(view.policy),
        reports=view.reports,
        strikes=view.strikes,
        state_summary=view.state_summary,
        acknowledged=None if view.acknowledged is None else acknowledged(view.acknowledged),
    )


def _step(view: port.TimelineEntry) -> Step:
    return Step(
        at=view.at,
        actor=displayable(view.actor),
        reason=None if view.reason is None else view.reason.value,
        before=view.before,
        after=view.after,
        detail=displayable_lines(view.detail),
    )


def _effect(view: port.EffectView) -> Effect:
    return Effect(
        key=view.key,
        kind=view.kind.value,
        requested_at=view.requested_at,
        finished_at=view.finished_at,
        outcome=None if view.outcome is None else view.outcome.value,
        attempts=view.attempts,
        detail=displayable(view.detail),
        dry_run=view.dry_run,
    )


def _delivery(view: port.DeliveryView) -> Delivery:
    return Delivery(
        receiver=view.receiver,
        event=view.event,
        state=view.state.value,
        attempts=view.attempts,
        last_reason=view.last_reason,
        at=view.at,
    )


def _evidence(view: port.EvidenceView) -> Evidence:
    return Evidence(
        reference=view.reference,
        preserved_at=view.preserved_at,
        frames=view.frames,
        scores=view.scores,
        size_bytes=view.size_bytes,
        sha256=view.sha256,
        videos=view.videos,
        video_s=view.video_s,
        video_bytes=view.video_bytes,
    )


def history(detail: port.IncidentDetail) -> IncidentHistory:
    return IncidentHistory(
        incident=incident(detail.summary),
        severities={label: severity.word for label, severity in detail.severities.items()},
        timeline=[_step(entry) for entry in detail.timeline],
        effects=[_effect(effect) for effect in detail.effects],
        deliveries=[_delivery(delivery) for delivery in detail.deliveries],
        evidence=[_evidence(package) for package in detail.evidence],
        happened=happened(detail.standing),
        undo=undo(detail.standing),
        reports=[report(one) for one in detail.reports],
    )


def block(view: BlockView) -> Block:
    return Block(
        stream_id=view.ref.stream_id,
        server=view.ref.server,
        title=displayable(view.title),
        since=view.since,
        until=view.until,
        by=displayable(view.by),
        why=displayable_lines(view.why),
        incident_id=view.incident_id,
    )


def check(view: port.Check) -> CheckLine:
    return CheckLine(name=view.name, ok=view.ok, detail=displayable(view.detail))
