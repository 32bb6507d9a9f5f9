"""Whether it is clear which transition is taken where several could be.

The first in file order wins. Where the earlier one is a special case of the later one, that is what a file says ("this,
and otherwise that"); where it is the other way round, the later one is dead, which `order` finds. What remains are two
that share some situations while each has situations of its own: whoever reads the file cannot tell what was meant there.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from monitor.protocol.checks.finding import Finding
from monitor.protocol.checks.worlds import OTHER, each_world
from monitor.protocol.decision import IncidentState
from monitor.protocol.definition import (
    After,
    Definition,
    LabelDetected,
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
    ServerCan,
    StreamChange,
    Transition,
    Trigger,
)
from monitor.protocol.events import (
    DetectionCleared,
    DetectionRaised,
    EffectFinished,
    Event,
    KnownContentMatched,
    PartnerAlerted,
    Reviewed,
    StreamEnded,
    StreamReturned,
    StrikesChanged,
    UserReported,
    ViewersChanged,
    WatchChanged,
)
from monitor.protocol.guards import each_guard, where_server_can
from monitor.protocol.matching import holds, matched
from monitor.vocabulary import EffectKind, EffectOutcome, Severity

_MOST: Final = 50_000
"""With more situations than this, nothing is claimed: no finding is better than a slow start."""

_Placed = tuple[int, Transition]


@dataclass(frozen=True, slots=True)
class _Situation:
    """Something that happens to an incident; None for the `event` of a deadline, which pulls all that it is about."""

    event: Event | None
    before: IncidentState
    after: IncidentState
    can_hold: bool


def ambiguous(definition: Definition) -> Iterator[Finding]:
    """Yield transitions that can fire together with an earlier one, neither of them being the other's special case."""
    for name, state in definition.states.items():
        for alike in _families(state.transitions):
            for index, rival, situation in _clashes(alike):
                yield Finding(
                    ("states", name, "on", index),
                    f"this and transition {rival + 1} of this state can both fire, {_in_words(situation)}, "
                    "and it is not clear which is meant",
                    "exclude the one in the other's if: with not:, or put a transition for both cases before them",
                )


def _families(transitions: Sequence[Transition]) -> list[list[_Placed]]:
    """Return the transitions that one event can pull together, each with its place in the state's list."""
    families: dict[Hashable, list[_Placed]] = {}
    for index, transition in enumerate(transitions):
        families.setdefault(_family(transition.trigger), []).append((index, transition))
    return [alike for alike in families.values() if len(alike) > 1]


def _family(trigger: Trigger) -> Hashable:
    match trigger:
        case OnDetection(severity):
            return "raised" if severity > Severity.NONE else "fell"
        case OnEased():
            return "fell"
        case OnEffect(kind):
            return OnEffect, kind
        case OnReport() | OnKnownContent() | OnViewers() | OnStrikes():
            return type(trigger).__name__
        case _:
            # Deadlines of different lengths come one after the other; all others are pulled by one event each.
            return trigger


def _clashes(alike: Sequence[_Placed]) -> Iterator[tuple[int, int, _Situation]]:
    """Yield each transition that clashes with an earlier one, that one, and a situation in which both could be taken."""
    situations: list[_Situation] = []
    for situation in _situations(alike):
        situations.append(situation)
        if len(situations) > _MOST:
            return
    fires = [_fires(transition, situations) for _, transition in alike]
    taken = [0, *itertools.accumulate(fires, operator.or_)]
    for place, (rival, earlier) in enumerate(alike):
        first = fires[place] & ~taken[place]
        for later_place in range(place + 1, len(alike)):
            index, later = alike[later_place]
            both = first & fires[later_place]
            special = not first & ~fires[later_place]
            dead = not fires[later_place] & ~taken[later_place]
            if both and not special and not dead and (earlier.to, earlier.effects) != (later.to, later.effects):
                yield index, rival, situations[(both & -both).bit_length() - 1]


def _fires(transition: Transition, situations: Sequence[_Situation]) -> int:
    """Return in which situations a transition could be taken, as bits."""
    trigger, guard = transition.trigger, transition.guard
    able = None if guard is None else where_server_can(guard)
    fires = 0
    for place, one in enumerate(situations):
        pulled = one.event is None or matched(trigger, one.event, one.before, one.after) is not None
        if pulled and holds(able if one.can_hold else guard, one.after):
            fires |= 1 << place
    return fires


