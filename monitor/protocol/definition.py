"""A protocol as values: states, what leaves them, what they do to the world.

A `Definition` says nothing about whether it makes sense; `monitor.protocol.checks` does, and `load_definitions` lets
nothing past it. Durations are in seconds and carry it in their names. Triggers and guards have modules of their own and
are at hand here, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from monitor.protocol.guards import (
    AllOf,
    AnyOf,
    Guard,
    LabelDetected,
    MaxSeverityAtLeast,
    Not,
    ReportsAtLeast,
    ServerCan,
    SeverityAtLeast,
    StrikesAtLeast,
    ViewersAtLeast,
    each_guard,
    guard_in,
    guard_out,
)
from monitor.protocol.triggers import (
    After,
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
    StreamChange,
    Trigger,
    trigger_in,
    trigger_out,
)
from monitor.vocabulary import EffectKind, Posture

__all__ = [
    "After",
    "AllOf",
    "AnyOf",
    "Definition",
    "Effect",
    "Guard",
    "LabelDetected",
    "MaxSeverityAtLeast",
    "Not",
    "OnDetection",
    "OnEased",
    "OnEffect",
    "OnKnownContent",
    "OnPartner",
    "OnReport",
    "OnReview",
    "OnStream",
    "OnStrikes",
    "OnViewers",
    "OnWatched",
    "Parameter",
    "ReportsAtLeast",
    "ServerCan",
    "SeverityAtLeast",
    "State",
    "StreamChange",
    "StrikesAtLeast",
    "Transition",
    "Trigger",
    "ViewersAtLeast",
]

Parameter = str | float | int | bool | None


@dataclass(frozen=True, slots=True)
class Effect:
    """Something to do to the world; parameters as in `EffectRequest`, without the key."""

    kind: EffectKind
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def kinds(self) -> tuple[EffectKind, ...]:
        """Its kind, and the one that takes its place on a media server that cannot do it, if one is named."""
        instead = self.parameters.get("else")
        return (self.kind,) if instead is None else (self.kind, EffectKind(str(instead)))


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
        parameters: The values, as files write them, that this definition was made with; for people to see.
    """

    name: str
    version: int
    summary: str
    initial: str
    states: Mapping[str, State]
    parameters: Mapping[str, str | int] = field(default_factory=dict)
    _digest: str = field(default="", init=False, repr=False, compare=False)

    @property
    def digest(self) -> str:
        """SHA-256 over the content, in hex; the order in which states are written does not count."""
        if not self._digest:
            canonical = json.dumps(_definition_out(self), sort_keys=True, separators=(",", ":"))
            # Asked for whenever an incident begins, and always the same.
            object.__setattr__(self, "_digest", hashlib.sha256(canonical.encode()).hexdigest())
        return self._digest

    @property
    def labels(self) -> frozenset[str]:
        """Every label that a trigger or guard names, so that they can be compared with those of the model."""
        in_guards = {guard.label for guard in self._guards() if isinstance(guard, LabelDetected)}
        in_triggers = {
            trigger.label
            for trigger in self._triggers()
            if isinstance(trigger, OnDetection | OnEased) and trigger.label is not None
        }
        return frozenset(in_guards | in_triggers)

    @property
    def policies(self) -> frozenset[str]:
        """The code of every policy that an effect names, so that they can be compared with the configured ones."""
        return frozenset(
            str(effect.parameters["policy"])
            for state in self.states.values()
            for effect in (*state.enter, *(one for transition in state.transitions for one in transition.effects))
            if effect.parameters.get("policy") is not None
        )

    @property
    def viewer_limits(self) -> tuple[int, ...]:
        """Every number of viewers that makes a difference, rising."""
        in_guards = {guard.count for guard in self._guards() if isinstance(guard, ViewersAtLeast)}
        in_triggers = {trigger.count for trigger in self._triggers() if isinstance(trigger, OnViewers)}
        return tuple(sorted(in_guards | in_triggers))

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

    def _triggers(self) -> Iterator[Trigger]:
        for state in self.states.values():
            for transition in state.transitions:
                yield transition.trigger

    def _guards(self) -> Iterator[Guard]:
        for state in self.states.values():
            for transition in state.transitions:
                yield from each_guard(transition.guard)


def _definition_out(definition: Definition) -> dict[str, Any]:
    return {
        "protocol": definition.name,
        "version": definition.version,
        "summary": definition.summary,
        "initial": definition.initial,
        "states": {name: _state_out(state) for name, state in definition.states.items()},
        "parameters": dict(definition.parameters),
    }


def _definition_in(data: Any) -> Definition:
    return Definition(
        name=data["protocol"],
        version=data["version"],
        summary=data["summary"],
        initial=data["initial"],
        states={name: _state_in(state) for name, state in data["states"].items()},
        # Older definitions had none.
        parameters=data.get("parameters", {}),
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
        "trigger": trigger_out(transition.trigger),
        "if": None if transition.guard is None else guard_out(transition.guard),
        "to": transition.to,
        "do": [_effect_out(effect) for effect in transition.effects],
    }


def _transition_in(data: Any) -> Transition:
    return Transition(
        trigger=trigger_in(data["trigger"]),
        guard=None if data["if"] is None else guard_in(data["if"]),
        to=data["to"],
        effects=tuple(_effect_in(effect) for effect in data["do"]),
    )
