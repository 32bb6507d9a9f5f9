"""A definition as a graph: which transition leads where, and what is done on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from monitor.protocol.definition import Definition, Effect, Transition
from monitor.vocabulary import EffectKind
from monitor.yaml_source import Path


@dataclass(frozen=True, slots=True)
class Edge:
    """One transition in its place.

    Attributes:
        source: State that it belongs to.
        index: Its place in that state's list.
        transition: The transition.
        target: State after it; `source` if it stays.
        effects: All that one pass over it asks for, in order.
    """

    source: str
    index: int
    transition: Transition
    target: str
    effects: tuple[Effect, ...]

    @property
    def path(self) -> Path:
        """Where the file says it."""
        return ("states", self.source, "on", self.index)

    def asks(self, *kinds: EffectKind) -> bool:
        """Return whether one pass asks, on some media server, for an effect of any of these kinds."""
        return any(kind in kinds for effect in self.effects for kind in effect.kinds)

    def effect_paths(self, definition: Definition) -> Iterator[tuple[Effect, Path]]:
        """Yield each effect with where the file says it."""
        for index, effect in enumerate(self.transition.effects):
            yield effect, (*self.path, "do", index)
        if self.transition.to is not None:
            for index, effect in enumerate(definition.states[self.target].enter):
                yield effect, ("states", self.target, "enter", index)


def edges_of(definition: Definition) -> tuple[Edge, ...]:
    """Return every transition of a definition whose names all lead somewhere."""
    return tuple(
        Edge(
            source=name,
            index=index,
            transition=transition,
            target=name if transition.to is None else transition.to,
            effects=transition.effects + (() if transition.to is None else definition.states[transition.to].enter),
        )
        for name, state in definition.states.items()
        for index, transition in enumerate(state.transitions)
    )


def reachable(
    edges: Iterable[Edge], starts: Iterable[str], through: Callable[[Edge], bool] = lambda _: True
) -> frozenset[str]:
    """Return `starts` and every state that edges, of those that `through` allows, lead to from there."""
    ways: dict[str, list[str]] = {}
    for edge in edges:
        if through(edge):
            ways.setdefault(edge.source, []).append(edge.target)
    found = set(starts)
    open_ends = list(found)
    while open_ends:
        for target in ways.get(open_ends.pop(), ()):
            if target not in found:
                found.add(target)
                open_ends.append(target)
    return frozenset(found)
