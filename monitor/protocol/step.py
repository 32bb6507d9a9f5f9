"""The step function: one event, one decision. Pure, total over checked definitions, the same for the same arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from monitor.protocol.decision import Decision, EffectRequest, IncidentState, Reason
from monitor.protocol.definition import (
    After,
    AllOf,
    AnyOf,
    Definition,
    Effect,
    Guard,
    LabelDetected,
    MaxSeverityAtLeast,
    Not,
    OnDetection,
    OnEffect,
    OnReview,
    OnStream,
    OnWatched,
    SeverityAtLeast,
    State,
    StreamChange,
    Trigger,
)
from monitor.protocol.events import (
    DeadlinePassed,
    DetectionCleared,
    DetectionRaised,
    EffectFinished,
    Event,
    Reviewed,
    StreamEnded,
    StreamReturned,
    WatchChanged,
)
from monitor.vocabulary import EffectOutcome, Freshness, ReviewDecision, Severity

_EFFECT_REASONS: Mapping[EffectOutcome, Reason] = {
    EffectOutcome.SUCCEEDED: Reason.EFFECT_SUCCEEDED,
    EffectOutcome.FAILED: Reason.EFFECT_FAILED,
    EffectOutcome.UNVERIFIED: Reason.EFFECT_UNVERIFIED,
}


def step(definition: Definition, incident: IncidentState | None, event: Event, now: float) -> Decision:
    """Decide what `event` means for an incident.

    A transition is looked for in this order; the first that matches, and whose guard holds, is taken:

    1. in file order, those whose trigger is the event. Several deadlines due at the same moment count as one event,
       so file order decides between them, too;
    2. in file order, guarded `after` transitions whose deadline passed in this state while their guard was false:
       severity may have changed since.

    Args:
        definition: A definition that `monitor.protocol.checks` found nothing wrong with.
        incident: Where the incident stands; None if the stream has none, then it begins in the initial state.
            The caller may forget an incident that a decision leaves there: nothing has happened in it.
        event: What happened.
        now: The caller's time, in seconds; becomes `entered_at` and the base of new deadlines.

    Returns:
        The decision. Effects are those of the transition, then those of the state entered. A decision with the
        reason ``no_transition`` may still carry new severities and fewer deadlines in `after`: keep it.

    Raises:
        ValueError: the incident is in a state that the definition does not have.
    """
    if incident is None:
        incident = IncidentState(definition.initial, now)
    state = definition.states.get(incident.state)
    if state is None:
        message = f"protocol {definition.name!r} has no state {incident.state!r}"
        raise ValueError(message)
    if state.final:
        return _unchanged(Reason.ALREADY_CLOSED, incident, state)
    if isinstance(event, DeadlinePassed) and event.key not in incident.deadlines:
        return _unchanged(Reason.STALE_DEADLINE, incident, state)

    incident = _with_severities(incident, event)
    for index, reason in _candidates(state, incident, event):
        if _holds(state.transitions[index].guard, incident):
            return _take(definition, incident, index, reason=reason, now=now)
    if isinstance(event, DeadlinePassed):
        incident = _without_deadline(incident, event.key)
    return _unchanged(Reason.NO_TRANSITION, incident, state)


def _unchanged(reason: Reason, incident: IncidentState, state: State) -> Decision:
    return Decision(reason, incident.state, incident, (), state.posture, closed=state.final)


def _with_severities(incident: IncidentState, event: Event) -> IncidentState:
    if not isinstance(event, DetectionRaised | DetectionCleared):
        return incident
    severities = {label: severity for label, severity in incident.severities.items() if label != event.label}
    if event.severity > Severity.NONE:
        severities[event.label] = event.severity
    return replace(incident, severities=severities, max_severity=max(incident.max_severity, event.severity))


def _candidates(state: State, incident: IncidentState, event: Event) -> Iterator[tuple[int, Reason]]:
    """Yield the transitions to try, in order; their guards are still to be looked at."""
    pending = {_deadline_index(key): due for key, due in incident.deadlines.items()}
    latest_due = incident.deadlines[event.key] if isinstance(event, DeadlinePassed) else None
    for index, transition in enumerate(state.transitions):
        if isinstance(transition.trigger, After):
            if latest_due is not None and index in pending and pending[index] <= latest_due:
                yield index, Reason.DEADLINE_PASSED
        elif (reason := _matched(transition.trigger, event, incident)) is not None:
            yield index, reason
    for index, transition in enumerate(state.transitions):
        # A passed deadline is pending no more. Without a guard it has been taken; with one it was false so far.
        if isinstance(transition.trigger, After) and transition.guard is not None and index not in pending:
            yield index, Reason.DEADLINE_PASSED


def _matched(trigger: Trigger, event: Event, incident: IncidentState) -> Reason | None:  # noqa: PLR0911 - one per event
    """Return why `event` pulls `trigger`, or None if it does not; deadlines are not looked at here."""
    match trigger, event:
        case OnDetection(wanted), DetectionRaised(_, severity, _) if Severity.NONE < wanted <= severity:
            return Reason.DETECTION_RAISED
        case OnDetection(Severity.NONE), DetectionCleared() if incident.severity is Severity.NONE:
            return Reason.DETECTION_CLEARED
        case OnReview(wanted), Reviewed(decision, _, _) if decision is wanted:
            return _REVIEW_REASONS[decision]
        case OnEffect(wanted, outcomes), EffectFinished(_, kind, outcome) if kind is wanted and outcome in outcomes:
            return _EFFECT_REASONS[outcome]
        case OnStream(StreamChange.ENDED), StreamEnded():
            return Reason.STREAM_ENDED
        case OnStream(StreamChange.RETURNED), StreamReturned():
            return Reason.STREAM_RETURNED
        case OnWatched(wanted), WatchChanged(freshness) if freshness is wanted:
            return _WATCH_REASONS[freshness]
        case _:
            return None


_REVIEW_REASONS: Mapping[ReviewDecision, Reason] = {
    ReviewDecision.CONFIRM: Reason.REVIEW_CONFIRMED,
    ReviewDecision.DISMISS: Reason.REVIEW_DISMISSED,
}

_WATCH_REASONS: Mapping[Freshness, Reason] = {
    Freshness.FRESH: Reason.WATCHED_FRESH,
    Freshness.LATE: Reason.WATCHED_LATE,
    Freshness.BLIND: Reason.WATCHED_BLIND,
}


def _holds(guard: Guard | None, incident: IncidentState) -> bool:  # noqa: PLR0911 - one per word
    match guard:
        case None:
            return True
        case SeverityAtLeast(severity):
            return incident.severity >= severity
        case MaxSeverityAtLeast(severity):
            return incident.max_severity >= severity
        case LabelDetected(label):
            return label in incident.severities
        case AllOf(guards):
            return all(_holds(inner, incident) for inner in guards)
        case AnyOf(guards):
            return any(_holds(inner, incident) for inner in guards)
        case Not(inner):
            return not _holds(inner, incident)


def _take(definition: Definition, incident: IncidentState, index: int, *, reason: Reason, now: float) -> Decision:
    transition = definition.states[incident.state].transitions[index]
    sequence = incident.sequence + 1
    if transition.to is None:
        after = replace(incident, sequence=sequence, deadlines=_without_index(incident.deadlines, index))
        effects = transition.effects
        state = definition.states[incident.state]
    else:
        state = definition.states[transition.to]
        after = replace(
            incident,
            state=transition.to,
            entered_at=now,
            sequence=sequence,
            deadlines=_deadlines(sequence, transition.to, state, now),
        )
        effects = transition.effects + state.enter
    requests = tuple(_request(sequence, position, effect) for position, effect in enumerate(effects))
    return Decision(reason, incident.state, after, requests, state.posture, closed=state.final)


def _request(sequence: int, position: int, effect: Effect) -> EffectRequest:
    return EffectRequest(f"{sequence}.{position}.{effect.kind.value}", effect.kind, dict(effect.parameters))


def _deadlines(sequence: int, name: str, state: State, now: float) -> dict[str, float]:
    return {
        f"{sequence}:{name}:{index}": now + transition.trigger.delay_s
        for index, transition in enumerate(state.transitions)
        if isinstance(transition.trigger, After)
    }


def _deadline_index(key: str) -> int:
    return int(key.rpartition(":")[2])


def _without_deadline(incident: IncidentState, key: str) -> IncidentState:
    return replace(incident, deadlines={other: due for other, due in incident.deadlines.items() if other != key})


def _without_index(deadlines: Mapping[str, float], index: int) -> dict[str, float]:
    return {key: due for key, due in deadlines.items() if _deadline_index(key) != index}
