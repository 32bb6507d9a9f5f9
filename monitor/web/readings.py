"""The daemon's own metrics as the status page reads them: one look at all of them, and what to make of one or two looks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from prometheus_client.registry import Collector

_READ: Final = ("livecordon_", "process_")

Labels = Mapping[str, str]
Series = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Reading:
    """All metrics at one moment; `at_s` is monotonic."""

    at_s: float
    samples: Mapping[str, Sequence[tuple[Labels, float]]]

    def of(self, name: str, where: Labels) -> list[tuple[Labels, float]]:
        """Return the samples of this name that have these labels."""
        return [one for one in self.samples.get(name, ()) if where.items() <= one[0].items()]


Measure = Callable[[Reading, Reading | None], Series]
"""From the newest reading and the one before to a value for each line of a chart; a line without a value has a gap there."""


def read(registry: Collector, at_s: float) -> Reading:
    """Look at everything; takes milliseconds, and is fit for a thread."""
    samples: dict[str, list[tuple[Labels, float]]] = {}
    for family in registry.collect():
        if family.name.startswith(_READ):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return Reading(at_s, samples)


def now(name: str, *, by: str = "", name_it: str = "", most: bool = False, **where: str) -> Measure:
    """Return a measure of what gauges say now, one line for each value of the label `by`: their sum, or the greatest."""
    return lambda reading, _: _folded(reading.of(name, where), by, name_it, max if most else sum)


def per_second(name: str, *, by: str = "", name_it: str = "", **where: str) -> Measure:
    """Return a measure of how fast counters grow."""

    def measure(reading: Reading, before: Reading | None) -> Series:
        if before is None or reading.at_s <= before.at_s:
            return {}
        after, earlier = (_folded(one.of(name, where), by, name_it, sum) for one in (reading, before))
        took_s = reading.at_s - before.at_s
        return {line: max(0.0, value - earlier.get(line, 0.0)) / took_s for line, value in after.items()}

    return measure


def quantile(name: str, share: float, *, by: str = "", name_it: str = "", ever: bool = False, **where: str) -> Measure:
    """Return a measure of what `share` of the values in a histogram did not exceed, since the reading before or `ever`."""

    def measure(reading: Reading, before: Reading | None) -> Series:
        if before is None and not ever:
            return {}
        found: dict[str, float] = {}
        for line in {labels.get(by, name_it) for labels, _ in reading.of(f"{name}_bucket", where)}:
            chosen = where | ({by: line} if by else {})
            counts = _cumulative(reading.of(f"{name}_bucket", chosen))
            if before is not None and not ever:
                earlier = _cumulative(before.of(f"{name}_bucket", chosen))
                counts = {bound: count - earlier.get(bound, 0.0) for bound, count in counts.items()}
            value = _quantile(share, counts)
            if value is not None:
                found[line] = value
        return found

    return measure


def both(*measures: Measure) -> Measure:
    """Return a measure with the lines of all these."""

    def measure(reading: Reading, before: Reading | None) -> Series:
        return {line: value for one in measures for line, value in one(reading, before).items()}

    return measure


def _folded(
    samples: Sequence[tuple[Labels, float]], by: str, name_it: str, fold: Callable[[Sequence[float]], float]
) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for labels, value in samples:
        groups.setdefault(labels.get(by, name_it), []).append(value)
    return {line: fold(values) for line, values in groups.items()}


def _cumulative(buckets: Sequence[tuple[Labels, float]]) -> dict[float, float]:
    counts: dict[float, float] = {}
    for labels, value in buckets:
        bound = float(labels["le"])
        counts[bound] = counts.get(bound, 0.0) + value
    return counts


def _quantile(share: float, counts: Mapping[float, float]) -> float | None:
    """Return a quantile as Prometheus does: evenly spread within a bucket, and the last bound for what lies above."""
    bounds = [0.0, *sorted(counts)]
    total = counts.get(math.inf, 0.0)
    if total <= 0:
        return None
    rank = share * total
    for low, high in pairwise(bounds):
        if counts[high] >= rank:
            if math.isinf(high):
                return low
            below = counts.get(low, 0.0)
            return low + (high - low) * (rank - below) / max(1e-9, counts[high] - below)
    return None
