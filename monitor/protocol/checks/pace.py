"""Whether a protocol goes on at a pace that the world can keep: no faster than streams are seen, and never by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from monitor.protocol.checks.finding import Finding
from monitor.protocol.definition import (
    After,
    Definition,
    LabelDetected,
    OnDetection,
    OnEased,
    OnEffect,
    SeverityAtLeast,
    State,
)
from monitor.protocol.graph import Edge, reachable
from monitor.protocol.guards import each_guard
from monitor.units import format_duration
from monitor.vocabulary import EffectKind, Posture

ANSWER_S: Final[Mapping[Posture, float]] = {Posture.CALM: 6.0, Posture.CLOSE: 3.0, Posture.FULL: 2.0}
"""Soonest that a change on a stream can become a detection, or clear one, per posture.

A clip is due every 2 s in calm posture, every 0.5 s in close and 0.25 s in full, and a detection takes three clips or
more; the last two also need a second or so for the clip itself.
"""

_TRIES = frozenset({EffectKind.CUT, EffectKind.HOLD, EffectKind.RELEASE, EffectKind.PRESERVE})


def too_soon(definition: Definition) -> Iterator[Finding]:
    """Yield deadlines that wait for what is on the stream, and are over before it can have been seen."""
    for name, state in definition.states.items():
        if name == definition.initial or not _watches(state):
            continue
        answer_s = ANSWER_S[state.posture]
        for index, transition in enumerate(state.transitions):
            if isinstance(transition.trigger, After) and transition.to and transition.trigger.delay_s < answer_s:
                yield Finding(
                    ("states", name, "on", index, "after"),
                    f"{format_duration(transition.trigger.delay_s)} is over before anything new can be seen on a "
                    f"stream in posture {state.posture.value}, and this state waits for detections",
                    f"wait {format_duration(answer_s)} or longer, or remove what waits for detections",
                )


def _watches(state: State) -> bool:
    """Whether anything in a state waits for a change of what is detected."""
    return any(isinstance(transition.trigger, OnDetection | OnEased) for transition in state.transitions) or any(
        isinstance(guard, SeverityAtLeast | LabelDetected)
        for transition in state.transitions
        if isinstance(transition.trigger, After)
        for guard in each_guard(transition.guard)
    )


def left_while_trying(definition: Definition, edges: tuple[Edge, ...]) -> Iterator[Finding]:
    """Yield effects that a file lets try for longer than the state that they lead to can last."""
    for edge in edges:
        if edge.transition.to is None:
            continue
        delays_s = [
            transition.trigger.delay_s
            for transition in definition.states[edge.target].transitions
            if isinstance(transition.trigger, After) and transition.guard is None and transition.to is not None
        ]
        for effect, path in edge.effect_paths(definition):
            within_s = effect.parameters.get("within_s")
            if effect.kind in _TRIES and isinstance(within_s, float) and delays_s and min(delays_s) < within_s:
                yield Finding(
                    path,
                    f"this may be tried for {format_duration(within_s)}, but state {edge.target!r} is left after "
                    f"{format_duration(min(delays_s))}",
                    "make within: no longer than the first after: that has no if:",
                )


def answers_itself(edges: tuple[Edge, ...]) -> Iterator[Finding]:
    """Yield transitions on effects that could ask for each other for ever, with nothing else happening in between."""
    circle = [edge for edge in edges if isinstance(edge.transition.trigger, OnEffect)]
    while True:
        kept = [edge for edge in circle if _asked_within(edge, _around(edge, circle))]
        if len(kept) == len(circle):
            break
        circle = kept
    for edge in circle:
        trigger = edge.transition.trigger
        kind = trigger.kind.value if isinstance(trigger, OnEffect) else ""
        yield Finding(
            edge.path,
            f"the end of {kind} leads to {kind} again, for ever: no deadline and nothing from outside comes in between",
            "put a state with after: in between, or do not ask for it again",
        )


def _around(edge: Edge, edges: list[Edge]) -> list[Edge]:
    """Return the edges that lie on a way from `edge` back to it."""
    onward = reachable(edges, [edge.target])
    if edge.source not in onward:
        return []
    return [other for other in edges if other.source in onward and edge.source in reachable(edges, [other.target])]


def _asked_within(edge: Edge, around: list[Edge]) -> bool:
    trigger = edge.transition.trigger
    return isinstance(trigger, OnEffect) and any(other.asks(trigger.kind) for other in around)
