"""A definition drawn as a Mermaid state diagram, for the documentation and the console."""

from __future__ import annotations

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
    OnEased,
    OnEffect,
    OnKnownContent,
    OnPartner,
    OnReport,
    OnReview,
    OnStream,
    OnStrikes,
    OnViewers,
    OnWatched,
    ReportsAtLeast,
    ServerCan,
    SeverityAtLeast,
    StrikesAtLeast,
    Transition,
    Trigger,
    ViewersAtLeast,
)
from monitor.units import format_duration
from monitor.vocabulary import Severity

_RESERVED = frozenset({"as", "class", "direction", "end", "fork", "join", "note", "state"})


def to_mermaid(definition: Definition) -> str:
    """Return Mermaid source: one arrow per transition, labelled with what has to happen and what is done then.

    Arrows that stay in their state without entering it anew are drawn as notes, so that loops mean loops.
    """
    # Mermaid takes "-" in a state's name for the beginning of an arrow, and has words of its own.
    ids = {name: name.replace("-", "_") + "_" * (name in _RESERVED) for name in definition.states}
    lines = ["stateDiagram-v2", f"    [*] --> {ids[definition.initial]}"]
    for name, state in definition.states.items():
        if ids[name] != name:
            lines.append(f'    state "{name}" as {ids[name]}')
        if state.enter:
            lines.append(f"    {ids[name]} : {name} / {_effects(state.enter)}")
        staying = []
        for transition in state.transitions:
            words = transition_words(transition)
            if transition.effects:
                words += f" / {_effects(transition.effects)}"
            if transition.to is None:
                staying.append(words)
            else:
                lines.append(f"    {ids[name]} --> {ids[transition.to]} : {words}")
        if staying:
            lines += [f"    note right of {ids[name]}", *(f"        {words}" for words in staying), "    end note"]
        if state.final:
            lines.append(f"    {ids[name]} --> [*]")
    return "\n".join(lines) + "\n"


def transition_words(transition: Transition) -> str:
    """Return what has to happen for a transition, in one line: ``after 60s if severity act``."""
    words = trigger_words(transition.trigger)
    return words if transition.guard is None else f"{words} if {guard_words(transition.guard)}"


def trigger_words(trigger: Trigger) -> str:  # noqa: C901, PLR0911 - one per word
    """Return a trigger in one line, in the words of the file."""
    match trigger:
        case OnDetection(severity, label):
            return f"{label or 'detection'} {'cleared' if severity is Severity.NONE else severity.word}"
        case OnEased(label):
            return f"{label or 'detection'} eased"
        case OnReview(decision):
            return f"review {decision.value}"
        case OnEffect(kind, outcomes, late):
            words = f"{kind.value} {' or '.join(outcome.value for outcome in outcomes)}"
            return f"{words} (also late)" if late else words
        case OnStream(change):
            return f"stream {change.value}"
        case OnWatched(freshness):
            return f"watched {freshness.value}"
        case OnReport(category):
            return f"report {category or 'any'}"
        case OnPartner(signal):
            return f"partner {signal.value}"
        case OnKnownContent(source):
            return f"known_content {source or 'any'}"
        case OnViewers(count):
            return f"viewers {count}"
        case OnStrikes(count):
            return f"strikes {count}"
        case After(delay_s):
            return f"after {format_duration(delay_s)}"


def guard_words(guard: Guard) -> str:  # noqa: C901, PLR0911 - one per word
    """Return a guard in one line, in the words of the file."""
    match guard:
        case SeverityAtLeast(severity):
            return f"severity {severity.word}"
        case MaxSeverityAtLeast(severity):
            return f"max_severity {severity.word}"
        case LabelDetected(label):
            return f"label {label}"
        case StrikesAtLeast(count):
            return f"strikes {count}"
        case ViewersAtLeast(count):
            return f"viewers {count}"
        case ReportsAtLeast(count):
            return f"reports {count}"
        case ServerCan(kind):
            return f"can {kind.value}"
        case AllOf(guards):
            return f"({' and '.join(guard_words(inner) for inner in guards)})"
        case AnyOf(guards):
            return f"({' or '.join(guard_words(inner) for inner in guards)})"
        case Not(inner):
            return f"not {guard_words(inner)}"


def _effects(effects: tuple[Effect, ...]) -> str:
    return ", ".join(_effect(effect) for effect in effects)


def _effect(effect: Effect) -> str:
    event = effect.parameters.get("event")
    return effect.kind.value if event is None else f"{effect.kind.value} {event}"
