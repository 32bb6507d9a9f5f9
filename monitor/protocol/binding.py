"""A protocol made fit for one media server: what that server cannot do is replaced, or refused before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from monitor.protocol.checks import Finding
from monitor.protocol.definition import Definition, Effect, OnEffect, State
from monitor.protocol.graph import edges_of
from monitor.protocol.guards import where_server_can
from monitor.vocabulary import EffectKind, EffectOutcome


def bound(definition: Definition, *, can_hold: bool) -> Definition:
    """Return the definition as it runs on a media server; the same one where nothing has to be replaced.

    Where the server cannot hold, ``hold: {else: cut}`` becomes a cut; where it can, the guard ``can: hold`` always holds.
    """
    states = {name: _holding(state) if can_hold else _without_hold(state) for name, state in definition.states.items()}
    return definition if states == definition.states else replace(definition, states=states)


def unbindable(definition: Definition, *, can_hold: bool) -> list[Finding]:
    """Return every effect that this media server cannot do and for which the protocol names nothing else to do."""
    return [] if can_hold else list(dict.fromkeys(_holds_without_alternative(definition)))


def _holds_without_alternative(definition: Definition) -> Iterator[Finding]:
    for edge in edges_of(definition):
        reacts = any(
            isinstance(transition.trigger, OnEffect)
            and transition.trigger.kind is EffectKind.HOLD
            and EffectOutcome.UNSUPPORTED in transition.trigger.outcomes
            and transition.guard is None
            for transition in definition.states[edge.target].transitions
        )
        for effect, path in edge.effect_paths(definition):
            if effect.kind is EffectKind.HOLD and "else" not in effect.parameters and not reacts:
                yield Finding(
                    path,
                    "a media server that cannot hold does nothing here, and no alternative is named",
                    f"write hold: {{else: cut}}, or add {{effect: hold, outcome: unsupported, …}} to state {edge.target!r}",
                )


def _holding(state: State) -> State:
    return replace(
        state,
        transitions=tuple(
            replace(transition, guard=None if transition.guard is None else where_server_can(transition.guard))
            for transition in state.transitions
        ),
    )


def _without_hold(state: State) -> State:
    return replace(
        state,
        enter=tuple(map(_instead, state.enter)),
        transitions=tuple(
            replace(transition, effects=tuple(map(_instead, transition.effects))) for transition in state.transitions
        ),
    )


def _instead(effect: Effect) -> Effect:
    if effect.kind is not EffectKind.HOLD or "else" not in effect.parameters:
        return effect
    kept = {name: value for name, value in effect.parameters.items() if name != "else"}
    return Effect(EffectKind(str(effect.parameters["else"])), kept)
