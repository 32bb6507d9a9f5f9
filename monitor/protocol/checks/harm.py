"""Whether what is done to a publisher is seen through, and can be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from monitor.protocol.checks.finding import Finding
from monitor.protocol.definition import (
    Definition,
    OnEffect,
    OnReview,
)
from monitor.protocol.graph import Edge, edges_of, reachable
from monitor.vocabulary import EffectKind, EffectOutcome, ReviewDecision


def unhandled_outcome(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    """Yield effects whose failure would go unnoticed."""
    consequences = {
        EffectKind.CUT: "a stream could stay on the air with nobody knowing",
        EffectKind.UNBLOCK: "a publisher could stay blocked with nobody knowing",
        EffectKind.HOLD: "a stream could stay on the air with nobody knowing",
        EffectKind.RELEASE: "a stream could stay hidden with nobody knowing",
    }
    for edge in edges:
        for effect, path in edge.effect_paths(definition):
            for kind in effect.kinds:
                if kind not in consequences:
                    continue
                handled = {
                    outcome
                    for transition in definition.states[edge.target].transitions
                    if isinstance(transition.trigger, OnEffect) and transition.guard is None
                    for outcome in transition.trigger.outcomes
                    if transition.trigger.kind is kind
                }
                # What a media server cannot do at all is looked at when the protocol is bound to one.
                wanted = (EffectOutcome.SUCCEEDED, EffectOutcome.FAILED, EffectOutcome.UNVERIFIED)
                ignored = [outcome.value for outcome in wanted if outcome not in handled]
                if ignored:
                    yield Finding(
                        path,
                        f"state {edge.target!r} does not react to {kind.value} {' or '.join(ignored)}: "
                        f"{consequences[kind]}",
                        f"add {{effect: {kind.value}, outcome: [{', '.join(ignored)}], …}} there, without if:",
                    )


def unasked_outcome(edges: tuple[Edge, ...]) -> Iterator[Finding]:
    """Yield outcomes that cannot come."""
    for edge in edges:
        trigger = edge.transition.trigger
        if not isinstance(trigger, OnEffect):
            continue
        askers = [other.target for other in edges if other.asks(trigger.kind)]
        if edge.source not in reachable(edges, askers):
            yield Finding(
                edge.path,
                f"this waits for the outcome of {trigger.kind.value}, which no path to here asks for",
                f"add {trigger.kind.value} to enter: or do:, or remove this transition",
            )


@dataclass(frozen=True, slots=True)
class _Harm:
    """What silences somebody, and the effect that takes it back."""

    kinds: tuple[EffectKind, ...]
    undo: EffectKind
    here: str
    in_vain: str

    def done_by(self, edge: Edge) -> bool:
        return edge.asks(*self.kinds) and not edge.asks(self.undo)

    def lasts_in(self, edges: tuple[Edge, ...]) -> frozenset[str]:
        """Return the states in which the publisher may be silenced so."""
        landings = [edge.target for edge in edges if self.done_by(edge)]
        return reachable(edges, landings, lambda edge: not edge.asks(self.undo))

    def on_the_way_back(self, edges: tuple[Edge, ...]) -> set[str]:
        """Return the states from which every way leads to the effect that takes it back, whatever a person says."""
        certain = {edge.source for edge in edges}
        while True:
            kept = {
                name
                for name in certain
                if all(
                    edge.asks(self.undo) or edge.target in certain or _proves(edge, self.undo)
                    for edge in edges
                    if edge.source == name and edge.transition.to is not None
                )
                and any(edge.asks(self.undo) for edge in edges if edge.source in reachable(edges, [name]))
            }
            if kept == certain:
                return certain
            certain = kept

    def undone_by(self, edge: Edge, edges: tuple[Edge, ...]) -> bool:
        """Whether taking this transition leads, sooner or later, to the effect that takes it back."""
        onward = reachable(edges, [edge.target])
        return edge.asks(self.undo) or any(other.asks(self.undo) for other in edges if other.source in onward)


_HARMS = (
    _Harm(
        (EffectKind.CUT, EffectKind.BLOCK),
        EffectKind.UNBLOCK,
        "the publisher is cut off or blocked here, and nobody can take it back",
        "whoever is dismissed here stays cut off or blocked",
    ),
    _Harm(
        (EffectKind.HOLD,),
        EffectKind.RELEASE,
        "the stream is held here, and nobody can take it back",
        "whoever is dismissed here may stay hidden",
    ),
)


def silenced_states(definition: Definition) -> frozenset[str]:
    """Return the states in which the stream may be held or cut, or its publisher blocked, by this incident.

    What has been asked to end that counts only once it has been seen to succeed.
    """
    edges = edges_of(definition)
    found: set[str] = set()
    for harm in _HARMS:
        landings = [edge.target for edge in edges if harm.done_by(edge)]
        found |= reachable([edge for edge in edges if not _proves(edge, harm.undo)], landings)
    return frozenset(found)


def no_way_back(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    """Yield containment that nobody can undo."""
    for harm in _HARMS:
        mends = {edge.source for edge in edges if _dismisses(edge) and harm.undone_by(edge, edges)}

        def stuck(name: str, mends: set[str] = mends) -> bool:
            return not mends & reachable(edges, [name])

        mend = f"add {{review: dismiss, to: …}} that leads to {_article(harm.undo)} {harm.undo.value}"
        landings = [edge for edge in edges if harm.done_by(edge) and stuck(edge.target)]
        for edge in landings:
            for effect, path in edge.effect_paths(definition):
                for kind in set(effect.kinds) & set(harm.kinds):
                    yield Finding(path, f"nobody can take this {kind.value} back if it was a mistake", mend)
        if landings:
            continue
        lasting = harm.lasts_in(edges)
        certain = harm.on_the_way_back(edges)
        for name, state in definition.states.items():
            if name in lasting and not state.final and name not in certain and stuck(name):
                yield Finding(("states", name), harm.here, mend)


def dismissed_in_vain(edges: tuple[Edge, ...]) -> Iterator[Finding]:
    """Yield dismissals that leave somebody silenced."""
    for harm in _HARMS:
        if not any(edge.asks(harm.undo) for edge in edges):
            continue  # `no_way_back` says so
        lasting = harm.lasts_in(edges)
        for edge in edges:
            if _dismisses(edge) and edge.source in lasting and not harm.undone_by(edge, edges):
                yield Finding(edge.path, harm.in_vain, f"lead it to a state that asks for {harm.undo.value}")


def _dismisses(edge: Edge) -> bool:
    return edge.transition.trigger == OnReview(ReviewDecision.DISMISS)


def _proves(edge: Edge, kind: EffectKind) -> bool:
    trigger = edge.transition.trigger
    return isinstance(trigger, OnEffect) and trigger.kind is kind and trigger.outcomes == (EffectOutcome.SUCCEEDED,)


def _article(kind: EffectKind) -> str:
    return "an" if kind.value[0] in "aeiou" else "a"
