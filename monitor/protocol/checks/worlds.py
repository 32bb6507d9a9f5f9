"""Every situation that a handful of guards can tell apart: what a guard implies, looked up instead of proved."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from monitor.protocol.decision import IncidentState
from monitor.protocol.definition import (
    Guard,
    LabelDetected,
    MaxSeverityAtLeast,
    ReportsAtLeast,
    ServerCan,
    StrikesAtLeast,
    ViewersAtLeast,
)
from monitor.protocol.guards import each_guard
from monitor.protocol.matching import holds
from monitor.vocabulary import Severity

_MOST: Final = 20_000
"""With more situations than this, nothing is claimed: no finding is better than a wrong one, or a slow start."""

OTHER: Final = "\0any other"
"""Stands for every label, category or list that is not named."""


def can_hold(guard: Guard) -> bool:
    """Whether there is a situation in which `guard` holds."""
    worlds = each_world([guard])
    return worlds is None or any(holds(guard, world) for world in worlds)


def whenever(guard: Guard | None, others: Sequence[Guard | None]) -> bool:
    """Whether, in every situation in which `guard` holds, at least one of `others` does, too."""
    if not others:
        return False
    if None in others or guard in others:
        return True
    worlds = each_world([guard, *others])
    return worlds is not None and all(
        any(holds(other, world) for other in others) for world in worlds if holds(guard, world)
    )


def each_world(
    guards: Sequence[Guard | None],
    *,
    labels: Iterable[str] = (),
    strikes: Iterable[int] = (),
    viewers: Iterable[int] = (),
    reports: Iterable[int] = (),
    most: int = _MOST,
) -> Iterator[IncidentState] | None:
    """Yield one situation for every way in which these guards can come out; None if that cannot be told.

    Args:
        guards: What is to be told apart.
        labels: Further labels of which it matters how severe they are.
        strikes: Further numbers of strikes that matter.
        viewers: Further numbers of viewers.
        reports: Further numbers of reports.
        most: With more situations than this, none is yielded.
    """
    simple = [one for guard in guards for one in each_guard(guard)]
    if any(isinstance(one, ServerCan) for one in simple):
        return None
    named = sorted({*labels, *(one.label for one in simple if isinstance(one, LabelDetected))})
    further = ((StrikesAtLeast, strikes), (ViewersAtLeast, viewers), (ReportsAtLeast, reports))
    counts = [sorted({0, *more, *(one.count for one in simple if isinstance(one, kind))}) for kind, more in further]
    highest = any(isinstance(one, MaxSeverityAtLeast) for one in simple)
    of_labels = 3 ** (len(named) + 1)
    if 3 * of_labels * len(counts[0]) * len(counts[1]) * len(counts[2]) > most:
        return None
    return _each(named, counts, with_highest=highest)


def _each(labels: list[str], counts: list[list[int]], *, with_highest: bool) -> Iterator[IncidentState]:
    for severities in itertools.product(Severity, repeat=len(labels) + 1):
        named = {
            label: severity
            for label, severity in zip([*labels, OTHER], severities, strict=True)
            if severity > Severity.NONE
        }
        now = max(severities)
        for highest in Severity if with_highest else (now,):
            if highest >= now:
                for strikes, viewers, reports in itertools.product(*counts):
                    yield IncidentState("", 0.0, 0, named, highest, strikes=strikes, viewers=viewers, reports=reports)
