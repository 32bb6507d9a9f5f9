"""Whether states and transitions make sense as a graph."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.protocol.checks.finding import Finding
from monitor.protocol.definition import (
    After,
    Definition,
    OnViewers,
    OnWatched,
)
from monitor.protocol.graph import Edge, reachable
from monitor.protocol.words import suggestion


def lost_names(definition: Definition) -> Iterator[Finding]:
    """Yield names of states that there are not."""
    states = definition.states
    if definition.initial not in states:
        yield Finding(("initial",), f"there is no state {definition.initial!r}", suggestion(definition.initial, states))
    for name, state in states.items():
        for index, transition in enumerate(state.transitions):
            if transition.to is not None and transition.to not in states:
                what = f"there is no state {transition.to!r}"
                yield Finding(("states", name, "on", index, "to"), what, suggestion(transition.to, states))


def busy_initial(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    """Yield what the initial state may not have, because no incident runs in it."""
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
        if isinstance(transition.trigger, OnViewers):
            yield Finding(
                ("states", name, "on", index),
                "the initial state waits for viewers, but no incident runs in it",
                "wait for a detection here, and guard it with if: {viewers: …}",
            )
    for edge in edges:
        if edge.transition.to == name:
            yield Finding(
                (*edge.path, "to"),
                "this leads back into the initial state, so the incident would never close",
                "lead to a final state; the next detection opens a new incident",
            )


def busy_final(definition: Definition) -> Iterator[Finding]:
    """Yield final states that something leads out of."""
    for name, state in definition.states.items():
        if state.final and state.transitions:
            yield Finding(("states", name, "on"), "a final state has transitions", "remove them, or final: true")


def pointless(edges: tuple[Edge, ...]) -> Iterator[Finding]:
    """Yield transitions that change nothing, or would come again at once."""
    for edge in edges:
        transition = edge.transition
        if transition.to is None and not transition.effects:
            yield Finding(edge.path, "a transition that neither leads anywhere nor does anything", "add to: or do:")
        if transition.to is None and transition.guard is not None and isinstance(transition.trigger, After):
            # A deadline whose guard is false is looked at again until it leads out; staying, it would not end.
            yield Finding(edge.path, "a guarded deadline that stays in its state", "add to:, or remove the guard")


def unreachable(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    """Yield states that nothing leads to."""
    reached = reachable(edges, [definition.initial])
    for name in definition.states:
        if name not in reached:
            yield Finding(("states", name), "nothing leads to this state", "add a transition to it, or remove it")


def endless(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    """Yield states from which no incident ends."""
    if not any(state.final for state in definition.states.values()):
        yield Finding(("states",), "there is no final state, so no incident ever ends", "give one final: true")
        return
    for name in definition.states:
        if not any(definition.states[other].final for other in reachable(edges, [name])):
            yield Finding(
                ("states", name), "no final state can be reached from here", "add a transition that ends the incident"
            )
