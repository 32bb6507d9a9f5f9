"""Rows of one incident, turned into what people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row

from monitor.daemon.standing import decisions_heard
from monitor.daemon.views import utc
from monitor.evidence.package import PackageSummary
from monitor.incidents.engine import IncidentEngine
from monitor.policies import Policies
from monitor.protocol.decision import Reason
from monitor.store.acknowledgements import AcknowledgementRecord
from monitor.store.audit import AuditEntry
from monitor.store.effects import PENDING, EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.store.reports import ReportRecord
from monitor.vocabulary import EffectOutcome, ReviewDecision, ReviewReason, Severity
from monitor.web.acknowledge_port import AcknowledgedView
from monitor.web.enforcement_values import PolicyView, ReportView
from monitor.web.people_port import Standing
from monitor.web.port import (
    DeliveryState,
    DeliveryView,
    EffectView,
    EvidenceView,
    IncidentDetail,
    IncidentView,
    ReviewView,
    TimelineEntry,
)

_NO_POLICIES = Policies()


def incident_view(
    record: IncidentRecord,
    title: str,
    engine: IncidentEngine,
    policies: Policies = _NO_POLICIES,
    acknowledged: AcknowledgementRecord | None = None,
) -> IncidentView:
    """Return one incident as a list shows it."""
    review = None
    if record.review_decision is not None and record.review_at is not None:
        review = ReviewView(
            decision=ReviewDecision(record.review_decision),
            by=record.review_by or "",
            why=record.review_why or "",
            at=utc(record.review_at),
            reason=ReviewReason(record.review_reason or ReviewReason.OTHER),
        )
    severities = [Severity.from_word(word) for word in record.severities.values()]
    return IncidentView(
        incident_id=record.id,
        acknowledged=None
        if acknowledged is None
        else AcknowledgedView(acknowledged.by, utc(acknowledged.at), acknowledged.via),
        stream_id=record.ref.stream_id,
        server=record.server,
        title=title,
        protocol=record.protocol,
        state=record.state,
        severity=max(severities, default=Severity.NONE),
        max_severity=Severity.from_word(record.max_severity),
        sequence=record.sequence,
        opened_at=utc(record.opened_at),
        updated_at=utc(record.changed_at),
        closed_at=None if record.closed_at is None else utc(record.closed_at),
        reviewable=bool(decisions_heard(record, engine)),
        review_due=None if record.review_due_at is None else utc(record.review_due_at),
        review=review,
        dry_run=record.dry_run,
        drill=record.drill,
        decisions=decisions_heard(record, engine),
        people=record.review_people,
        confirmed_by=tuple(record.review_confirmed_by),
        policy=None if record.policy is None else policy_view(record.policy, policies),
        reports=record.reports,
        strikes=record.strikes,
        state_summary=_meaning(record, engine),
    )


def _meaning(record: IncidentRecord, engine: IncidentEngine) -> str:
    """Return what the protocol says to whoever looks at an incident in this state."""
    incident = engine.open_incident(record.stream_id)
    if incident is None or incident.record.id != record.id:
        return ""
    return incident.definition.states[incident.state.state].summary


def policy_view(code: str, policies: Policies) -> PolicyView:
    """Return a policy as people read it, also one that is configured no more."""
    policy = policies.get(code)
    if policy is None:
        return PolicyView(code, code)
    return PolicyView(policy.code, policy.title, policy.category.value, policy.tier.value, policy.url, policy.text)


def detail_view(
    summary: IncidentView,
    record: IncidentRecord,
    *,
    log: Sequence[AuditEntry],
    effects: Sequence[EffectRecord],
    deliveries: Sequence[DeliveryView],
    packages: Sequence[PackageSummary],
    standing: Standing,
    reports: Sequence[ReportRecord] = (),
) -> IncidentDetail:
    """Return one incident with all that happened."""
    return IncidentDetail(
        summary=summary,
        severities={label: Severity.from_word(word) for label, word in record.severities.items()},
        timeline=[_timeline_entry(entry) for entry in log],
        effects=[_effect_view(effect) for effect in effects],
        deliveries=deliveries,
        evidence=[
            EvidenceView(
                reference=package.reference,
                preserved_at=utc(package.preserved_at),
                frames=package.frames,
                scores=package.scores,
                size_bytes=package.size_bytes,
                sha256=package.sha256,
                videos=package.videos,
                video_s=package.video_s,
                video_bytes=package.video_bytes,
            )
            for package in packages
        ],
        standing=standing,
        reports=[ReportView(utc(one.at), one.category, one.text, one.token, one.live) for one in reports],
    )


def delivery_view(row: Row[Any]) -> DeliveryView:
    """Return one alert to one receiver."""
    return DeliveryView(
        receiver=row.receiver,
        event=row.event_type.removeprefix("livecordon.").removeprefix("incident.").replace(".", "_"),
        state=DeliveryState.DEAD if row.status in ("cancelled", "discarded") else DeliveryState(row.status),
        attempts=row.attempts,
        last_reason=row.last_reason or "",
        at=utc(row.finished_at or row.created_at),
    )


def _timeline_entry(entry: AuditEntry) -> TimelineEntry:
    detail = entry.detail
    reason = detail.get("reason")
    return TimelineEntry(
        at=utc(entry.at),
        actor=entry.actor,
        reason=Reason(reason) if reason in set(Reason) else None,
        before=str(detail.get("before", "")),
        after=str(detail.get("after", "")),
        detail=_sentence(detail.get("caused_by", {}), detail.get("result", {})) or _noted(entry),
    )


def _noted(entry: AuditEntry) -> str:
    """Return what a row says that is no decision of the protocol."""
    detail = entry.detail
    match entry.action:
        case "effect_paused":
            return f"{detail['effect']} waits: containment is paused by {detail['by']} until {utc(detail['until']):%H:%M:%S}"
        case "alert_silenced":
            return f"the alert {detail['event']!r} was not sent: silenced by {detail['by']}"
        case "acknowledged":
            return f"somebody is on it (said through {detail['via']})"
        case "partner_receipt":
            return f"what came of it there: {', '.join(map(str, detail['acted'])) or 'nothing'}"
        case "review_overdue":
            return f"passed on to {detail['group']}"
        case _:
            return ""


def _sentence(caused_by: Mapping[str, Any], result: Mapping[str, Any]) -> str:  # noqa: C901, PLR0911 - one per event
    match caused_by.get("event"):
        case "DetectionRaised":
            score = float(caused_by["score"])
            threshold = caused_by.get("threshold")
            over = "" if threshold is None else f", with hits counted from {threshold:.2f}"
            return f"{caused_by['label']} raised to {caused_by['severity']} at a score of {score:.2f}{over}"
        case "DetectionCleared":
            return f"{caused_by['label']} fell to {caused_by['severity']}"
        case "Reviewed":
            said = str(caused_by["decision"])
            if caused_by.get("reason", "other") != "other":
                said += f" ({str(caused_by['reason']).replace('_', ' ')})"
            return f"{said}: {caused_by['why']}" if caused_by.get("why") else said
        case "EffectFinished":
            return f"{str(caused_by['kind']).replace('_', ' ')} {caused_by['outcome']}{_facts(result)}"
        case "UserReported":
            return f"a user reported it: {caused_by['category']}"
        case "PartnerAlerted":
            return f"partner {caused_by['partner']}: {caused_by['signal']}"
        case "StrikesChanged":
            return f"strikes that stand against the publisher: {caused_by['strikes']}"
        case "StreamEnded":
            return "the publication ended"
        case "StreamReturned":
            return "the publisher came back"
        case "WatchChanged":
            return _SEEN.get(str(caused_by.get("freshness")), "")
        case _:
            return ""


_SEEN = {
    "fresh": "the stream is watched in time",
    "late": "the last verdict on the stream is late",
    "blind": "the stream is not seen any more",
}


def _facts(result: Mapping[str, Any]) -> str:
    shown = [f"{key.replace('_', ' ')} {value}" for key, value in result.items() if key not in {"sha256", "package"}]
    return f" ({', '.join(shown)})" if shown else ""


def _effect_view(effect: EffectRecord) -> EffectView:
    detail = effect.detail or {}
    return EffectView(
        key=effect.key,
        kind=effect.kind,
        requested_at=utc(effect.requested_at),
        finished_at=None if effect.finished_at is None else utc(effect.finished_at),
        outcome=None if effect.status == PENDING else EffectOutcome(effect.status),
        attempts=effect.attempts,
        detail=_facts(detail).strip(" ()"),
        dry_run=bool(detail.get("dry_run", False)),
    )
