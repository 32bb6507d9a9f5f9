"""A protocol as values: states, what leaves them, what they do to the world.

A `Definition` says nothing about whether it makes sense; `monitor.protocol.checks` does, and `load_definitions` lets
nothing past it. Durations are in seconds and carry it in their names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from monitor.vocabulary import EffectKind, EffectOutcome, Freshness, Posture, ReviewDecision, Severity

Parameter = str | float | int | bool | None


class StreamChange(StrEnum):
    """What a publication may do that a protocol can react to."""

    ENDED = "ended"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class OnDetection:
    """A detection was raised to at least `severity`; with ``none``: nothing is detected on the stream any more."""

    severity: Severity


@dataclass(frozen=True, slots=True)
class OnReview:
    """A responder decided so."""

    decision: ReviewDecision


@dataclass(frozen=True, slots=True)
class OnEffect:
    """An effect of this kind that this incident asked for ended in one of these ways."""

    kind: EffectKind
    outcomes: tuple[EffectOutcome, ...]


@dataclass(frozen=True, slots=True)
class OnStream:
    """The publication went away, or came back."""

    change: StreamChange


@dataclass(frozen=True, slots=True)
class OnWatched:
    """The stream's last verdict became so recent, or so old."""

    freshness: Freshness


@dataclass(frozen=True, slots=True)
class After:
    """So many seconds have passed since the state was entered."""

    delay_s: float


Trigger = OnDetection | OnReview | OnEffect | OnStream | OnWatched | After


@dataclass(frozen=True, slots=True)
class SeverityAtLeast:
    """The stream's current severity, over all labels, is at least this."""

    severity: Severity


@dataclass(frozen=True, slots=True)
class MaxSeverityAtLeast:
    """The highest severity that this incident has seen is at least this."""

    severity: Severity


