"""The step function: one event, one decision. Pure, total over checked definitions, the same for the same arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from monitor.protocol.decision import Decision, EffectRequest, IncidentState, Reason
from monitor.protocol.definition import After, Definition, Effect, OnReview, State
from monitor.protocol.events import (
    DeadlinePassed,
    DetectionCleared,
    DetectionRaised,
    Event,
    Reviewed,
    StrikesChanged,
    UserReported,
    ViewersChanged,
)
from monitor.protocol.matching import holds, matched
from monitor.vocabulary import EffectKind, ReviewDecision, Severity


def begin(
    definition: Definition, now: float, *, strikes: int = 0, viewers: int = 0, event: Event | None = None
) -> IncidentState:
    """Return the state in which an incident begins, with what is known of the stream before anything happened on it.

    Args:
        definition: Its protocol.
        now: The caller's time, in seconds.
        strikes: Strikes that stand against the publisher.
        viewers: Viewers of the stream.
        event: What is about to happen; strikes that it tells of were not known before.
    """
    known = 0 if isinstance(event, StrikesChanged) else strikes
    return IncidentState(definition.initial, now, strikes=known, viewers=viewers)


def step(definition: Definition, incident: IncidentState | None, event: Event, now: float) -> Decision:
    """Decide what `event` means for an incident.

    A transition is looked for in this order; the first that matches, and whose guard holds, is taken:

    1. in file order, those whose trigger is the event. Several deadlines due at the same moment count as one event,
       so file order decides between them, too;
    2. in file order, guarded `after` transitions whose deadline passed in this state while their guard was false:
       severity may have changed since.

    Args:
        definition: A definition that `monitor.protocol.checks` found nothing wrong with.
        incident: Where the incident stands; None if the stream has none, then it begins in the initial state, as
            `begin` gives it without anything known of the stream.
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
        incident = begin(definition, now)
    state = definition.states.get(incident.state)
    if state is None:
        message = f"protocol {definition.name!r} has no state {incident.state!r}"
        raise ValueError(message)
    if state.final:
        return _unchanged(Reason.ALREADY_CLOSED, incident, state)
    if isinstance(event, DeadlinePassed) and event.key not in incident.deadlines:
        return _unchanged(Reason.STALE_DEADLINE, incident, state)

    before, incident = incident, _told(incident, event)
    for index, reason in _candidates(state, before, incident, event):
        if holds(state.transitions[index].guard, incident):
            if isinstance(event, Reviewed) and (waits := _waits_for_more(incident, event)) is not None:
                return Decision(waits[0], incident.state, waits[1], (), state.posture, closed=False)
            return _take(definition, incident, index, reason=reason, now=now)
    if isinstance(event, DeadlinePassed):
        incident = _without_deadline(incident, event.key)
    return _unchanged(Reason.NO_TRANSITION, incident, state)


def _unchanged(reason: Reason, incident: IncidentState, state: State) -> Decision:
    return Decision(reason, incident.state, incident, (), state.posture, closed=state.final)


def _told(incident: IncidentState, event: Event) -> IncidentState:
    """Return the incident with what the event says about the stream."""
    match event:
        case DetectionRaised() | DetectionCleared():
            severities = {label: severity for label, severity in incident.severities.items() if label != event.label}
            if event.severity > Severity.NONE:
                severities[event.label] = event.severity
            return replace(incident, severities=severities, max_severity=max(incident.max_severity, event.severity))
        case ViewersChanged(viewers):
            return replace(incident, viewers=viewers)
        case StrikesChanged(strikes):
            return replace(incident, strikes=strikes)
        case UserReported():
            return replace(incident, reports=incident.reports + 1)
        case _:
            return incident


def _candidates(
    state: State, before: IncidentState, incident: IncidentState, event: Event
) -> Iterator[tuple[int, Reason]]:
    """Yield the transitions to try, in order; their guards are still to be looked at."""
    pending = {_deadline_index(key): due for key, due in incident.deadlines.items()}
    latest_due = incident.deadlines[event.key] if isinstance(event, DeadlinePassed) else None
    for index, transition in enumerate(state.transitions):
        if isinstance(transition.trigger, After):
            if latest_due is not None and index in pending and pending[index] <= latest_due:
                yield index, Reason.DEADLINE_PASSED
        elif (reason := matched(transition.trigger, event, before, incident)) is not None:
            yield index, reason
    for index, transition in enumerate(state.transitions):
        # A passed deadline is pending no more. Without a guard it has been taken; with one it was false so far.
        if isinstance(transition.trigger, After) and transition.guard is not None and index not in pending:
            yield index, Reason.DEADLINE_PASSED


def _take(definition: Definition, incident: IncidentState, index: int, *, reason: Reason, now: float) -> Decision:
    transition = definition.states[incident.state].transitions[index]
    sequence = incident.sequence + 1
    if isinstance(transition.trigger, OnReview):
        incident = replace(incident, confirmed_by=())
    if transition.to is None:
        effects = transition.effects
        state = definition.states[incident.state]
        after = replace(
            incident,
            sequence=sequence,
            deadlines=_without_index(incident.deadlines, index),
            asked=_asked(incident, sequence, effects),
            people=_people(incident, effects),
        )
    else:
        state = definition.states[transition.to]
        effects = transition.effects + state.enter
        after = replace(
            incident,
            state=transition.to,
            entered_at=now,
            sequence=sequence,
            deadlines=_deadlines(sequence, transition.to, state, now),
            asked=_asked(incident, sequence, effects),
            people=_people(incident, effects),
        )
    requests = tuple(_request(sequence, position, effect) for position, effect in enumerate(effects))
    return Decision(reason, incident.state, after, requests, state.posture, closed=state.final)


def _asked(incident: IncidentState, sequence: int, effects: tuple[Effect, ...]) -> Mapping[EffectKind, int]:
    return {**incident.asked, **{effect.kind: sequence for effect in effects}} if effects else incident.asked


def _people(incident: IncidentState, effects: tuple[Effect, ...]) -> int:
    """Return how many people must confirm: what the newest request says, else what was asked before."""
    asked = [effect.parameters.get("people", 1) for effect in effects if effect.kind is EffectKind.REQUEST_REVIEW]
    return int(asked[-1] or 1) if asked else incident.people


def _waits_for_more(incident: IncidentState, event: Reviewed) -> tuple[Reason, IncidentState] | None:
    """Return what becomes of a confirmation that is not the last one needed; None for any review that counts at once.

    Only confirming takes several people: whoever dismisses, escalates or releases silences nobody. A person behind an
    earlier confirmation, by whichever name, adds nothing.
    """
    if event.decision is not ReviewDecision.CONFIRM or incident.people <= 1:
        return None
    earlier = {person for by in incident.confirmed_by for person in _persons(by)}
    if not earlier.isdisjoint(_persons(event.by)):
        return Reason.REVIEW_REPEATED, incident
    if len(incident.confirmed_by) + 1 >= incident.people:
        return None
    return Reason.REVIEW_NOTED, replace(incident, confirmed_by=(*incident.confirmed_by, event.by))


def _persons(by: str) -> set[str]:
    return {name.strip().casefold() for name in by.split(" via ")}


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
