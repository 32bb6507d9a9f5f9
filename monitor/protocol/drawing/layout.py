"""Where everything goes: cards in columns, and between the columns one trunk line for each state that arrows lead to.

Columns count the transitions from the initial state; final states stand in the last one. All arrows into one state join
one trunk, as trains do on a map, so that sixty transitions need a dozen lines. A trunk that has to pass a column does so
between its cards, where a *gap* is kept free for it. Everything is a function of the definition alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from monitor.protocol.definition import Definition
from monitor.protocol.drawing.cards import CARD_WIDTH, TITLE_HEIGHT, Card

GAP_HEIGHT: Final = 4.0
_BETWEEN_CARDS: Final = 26.0
_BETWEEN_GAPS: Final = 8.0
_LANE: Final = 10.0
_MARGIN: Final = 22.0
"""Between a column and the nearest lane; arrow heads need it."""
_SWEEPS: Final = 24
_NEAR: Final = 4.0
"""Horizontal lines nearer to each other than this look like one."""
_MERGED: Final = 50
"""What two lines that look like one cost, in crossings."""

Item = tuple[str, int | None]
"""A card (its state, None), or the gap that a trunk (its state) has in a column."""


@dataclass(frozen=True, slots=True)
class Trunk:
    """All lines into one state.

    Attributes:
        target: The state.
        lines: Horizontal and vertical lines as (x1, y1, x2, y2).
        joints: Where arrows join, as (x, y).
        tip: Where the arrow enters its card, as (x, y).
    """

    target: str
    lines: tuple[tuple[float, float, float, float], ...]
    joints: tuple[tuple[float, float], ...]
    tip: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Layout:
    """Places in user units, from the top left corner.

    Attributes:
        places: Top left corner of each state's card.
        trunks: Lines, in file order of their states.
        width, height: Of everything.
    """

    places: Mapping[str, tuple[float, float]]
    trunks: tuple[Trunk, ...]
    width: float
    height: float


def laid_out(definition: Definition, cards: Mapping[str, Card]) -> Layout:
    """Return where every card and line goes."""
    return _Plan(definition, cards).layout()


@dataclass(slots=True, eq=False)
class _Plan:
    definition: Definition
    cards: Mapping[str, Card]
    column: dict[str, int] = field(init=False)
    columns: list[list[Item]] = field(init=False)
    top: dict[Item, float] = field(init=False, default_factory=dict)
    sources: dict[str, list[tuple[str, float]]] = field(init=False)
    """Per state: which cards lead to it, each with the port of the row."""

    def __post_init__(self) -> None:
        self.column = _columns(self.definition)
        self.sources = {name: [] for name in self.cards}
        for card in self.cards.values():
            for row in card.rows:
                if row.target is not None and not row.anew:
                    self.sources[row.target].append((card.name, row.port))
        self.columns = [[] for _ in range(max(self.column.values()) + 1)]
        for name in self.cards:
            self.columns[self.column[name]].append((name, None))
        for target in self.cards:
            channels = self._channels(target)
            for number in channels[:-1]:
                self.columns[number].append((target, number))

    def layout(self) -> Layout:
        self._stack()
        for sweep in range(_SWEEPS):
            wished = self._wished(range(len(self.columns)))
            for items in self.columns:
                # Order is free in the first half; then everything only slides.
                if sweep < _SWEEPS * 2 // 3:
                    items.sort(key=lambda item: wished[item] + self._height(item) / 2)
                self._slide(items, wished)
        highest = min(self.top.values())
        self.top = {item: top - highest for item, top in self.top.items()}
        return self._drawn()

    def _channels(self, target: str) -> range:
        """Return the channels that a trunk runs in; channel n lies left of column n."""
        numbers = [self.column[target], *(self.column[source] + 1 for source, _ in self.sources[target])]
        if not self.sources[target]:
            return range(0)
        return range(min(numbers), max(numbers) + 1)

    def _height(self, item: Item) -> float:
        return self.cards[item[0]].height if item[1] is None else GAP_HEIGHT

    def _stack(self) -> None:
        for items in self.columns:
            at = 0.0
            for item, below in zip(items, [*items[1:], None], strict=True):
                self.top[item] = at
                at += self._height(item) + (0.0 if below is None else _between(item, below))
        tallest = max(self._bottom(items) for items in self.columns)
        for items in self.columns:
            shift = (tallest - self._bottom(items)) / 2
            for item in items:
                self.top[item] += shift

    def _bottom(self, items: list[Item]) -> float:
        return max(self.top[item] + self._height(item) for item in items)

    def _ends(self, target: str, channel: int) -> tuple[list[tuple[Item, float]], list[tuple[Item, float]]]:
        """Return what a trunk touches at the left and at the right of a channel: items, and how far below their top."""
        channels = self._channels(target)
        left: list[tuple[Item, float]] = [
            ((source, None), port) for source, port in self.sources[target] if self.column[source] + 1 == channel
        ]
        right: list[tuple[Item, float]] = []
        if channel - 1 in channels:
            left.append(((target, channel - 1), GAP_HEIGHT / 2))
        if channel + 1 in channels:
            right.append(((target, channel), GAP_HEIGHT / 2))
        if self.column[target] == channel:
            right.append(((target, None), TITLE_HEIGHT / 2))
        return left, right

    def _wished(self, numbers: Iterable[int]) -> dict[Item, float]:
        """Return the top of each item at which its lines would be shortest, given where the others are."""
        pulls: dict[Item, list[float]] = {item: [] for number in numbers for item in self.columns[number]}
        for target in self.cards:
            for channel in self._channels(target):
                left, right = self._ends(target, channel)
                ends = left + right
                for item, offset in ends:
                    others = [self.top[other] + below for other, below in ends if other != item]
                    pulls[item] += [at - offset for at in others]
        return {item: sum(found) / len(found) if found else self.top[item] for item, found in pulls.items()}

    def _slide(self, items: list[Item], wished: Mapping[Item, float]) -> None:
        """Move items of one column as near to their wishes as their order allows (isotonic regression)."""
        offsets = [0.0]
        for item, below in pairwise(items):
            offsets.append(offsets[-1] + self._height(item) + _between(item, below))
        blocks: list[tuple[float, float, int]] = []
        for item, offset in zip(items, offsets, strict=True):
            # Gaps follow cards rather than the other way round.
            weight = 1.0 if item[1] is None else 0.25
            mean, count = wished[item] - offset, 1
            while blocks and blocks[-1][0] >= mean:
                before, heavy, many = blocks.pop()
                mean = (before * heavy + mean * weight) / (heavy + weight)
                weight, count = weight + heavy, count + many
            blocks.append((mean, weight, count))
        places = [mean for mean, _, count in blocks for _ in range(count)]
        for item, place, offset in zip(items, places, offsets, strict=True):
            self.top[item] = place + offset

    def _drawn(self) -> Layout:
        lanes: list[list[str]] = [self._lanes(channel) for channel in range(len(self.columns) + 1)]
        column_x: list[float] = []
        lane_x: list[dict[str, float]] = []
        at = 0.0
        for channel, names in enumerate(lanes):
            lane_x.append({name: at + _MARGIN + number * _LANE for number, name in enumerate(names)})
            at += 2 * _MARGIN + max(0, len(names) - 1) * _LANE if names or channel else _MARGIN
            if channel < len(self.columns):
                column_x.append(at)
                at += CARD_WIDTH
        places = {name: (column_x[self.column[name]], self.top[name, None]) for name in self.cards}
        trunks = tuple(self._trunk(target, lane_x, column_x) for target in self.cards if self.sources[target])
        height = max(self._bottom(items) for items in self.columns)
        return Layout(places, trunks, at, height)

    def _ys(self, target: str, channel: int) -> tuple[list[float], list[float]]:
        left, right = self._ends(target, channel)
        return [self.top[item] + below for item, below in left], [self.top[item] + below for item, below in right]

    def _lanes(self, channel: int) -> list[str]:
        """Return the trunks of a channel from left to right, with as few crossings as swapping neighbours gives."""
        ends = {name: self._ys(name, channel) for name in self.cards if channel in self._channels(name)}
        names = sorted(ends, key=lambda name: sum(map(sum, ends[name])))
        while True:
            gains = [
                (_cost(ends[a], ends[b]) - _cost(ends[b], ends[a]), number)
                for number, (a, b) in enumerate(pairwise(names))
            ]
            gain, number = max(gains, default=(0, 0))
            if gain <= 0:
                return names
            names[number], names[number + 1] = names[number + 1], names[number]

    def _trunk(self, target: str, lane_x: list[dict[str, float]], column_x: list[float]) -> Trunk:
        lines: list[tuple[float, float, float, float]] = []
        joints: list[tuple[float, float]] = []
        channels = self._channels(target)
        for channel in channels:
            x = lane_x[channel][target]
            left, right = self._ys(target, channel)
            both = left + right
            if min(both) < max(both):
                lines.append((x, min(both), x, max(both)))
            joints += [(x, y) for y in both if min(both) < y < max(both)]
            if channel:
                lines += [(column_x[channel - 1] + CARD_WIDTH, y, x, y) for y in left]
            if right:
                lines += [(x, y, column_x[channel], y) for y in right]
        for number in channels[:-1]:
            # Across the column, in its gap.
            y = self.top[target, number] + GAP_HEIGHT / 2
            lines.append((column_x[number], y, column_x[number] + CARD_WIDTH, y))
        tip = (column_x[self.column[target]], self.top[target, None] + TITLE_HEIGHT / 2)
        return Trunk(target, tuple(lines), tuple(dict.fromkeys(joints)), tip)


def _between(above: Item, below: Item) -> float:
    if above[1] is not None and below[1] is not None:
        return _BETWEEN_GAPS
    return _BETWEEN_CARDS if above[1] is None and below[1] is None else _BETWEEN_CARDS / 2


def _cost(left: tuple[list[float], list[float]], right: tuple[list[float], list[float]]) -> int:
    """Return how often two trunks of a channel cross if `left`'s lane lies left of `right`'s."""
    crossings = 0
    for horizontals, vertical in ((left[1], right[0] + right[1]), (right[0], left[0] + left[1])):
        crossings += sum(min(vertical) < y < max(vertical) for y in horizontals)
    crossings += _MERGED * sum(abs(one - other) < _NEAR for one in left[1] for other in right[0])
    return crossings


def _columns(definition: Definition) -> dict[str, int]:
    """Return how many transitions each state is away from the initial one; final states share the last column."""
    depth = {definition.initial: 0}
    waiting = [definition.initial]
    for name in waiting:
        for transition in definition.states[name].transitions:
            if transition.to is not None and transition.to not in depth:
                depth[transition.to] = depth[name] + 1
                waiting.append(transition.to)
    working = [depth.get(name, 0) for name, state in definition.states.items() if not state.final]
    last = max(working, default=0) + 1
    return {name: last if state.final else depth.get(name, 0) for name, state in definition.states.items()}