@dataclass(frozen=True, slots=True)
class LabelDetected:
    """This label is at ``review`` or above now."""

    label: str


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one of these holds."""

    guards: tuple[Guard, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of these holds."""

    guards: tuple[Guard, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """This does not hold."""

    guard: Guard


Guard = SeverityAtLeast | MaxSeverityAtLeast | LabelDetected | AllOf | AnyOf | Not


@dataclass(frozen=True, slots=True)
class Effect:
    """Something to do to the world; parameters as in `EffectRequest`, without the key."""

    kind: EffectKind
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Transition:
    """One line under `on`.

    Attributes:
        trigger: What has to happen.
        guard: What has to hold as well; None always holds.
        to: State to enter, perhaps the same one again; None stays, and keeps the deadlines running.
        effects: What to do before the entry effects of `to`.
    """

    trigger: Trigger
    guard: Guard | None = None
    to: str | None = None
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """One state.

    Attributes:
        posture: How closely the stream is watched while the incident is in it.
        final: The incident is over here.
        enter: What to do on every entry.
        transitions: In file order; the first that matches wins.
        summary: One sentence for responders, or empty.
    """

    posture: Posture
    final: bool = False
    enter: tuple[Effect, ...] = ()
    transitions: tuple[Transition, ...] = ()
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Definition:
    """One protocol.

    Attributes:
        name: Its name, as in the configuration and the file name.
        version: The author's own count; `digest` is what tells two contents apart.
        summary: One sentence for people who choose a protocol.
        initial: State of a stream on which nothing has happened; entering it does nothing.
        states: By name, in file order.
    """

    name: str
    version: int
    summary: str
    initial: str
    states: Mapping[str, State]

    @property
    def digest(self) -> str:
        """SHA-256 over the content, in hex; the order in which states are written does not count."""
        canonical = json.dumps(_definition_out(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def labels(self) -> frozenset[str]:
        """Every label that a guard names, so that they can be compared with those of the model."""
        return frozenset(
            guard.label
            for state in self.states.values()
            for transition in state.transitions
            for guard in _each_guard(transition.guard)
            if isinstance(guard, LabelDetected)
        )

    def to_json(self) -> str:
        """Return the whole definition as JSON, so that an incident can end under the rules that it began with."""
        return json.dumps(_definition_out(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Definition:
        """Return the definition that `to_json` wrote.

        Raises:
            ValueError: this is nothing that `to_json` wrote.
        """
        try:
            return _definition_in(json.loads(text))
        except (KeyError, TypeError, AttributeError) as error:
            message = "this is no stored protocol definition"
            raise ValueError(message) from error


def _each_guard(guard: Guard | None) -> Iterator[Guard]:
    match guard:
        case None:
            return
        case AllOf(guards) | AnyOf(guards):
            for inner in guards:
                yield from _each_guard(inner)
        case Not(inner):
            yield from _each_guard(inner)
        case _:
            yield guard


# Stored JSON keeps numbers of seconds, so that it is exact; the words are those of the files.


def _definition_out(definition: Definition) -> dict[str, Any]:
    return {
        "protocol": definition.name,
        "version": definition.version,
        "summary": definition.summary,
        "initial": definition.initial,
        "states": {name: _state_out(state) for name, state in definition.states.items()},
    }


def _definition_in(data: Any) -> Definition:
    return Definition(
        name=data["protocol"],
        version=data["version"],
        summary=data["summary"],
        initial=data["initial"],
        states={name: _state_in(state) for name, state in data["states"].items()},
    )


def _state_out(state: State) -> dict[str, Any]:
    return {
        "summary": state.summary,
        "posture": state.posture.value,
        "final": state.final,
        "enter": [_effect_out(effect) for effect in state.enter],
        "on": [_transition_out(transition) for transition in state.transitions],
    }


def _state_in(data: Any) -> State:
    return State(
        posture=Posture(data["posture"]),
        final=data["final"],
        enter=tuple(_effect_in(effect) for effect in data["enter"]),
        transitions=tuple(_transition_in(transition) for transition in data["on"]),
        summary=data["summary"],
    )


def _effect_out(effect: Effect) -> dict[str, Any]:
    return {"kind": effect.kind.value, "parameters": dict(effect.parameters)}


def _effect_in(data: Any) -> Effect:
    return Effect(EffectKind(data["kind"]), dict(data["parameters"]))


def _transition_out(transition: Transition) -> dict[str, Any]:
    return {
        "trigger": _trigger_out(transition.trigger),
        "if": None if transition.guard is None else _guard_out(transition.guard),
        "to": transition.to,
        "do": [_effect_out(effect) for effect in transition.effects],
    }


def _transition_in(data: Any) -> Transition:
    return Transition(
        trigger=_trigger_in(data["trigger"]),
        guard=None if data["if"] is None else _guard_in(data["if"]),
        to=data["to"],
        effects=tuple(_effect_in(effect) for effect in data["do"]),
    )


def _trigger_out(trigger: Trigger) -> dict[str, Any]:
    match trigger:
        case OnDetection(severity):
            return {"detection": severity.word}
        case OnReview(decision):
            return {"review": decision.value}
        case OnEffect(kind, outcomes):
            return {"effect": kind.value, "outcome": [outcome.value for outcome in outcomes]}
        case OnStream(change):
            return {"stream": change.value}
        case OnWatched(freshness):
            return {"watched": freshness.value}
        case After(delay_s):
            return {"after_s": delay_s}


def _trigger_in(data: Any) -> Trigger:
    if "detection" in data:
        return OnDetection(Severity.from_word(data["detection"]))
    if "review" in data:
        return OnReview(ReviewDecision(data["review"]))
    if "effect" in data:
        return OnEffect(EffectKind(data["effect"]), tuple(EffectOutcome(outcome) for outcome in data["outcome"]))
    if "stream" in data:
        return OnStream(StreamChange(data["stream"]))
    if "watched" in data:
        return OnWatched(Freshness(data["watched"]))
    return After(data["after_s"])


def _guard_out(guard: Guard) -> dict[str, Any]:
    match guard:
        case SeverityAtLeast(severity):
            return {"severity": severity.word}
        case MaxSeverityAtLeast(severity):
            return {"max_severity": severity.word}
        case LabelDetected(label):
            return {"label": label}
        case AllOf(guards):
            return {"all": [_guard_out(inner) for inner in guards]}
        case AnyOf(guards):
            return {"any": [_guard_out(inner) for inner in guards]}
        case Not(inner):
            return {"not": _guard_out(inner)}


def _guard_in(data: Any) -> Guard:
    match data:
        case {"severity": word}:
            return SeverityAtLeast(Severity.from_word(word))
        case {"max_severity": word}:
            return MaxSeverityAtLeast(Severity.from_word(word))
        case {"label": label}:
            return LabelDetected(label)
        case {"all": inner}:
            return AllOf(tuple(_guard_in(guard) for guard in inner))
        case {"any": inner}:
            return AnyOf(tuple(_guard_in(guard) for guard in inner))
        case _:
            return Not(_guard_in(data["not"]))
