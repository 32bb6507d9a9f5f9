"""Whether people are asked, heard and told, in time and truthfully."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.protocol.checks.finding import Finding
from monitor.protocol.definition import (
    After,
    Definition,
    OnEffect,
    OnReview,
    Trigger,
)
from monitor.protocol.graph import Edge, reachable
from monitor.protocol.words import CONTAINS
from monitor.units import format_duration
from monitor.vocabulary import AlertEvent, EffectKind, EffectOutcome, ReviewDecision


def waits_forever(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    """Yield states without a deadline that always holds: people are asleep, or in the other incident."""
    asking = {edge.target for edge in edges if edge.asks(EffectKind.REQUEST_REVIEW)}
    for name, state in definition.states.items():
        if state.final or name == definition.initial:
            continue
        ends = any(
            isinstance(transition.trigger, After) and transition.guard is None and transition.to is not None
            for transition in state.transitions
        )
        if not ends:
            what = "waits for a person" if name in asking else "can wait"
            yield Finding(
                ("states", name),
                f"this state {what} without a deadline that always holds: the incident may never end",
                "add a transition with after: and to:, and no if:",
            )


def unheard_review(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    """Yield responders who are asked, and whose answer nothing waits for."""
    for edge in edges:
        for effect, path in edge.effect_paths(definition):
            if effect.kind is not EffectKind.REQUEST_REVIEW:
                continue
            heard = {
                transition.trigger.decision
                for transition in definition.states[edge.target].transitions
                if isinstance(transition.trigger, OnReview) and transition.guard is None
            }
            wanted = (ReviewDecision.CONFIRM, ReviewDecision.DISMISS)
            ignored = [decision.value for decision in wanted if decision not in heard]
            if ignored:
                yield Finding(
                    path,
                    f"a responder is asked, but state {edge.target!r} ignores {' and '.join(ignored)}",
                    f"add {' and '.join(f'{{review: {word}, to: …}}' for word in ignored)} there, without if:",
                )


def cut_short_review(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    """Yield responders who get less time than they were promised."""
    for edge in edges:
        delays_s = [
            transition.trigger.delay_s
            for transition in definition.states[edge.target].transitions
            if isinstance(transition.trigger, After) and transition.to is not None
        ]
        for effect, path in edge.effect_paths(definition):
            within_s = effect.parameters.get("within_s") if effect.kind is EffectKind.REQUEST_REVIEW else None
            if isinstance(within_s, float) and delays_s and min(delays_s) < within_s and edge.transition.to is not None:
                yield Finding(
                    path,
                    f"a responder is promised {format_duration(within_s)}, but state {edge.target!r} is left after "
                    f"{format_duration(min(delays_s))}",
                    "make within: no longer than the first after:",
                )


def unproven_alert(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    """Yield alerts that say more than is known."""
    proofs = {
        AlertEvent.CONTAINED.value: (EffectKind.CUT, EffectKind.HOLD),
        AlertEvent.RELEASED.value: (EffectKind.UNBLOCK, EffectKind.RELEASE),
    }
    for edge in edges:
        for effect, path in edge.effect_paths(definition):
            proof = proofs.get(str(effect.parameters.get("event")))
            if proof is not None and not _proves(edge.transition.trigger, proof):
                word = effect.parameters["event"]
                yield Finding(
                    path,
                    f"this says {word!r} also when transition {edge.index + 1} of state {edge.source!r} is taken, "
                    "which proves nothing of the kind",
                    f"say it in do: of {{effect: {proof[0].value}, outcome: succeeded, …}} only",
                )


def _proves(trigger: Trigger, kinds: tuple[EffectKind, ...]) -> bool:
    return isinstance(trigger, OnEffect) and trigger.kind in kinds and trigger.outcomes == (EffectOutcome.SUCCEEDED,)


def untold_containment(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    """Yield containment of which nobody hears."""

    def tells(edge: Edge) -> bool:
        return edge.asks(EffectKind.ALERT, EffectKind.REQUEST_REVIEW)

    untold = reachable(edges, [definition.initial], lambda edge: not tells(edge))
    for edge in edges:
        if tells(edge) or edge.source not in untold:
            continue
        exits = [other for other in edges if other.source == edge.target and other.transition.to is not None]
        if exits and all(tells(other) for other in exits):
            continue
        for effect, path in edge.effect_paths(definition):
            if effect.kind in CONTAINS:
                yield Finding(
                    path,
                    f"nobody is told of this {effect.kind.value}, neither on the way to it nor right after it",
                    "add alert or request_review beside it",
                )
