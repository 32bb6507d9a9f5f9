"""Which transitions can never be taken: because others of their state always are, or because their guard never holds.

The first transition in file order that matches wins; that is what the order of a file says. What a file cannot have
meant is a transition that loses every time.
"""

from __future__ import annotations

from collections.abc import Iterator

from monitor.protocol.checks.finding import Finding
from monitor.protocol.checks.worlds import can_hold, whenever
from monitor.protocol.definition import (
    After,
    Definition,
    OnDetection,
    OnEased,
    OnEffect,
    OnKnownContent,
    OnReport,
    OnStrikes,
    OnViewers,
    Transition,
    Trigger,
)
from monitor.vocabulary import EffectOutcome, Severity


def never_holds(definition: Definition) -> Iterator[Finding]:
    """Yield guards that contradict themselves."""
    for name, state in definition.states.items():
        for index, transition in enumerate(state.transitions):
            if transition.guard is not None and not can_hold(transition.guard):
                yield Finding(
                    ("states", name, "on", index, "if"),
                    "this guard can never hold, so the transition is never taken",
                    "mend the guard, or remove the transition",
                )


def dead(definition: Definition) -> Iterator[Finding]:
    """Yield transitions that can never be taken because others always are."""
    for name, state in definition.states.items():
        for index, transition in enumerate(state.transitions):
            winners = _winners(state.transitions, index, transition)
            if winners:
                ways = " and ".join(str(winner + 1) for winner in winners)
                what = f"transition {ways} of this state is always taken instead"
                if len(winners) > 1:
                    what = f"transitions {ways} of this state are always taken instead"
                yield Finding(
                    ("states", name, "on", index),
                    f"this can never happen: {what}",
                    "remove one, give the other a guard with if:, or change their order",
                )


def _winners(transitions: tuple[Transition, ...], index: int, transition: Transition) -> list[int]:
    """Return which transitions together keep this one from ever being taken; none if it can be."""
    wanted = transition.trigger
    outcomes: tuple[EffectOutcome | None, ...] = wanted.outcomes if isinstance(wanted, OnEffect) else (None,)
    winners: set[int] = set()
    for outcome in outcomes:
        first = [
            (other_index, other.guard)
            for other_index, other in enumerate(transitions)
            if other_index != index
            and _comes_first(other_index, other, index, transition)
            and (outcome is None or (isinstance(other.trigger, OnEffect) and outcome in other.trigger.outcomes))
        ]
        alone = next((one for one in first if whenever(transition.guard, [one[1]])), None)
        if alone is not None:
            winners.add(alone[0])
        elif whenever(transition.guard, [guard for _, guard in first]):
            winners.update(other_index for other_index, _ in first)
        else:
            return []
    return sorted(winners)


def _comes_first(other_index: int, other: Transition, index: int, transition: Transition) -> bool:
    """Whether `other` is tried before this transition at every event that pulls it."""
    if isinstance(transition.trigger, After) and isinstance(other.trigger, After):
        # An earlier deadline without a guard has led elsewhere by then. One with a guard stays due while it is false,
        # and after this one in file order it is tried later.
        if other.to is None:
            return False
        if other.guard is None:
            return other.trigger.delay_s < transition.trigger.delay_s or (
                other_index < index and other.trigger.delay_s == transition.trigger.delay_s
            )
        return other_index < index and other.trigger.delay_s <= transition.trigger.delay_s
    return other_index < index and _covers(other.trigger, transition.trigger)


def _covers(other: Trigger, trigger: Trigger) -> bool:  # noqa: PLR0911 - one per trigger
    """Whether whatever pulls `trigger` pulls `other`, too; outcomes of effects are looked at one by one elsewhere."""
    match trigger, other:
        case OnDetection(wanted, label), OnDetection(given, given_label):
            if Severity.NONE in (wanted, given):
                # That the last label cleared is one of the times that any given label did, but not the other way round.
                return wanted == given and label == given_label
            return given <= wanted and given_label in (None, label)
        case OnEased(label), OnEased(given_label):
            return label == given_label
        case OnEffect(kind, _, late), OnEffect(given_kind, _, given_late):
            return kind is given_kind and (given_late or not late)
        case OnReport(category), OnReport(given_category):
            return given_category in (None, category)
        case OnKnownContent(source), OnKnownContent(given_source):
            return given_source in (None, source)
        case (OnViewers(count), OnViewers(given_count)) | (OnStrikes(count), OnStrikes(given_count)):
            return count == given_count
        case After(), After():
            return False
        case _:
            return trigger == other
