"""Which transitions can never be taken because others of their state always are."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.protocol.checks.finding import Finding
from monitor.protocol.definition import (
    After,
    Definition,
    OnDetection,
    OnEffect,
    Transition,
)
from monitor.vocabulary import EffectOutcome, Severity


def dead(definition: Definition) -> Iterator[Finding]:
    """Yield transitions that can never be taken because others always are."""
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
