"""What a protocol must not be, looked for when it is loaded: it will run when nobody has time to debug it.

Each check is a generator over one kind of mistake. Some mistakes are logical (a state that nothing leads to), some are
about people: whoever is cut off must have somebody who was told and could take it back, and whoever is asked must be
heard. `findings` runs them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from monitor.protocol.definition import After, Definition, OnDetection, OnEffect, OnReview, OnWatched, Transition
from monitor.protocol.graph import Edge, edges_of, reachable
from monitor.protocol.words import suggestion
from monitor.units import format_duration
from monitor.vocabulary import AlertEvent, EffectKind, EffectOutcome, ReviewDecision, Severity
from monitor.yaml_source import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake: where the file says it, what is wrong, and how to mend it."""

    path: Path
    what: str
    mend: str


def findings(definition: Definition) -> list[Finding]:
    """Return every mistake in a definition; an empty list means that it may run.

    Names that lead nowhere hide all else: while there are any, only they are returned.
    """
    lost = list(_names(definition))
    if lost:
        return lost
    edges = edges_of(definition)
    found = [
        *_initial(definition, edges),
        *_final(definition),
        *_pointless(edges),
        *_dead(definition),
        *_unreachable(definition, edges),
        *_endless(definition, edges),
        *_waits_forever(definition, edges),
        *_unheard_review(definition, edges),
        *_cut_short_review(definition, edges),
        *_unhandled_outcome(definition, edges),
        *_unasked_outcome(edges),
        *_unproven_alert(definition, edges),
        *_untold_containment(definition, edges),
        *_no_way_back(definition, edges),
        *_dismissed_in_vain(edges),
    ]
    return list(dict.fromkeys(found))


def _names(definition: Definition) -> Iterator[Finding]:
    states = definition.states
    if definition.initial not in states:
        yield Finding(("initial",), f"there is no state {definition.initial!r}", suggestion(definition.initial, states))
    for name, state in states.items():
        for index, transition in enumerate(state.transitions):
            if transition.to is not None and transition.to not in states:
                what = f"there is no state {transition.to!r}"
                yield Finding(("states", name, "on", index, "to"), what, suggestion(transition.to, states))


