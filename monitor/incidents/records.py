"""Between the protocol's plain state and the store's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any

from monitor.errors import StoreError
from monitor.policies import Policies, Policy
from monitor.protocol.decision import Decision, IncidentState, Reason
from monitor.protocol.definition import Definition, OnReview
from monitor.protocol.events import DetectionRaised, Event, Reviewed, UserReported
from monitor.protocol.words import CONTAINS
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectKind, Posture, Severity, StreamRef

REVIEWS_TAKEN = frozenset(
    {Reason.REVIEW_CONFIRMED, Reason.REVIEW_DISMISSED, Reason.REVIEW_ESCALATED, Reason.REVIEW_RELEASED}
)
"""Reasons of the decisions in which a responder's word counted; any other review came too late or was not asked for."""


@dataclass(frozen=True, slots=True)
class StreamContext:
    """What the engine needs to know of a stream when something happens on it.

    Attributes:
        session: The media server's word for the publication that is live, or was until now.
        definition: The protocol in force for this stream; an open incident keeps the one it began with.
        dry_run: Containment on this stream is only recorded; fixed for an incident when it begins.
        model: ``name@version`` of the classifier in force.
        strikes: Strikes that stand against the publisher; an incident that begins starts with them.
        viewers: Viewers of the stream now; an incident that begins starts with them.
        drill: The incident that begins is an exercise.
    """

    ref: StreamRef
    session: str
    definition: Definition
    dry_run: bool
    model: str
    strikes: int = 0
    viewers: int = 0
    drill: bool = False


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """An incident under way.

    Attributes:
        record: Its row.
        state: What the protocol steps.
        definition: Under which it began.
        clocks_apart_s: By how much the wall clock was ahead of the monotonic one at the last decision, so that its deadlines can
            be waited for on either; None where another daemon has decided.
    """

    record: IncidentRecord
    state: IncidentState
    definition: Definition
    clocks_apart_s: float | None = None

    @property
    def posture(self) -> Posture:
        """How closely its stream is to be watched."""
        return Posture(self.record.posture)


def drill_id(ref: StreamRef) -> str:
    """Return what stands for the stream in a drill on it: real incidents are found by the stream's own id."""
    return f"drill-{ref.stream_id}"


def begin_record(incident_id: str, context: StreamContext, *, now: float) -> IncidentRecord:
    """Return the row of an incident that is about to begin."""
    return IncidentRecord(
        id=incident_id,
        server=context.ref.server,
        app=context.ref.app,
        name=context.ref.name,
        stream_id=drill_id(context.ref) if context.drill else context.ref.stream_id,
        session=context.session,
        definition_digest=context.definition.digest,
        protocol=context.definition.name,
        state=context.definition.initial,
        entered_at=now,
        sequence=0,
        severities={},
        max_severity=Severity.NONE.word,
        label="",
        score=0.0,
        posture=Posture.CALM.value,
        strikes=context.strikes,
        viewers=context.viewers,
        dry_run=context.dry_run,
        model=context.model,
        opened_at=now,
        changed_at=now,
        drill=context.drill,
    )


def apply_decision(
    record: IncidentRecord, decision: Decision, event: Event, definition: Definition, *, now: float
) -> IncidentRecord:
    """Return the row as it stands after `decision`."""
    after = decision.after
    changed = replace(
        record,
        state=after.state,
        entered_at=after.entered_at,
        sequence=after.sequence,
        severities={label: severity.word for label, severity in after.severities.items()},
        max_severity=after.max_severity.word,
        posture=decision.posture.value,
        strikes=after.strikes,
        viewers=after.viewers,
        reports=after.reports,
        review_people=after.people,
        review_confirmed_by=list(after.confirmed_by),
        changed_at=now,
        closed_at=now if decision.closed and record.closed_at is None else record.closed_at,
    )
    if isinstance(event, DetectionRaised) and event.severity >= Severity.from_word(record.max_severity):
        changed = replace(changed, label=event.label, score=event.score)
    if isinstance(event, Reviewed) and decision.reason in REVIEWS_TAKEN:
        changed = replace(
            changed,
            review_decision=event.decision.value,
            review_by=event.by,
            review_why=event.why,
            review_at=now,
            review_due_at=None,
            review_reason=event.reason.value,
        )
    if not awaits_review(definition, after.state):
        changed = replace(changed, review_due_at=None)
    return changed


def cited(record: IncidentRecord, decision: Decision, event: Event, policies: Policies) -> str | None:
    """Return the code of the policy that an incident comes under after `decision`.

    What the protocol names counts first, then the detection that the incident is about, then the first report; and what
    contains somebody always cites one, if there is any.
    """
    for request in reversed(decision.effects):
        if (named := request.parameters.get("policy")) is not None:
            return str(named)
    found: Policy | None = None
    if isinstance(event, DetectionRaised) and event.label == record.label:
        found = policies.of_label(event.label)
    elif isinstance(event, UserReported) and record.policy is None:
        found = policies.of_category(event.category)
    if found is None and record.policy is None and any(request.kind in CONTAINS for request in decision.effects):
        found = policies.otherwise
    return record.policy if found is None else found.code


def awaits_review(definition: Definition, state: str) -> bool:
    """Whether a responder's decision means anything in this state."""
    return any(isinstance(transition.trigger, OnReview) for transition in definition.states[state].transitions)


def state_of(record: IncidentRecord, deadlines: Mapping[str, float], asked: Mapping[EffectKind, int]) -> IncidentState:
    """Rebuild the protocol's state from the store.

    Args:
        record: The incident's row.
        deadlines: Its pending deadlines.
        asked: Per kind of effect, the number of the decision that asked for it last.
    """
    return IncidentState(
        state=record.state,
        entered_at=record.entered_at,
        sequence=record.sequence,
        severities={label: Severity.from_word(word) for label, word in record.severities.items()},
        max_severity=Severity.from_word(record.max_severity),
        deadlines=dict(deadlines),
        asked=dict(asked),
        strikes=record.strikes,
        viewers=record.viewers,
        reports=record.reports,
        people=record.review_people,
        confirmed_by=tuple(record.review_confirmed_by),
    )


def event_detail(event: Event) -> dict[str, Any]:
    """Return an event as JSON values for the audit log."""
    values: dict[str, Any] = {"event": type(event).__name__}
    for field in fields(event):
        value = getattr(event, field.name)
        if isinstance(value, Severity):
            value = value.word
        elif isinstance(value, Enum):
            value = value.value
        values[field.name] = value
    return values


def definition_of(content: str) -> Definition:
    """Return a definition as it was stored; StoreError where this version cannot read it."""
    try:
        return Definition.from_json(content)
    except ValueError as error:
        raise StoreError(
            "an open incident runs under a protocol that this version cannot read; run the version that began it",
            reason="unreadable_definition",
            retryable=False,
        ) from error