def _situations(alike: Sequence[_Placed]) -> Iterator[_Situation]:
    """Yield every situation that these transitions can tell apart."""
    triggers = [transition.trigger for _, transition in alike]
    guards = [transition.guard for _, transition in alike if transition.guard is not None]
    simple = [one for guard in guards for one in each_guard(guard)]
    labels = {one.label for one in simple if isinstance(one, LabelDetected)}
    labels |= {one.label for one in triggers if isinstance(one, OnDetection | OnEased) and one.label is not None}
    known = [where_server_can(guard) for guard in guards]
    known = [where_server_can(guard) for guard in guards]
    happening = _happenings(triggers, [*sorted(labels), OTHER])
    viewers = [one.count for one in triggers if isinstance(one, OnViewers)]
    strikes = [one.count for one in triggers if isinstance(one, OnStrikes)]
    for can_hold in (False, True) if any(isinstance(one, ServerCan) for one in simple) else (False,):
        for world in each_world(known, labels=labels, strikes=strikes, viewers=viewers, reports=[1], most=_MOST) or ():
            after = replace(world, asked=dict.fromkeys(EffectKind, 1))
            for event, before in happening(after):
                yield _Situation(event, before, after, can_hold)


_Happening = Callable[[IncidentState], Iterator[tuple[Event | None, IncidentState]]]


def _happenings(triggers: Sequence[Trigger], labels: Sequence[str]) -> _Happening:  # noqa: C901, PLR0911 - one per family
    """Return what can have happened, seen from a state after it."""
    match triggers[0]:
        case OnDetection(severity) if severity > Severity.NONE:
            return partial(_raised, labels)
        case OnDetection() | OnEased():
            return partial(_fell, labels)
        case OnEffect(kind):
            keys = ("1.0", "0.0")
            return _each([EffectFinished(key, kind, outcome) for outcome in EffectOutcome for key in keys])
        case OnReport():
            categories = [one.category for one in triggers if isinstance(one, OnReport) and one.category]
            return partial(_reported, [*sorted(set(categories)), OTHER])
        case OnKnownContent():
            sources = [one.source for one in triggers if isinstance(one, OnKnownContent) and one.source]
            return _each([KnownContentMatched(source) for source in [*sorted(set(sources)), OTHER]])
        case OnViewers():
            return partial(_gathered, sorted({one.count for one in triggers if isinstance(one, OnViewers)}))
        case OnStrikes():
            return partial(_offended, sorted({one.count for one in triggers if isinstance(one, OnStrikes)}))
        case OnReview(decision):
            return _each([Reviewed(decision, "", "")])
        case OnStream(change):
            return _each([StreamEnded() if change is StreamChange.ENDED else StreamReturned()])
        case OnWatched(freshness):
            return _each([WatchChanged(freshness)])
        case OnPartner(signal):
            return _each([PartnerAlerted("", signal)])
        case After():
            return _each([None])


def _each(events: Sequence[Event | None]) -> _Happening:
    return lambda after: ((event, after) for event in events)


def _raised(labels: Sequence[str], after: IncidentState) -> Iterator[tuple[Event, IncidentState]]:
    for label in labels:
        if label in after.severities:
            yield DetectionRaised(label, after.severities[label], 1.0), after


def _fell(labels: Sequence[str], after: IncidentState) -> Iterator[tuple[Event, IncidentState]]:
    for label in labels:
        now = after.severities.get(label, Severity.NONE)
        for was in Severity:
            if was > now:
                before = replace(after, severities={**after.severities, label: was})
                yield DetectionCleared(label, now), before


def _reported(categories: Sequence[str], after: IncidentState) -> Iterator[tuple[Event, IncidentState]]:
    if after.reports:
        for category in categories:
            yield UserReported(category), replace(after, reports=after.reports - 1)


def _gathered(counts: Sequence[int], after: IncidentState) -> Iterator[tuple[Event, IncidentState]]:
    for was in (0, *counts):
        if was < after.viewers:
            yield ViewersChanged(after.viewers), replace(after, viewers=was)


def _offended(counts: Sequence[int], after: IncidentState) -> Iterator[tuple[Event, IncidentState]]:
    for was in (0, *counts):
        if was < after.strikes:
            yield StrikesChanged(after.strikes), replace(after, strikes=was)


def _in_words(situation: _Situation) -> str:
    event, after = situation.event, situation.after
    match event:
        case DetectionRaised(label, severity):
            what = f"as when {_label(label)} is raised to {severity.word}"
        case DetectionCleared(label, severity):
            what = f"as when {_label(label)} falls to {severity.word}"
        case EffectFinished(_, kind, outcome):
            what = f"as when {kind.value} {outcome.value}"
        case Reviewed(decision):
            what = f"as at the review {decision.value}"
        case UserReported(category) if category != OTHER:
            what = f"as at a report of {category!r}"
        case None:
            what = "as they come due together"
        case _:
            what = "at one event"
    known = [f"severity {after.severity.word}"]
    known += [f"{label!r} detected" for label in after.severities if label != OTHER]
    counted = (("strikes", after.strikes), ("viewers", after.viewers), ("reports", after.reports))
    known += [f"{name} {count}" for name, count in counted if count]
    return f"{what} with {', '.join(known)}"


def _label(label: str) -> str:
    return "a label" if label == OTHER else repr(label)