def _initial(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    name = definition.initial
    state = definition.states[name]
    if state.final:
        yield Finding(
            ("states", name, "final"), "the initial state is final: nothing would ever happen", "make another one final"
        )
    if state.enter:
        yield Finding(
            ("states", name, "enter"),
            "the initial state has entry effects, but it is never entered: incidents begin in it",
            "move them into do: of its transitions",
        )
    for index, transition in enumerate(state.transitions):
        if isinstance(transition.trigger, After):
            yield Finding(
                ("states", name, "on", index),
                "the initial state has a deadline, but no incident runs in it",
                "wait for a detection here",
            )
        if isinstance(transition.trigger, OnWatched):
            yield Finding(
                ("states", name, "on", index),
                "the initial state waits for how the stream is watched, but no incident runs in it",
                "wait for a detection here; metrics and alert rules tell of streams without incidents",
            )
    for edge in edges:
        if edge.transition.to == name:
            yield Finding(
                (*edge.path, "to"),
                "this leads back into the initial state, so the incident would never close",
                "lead to a final state; the next detection opens a new incident",
            )


def _final(definition: Definition) -> Iterator[Finding]:
    for name, state in definition.states.items():
        if state.final and state.transitions:
            yield Finding(("states", name, "on"), "a final state has transitions", "remove them, or final: true")


def _pointless(edges: tuple[Edge, ...]) -> Iterator[Finding]:
    for edge in edges:
        transition = edge.transition
        if transition.to is None and not transition.effects:
            yield Finding(edge.path, "a transition that neither leads anywhere nor does anything", "add to: or do:")
        if transition.to is None and transition.guard is not None and isinstance(transition.trigger, After):
            # A deadline whose guard is false is looked at again until it leads out; staying, it would not end.
            yield Finding(edge.path, "a guarded deadline that stays in its state", "add to:, or remove the guard")


def _dead(definition: Definition) -> Iterator[Finding]:
    for name, state in definition.states.items():
        for index, transition in enumerate(state.transitions):
            winner = _winner(state.transitions, index, transition)
            if winner is not None:
                yield Finding(
                    ("states", name, "on", index),
                    f"this can never happen: transition {winner + 1} of this state is always taken instead",
                    "remove one, give the other a guard with if:, or change their order",
                )


def _winner(transitions: tuple[Transition, ...], index: int, transition: Transition) -> int | None:
    """Return which transition keeps this one from ever being taken, or None."""
    outcomes: set[EffectOutcome] = set()
    for other_index, other in enumerate(transitions):
        if other_index == index or (other.guard is not None and other.guard != transition.guard):
            continue
        earlier = other_index < index
        match transition.trigger, other.trigger:
            case After(delay_s), After(other_delay_s):
                leaves = other.to is not None and other.guard is None
                if leaves and (other_delay_s < delay_s or (earlier and other_delay_s == delay_s)):
                    return other_index
            case OnDetection(wanted), OnDetection(other_wanted):
                covered = wanted == other_wanted or Severity.NONE < other_wanted <= wanted
                if earlier and covered:
                    return other_index
            case OnEffect(kind, wanted_outcomes), OnEffect(other_kind, other_outcomes) if (
                earlier and kind is other_kind
            ):
                outcomes.update(other_outcomes)
                if outcomes.issuperset(wanted_outcomes):
                    return other_index
            case trigger, other_trigger if earlier and trigger == other_trigger:
                return other_index
            case _:
                continue
    return None


def _unreachable(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    reached = reachable(edges, [definition.initial])
    for name in definition.states:
        if name not in reached:
            yield Finding(("states", name), "nothing leads to this state", "add a transition to it, or remove it")


def _endless(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    if not any(state.final for state in definition.states.values()):
        yield Finding(("states",), "there is no final state, so no incident ever ends", "give one final: true")
        return
    for name in definition.states:
        if not any(definition.states[other].final for other in reachable(edges, [name])):
            yield Finding(
                ("states", name), "no final state can be reached from here", "add a transition that ends the incident"
            )


def _waits_forever(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
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


def _unheard_review(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    for edge in edges:
        for effect, path in edge.effect_paths(definition):
            if effect.kind is not EffectKind.REQUEST_REVIEW:
                continue
            heard = {
                transition.trigger.decision
                for transition in definition.states[edge.target].transitions
                if isinstance(transition.trigger, OnReview) and transition.guard is None
            }
            ignored = [decision.value for decision in ReviewDecision if decision not in heard]
            if ignored:
                yield Finding(
                    path,
                    f"a responder is asked, but state {edge.target!r} ignores {' and '.join(ignored)}",
                    f"add {' and '.join(f'{{review: {word}, to: …}}' for word in ignored)} there, without if:",
                )


def _cut_short_review(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    for edge in edges:
        delays_s = [
            transition.trigger.delay_s
            for transition in definition.states[edge.target].transitions
            if isinstance(transition.trigger, After) and transition.to is not None
        ]
        for effect, path in edge.effect_paths(definition):
            within_s = effect.parameters.get("within_s")
            if isinstance(within_s, float) and delays_s and min(delays_s) < within_s and edge.transition.to is not None:
                yield Finding(
                    path,
                    f"a responder is promised {format_duration(within_s)}, but state {edge.target!r} is left after "
                    f"{format_duration(min(delays_s))}",
                    "make within: no longer than the first after:",
                )


def _unhandled_outcome(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    consequences = {
        EffectKind.CUT: "a stream could stay on the air with nobody knowing",
        EffectKind.UNBLOCK: "a publisher could stay blocked with nobody knowing",
    }
    for edge in edges:
        for effect, path in edge.effect_paths(definition):
            if effect.kind not in consequences:
                continue
            handled = {
                outcome
                for transition in definition.states[edge.target].transitions
                if isinstance(transition.trigger, OnEffect) and transition.guard is None
                for outcome in transition.trigger.outcomes
                if transition.trigger.kind is effect.kind
            }
            ignored = [outcome.value for outcome in EffectOutcome if outcome not in handled]
            if ignored:
                yield Finding(
                    path,
                    f"state {edge.target!r} does not react to {effect.kind.value} {' or '.join(ignored)}: "
                    f"{consequences[effect.kind]}",
                    f"add {{effect: {effect.kind.value}, outcome: [{', '.join(ignored)}], …}} there, without if:",
                )


def _unasked_outcome(edges: tuple[Edge, ...]) -> Iterator[Finding]:
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


def _unproven_alert(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    proofs = {
        AlertEvent.CONTAINED.value: OnEffect(EffectKind.CUT, (EffectOutcome.SUCCEEDED,)),
        AlertEvent.RELEASED.value: OnEffect(EffectKind.UNBLOCK, (EffectOutcome.SUCCEEDED,)),
    }
    for edge in edges:
        for effect, path in edge.effect_paths(definition):
            proof = proofs.get(str(effect.parameters.get("event")))
            if proof is not None and edge.transition.trigger != proof:
                word = effect.parameters["event"]
                yield Finding(
                    path,
                    f"this says {word!r} also when transition {edge.index + 1} of state {edge.source!r} is taken, "
                    "which proves nothing of the kind",
                    f"say it in do: of {{effect: {proof.kind.value}, outcome: succeeded, …}} only",
                )


def _untold_containment(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
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
            if effect.kind in (EffectKind.CUT, EffectKind.BLOCK):
                yield Finding(
                    path,
                    f"nobody is told of this {effect.kind.value}, neither on the way to it nor right after it",
                    "add alert or request_review beside it",
                )


def _no_way_back(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    mends = {edge.source for edge in edges if _dismisses(edge) and _leads_to_unblock(edge, edges)}

    def stuck(name: str) -> bool:
        return not mends & reachable(edges, [name])

    mend = "add {review: dismiss, to: …} that leads to an unblock"
    landings = [edge for edge in edges if _silences(edge) and stuck(edge.target)]
    for edge in landings:
        for effect, path in edge.effect_paths(definition):
            if effect.kind in (EffectKind.CUT, EffectKind.BLOCK):
                yield Finding(path, f"nobody can take this {effect.kind.value} back if it was a mistake", mend)
    if landings:
        return
    silenced = _silenced(edges)
    for name, state in definition.states.items():
        if name in silenced and not state.final and stuck(name):
            what = "the publisher is cut off or blocked here, and nobody can take it back"
            yield Finding(("states", name), what, mend)


def _dismissed_in_vain(edges: tuple[Edge, ...]) -> Iterator[Finding]:
    if not any(edge.asks(EffectKind.UNBLOCK) for edge in edges):
        return  # `_no_way_back` says so
    silenced = _silenced(edges)
    for edge in edges:
        if _dismisses(edge) and edge.source in silenced and not _leads_to_unblock(edge, edges):
            what = "whoever is dismissed here stays cut off or blocked"
            yield Finding(edge.path, what, "lead it to a state that asks for unblock")


def _silences(edge: Edge) -> bool:
    return edge.asks(EffectKind.CUT, EffectKind.BLOCK) and not edge.asks(EffectKind.UNBLOCK)


def _silenced(edges: tuple[Edge, ...]) -> frozenset[str]:
    """Return the states in which the publisher may be cut off or blocked."""
    landings = [edge.target for edge in edges if _silences(edge)]
    return reachable(edges, landings, lambda edge: not edge.asks(EffectKind.UNBLOCK))


def _dismisses(edge: Edge) -> bool:
    return edge.transition.trigger == OnReview(ReviewDecision.DISMISS)


def _leads_to_unblock(edge: Edge, edges: tuple[Edge, ...]) -> bool:
    onward = reachable(edges, [edge.target])
    return edge.asks(EffectKind.UNBLOCK) or any(
        other.asks(EffectKind.UNBLOCK) for other in edges if other.source in onward
    )
