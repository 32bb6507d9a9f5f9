"""The last hour of the daemon's own metrics, and the status page's charts of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import jinja2
import structlog
from markupsafe import Markup
from prometheus_client import REGISTRY
from prometheus_client.registry import Collector

from monitor.clock import Clock
from monitor.web.charts import ROWS, Chart, Tile
from monitor.web.readings import Reading, Series, read

_log = structlog.get_logger()

EVERY_S: Final = 20.0
LOOKS: Final = 180
"""One hour; a few hundred kilobytes."""
MAX_AGE_S: Final = 5.0
WIDTH: Final = LOOKS - 1
HEIGHT: Final = 50
MOST_LINES: Final = 8
"""More cannot be told apart; the dashboard has them all."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: its name, its newest value in words, and its pieces as SVG's `points`, with gaps between them."""

    name: str
    value: str
    pieces: Sequence[str]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart as the page shows it."""

    chart: Chart
    top: str
    lines: Sequence[Line]


@dataclass(frozen=True, slots=True)
class Number:
    """A tile as the page shows it."""

    title: str
    value: str
    bad: bool


class History:
    """Looks at the daemon's own metrics now and then, in a thread, and remembers what the charts show for an hour.

    Memory only: a restart begins anew.
    """

    def __init__(self, clock: Clock, registry: Collector = REGISTRY) -> None:
        self._clock = clock
        self._registry = registry
        self._charts = [chart for row in ROWS for chart in row.charts]
        self._looks: deque[tuple[Series, ...]] = deque(maxlen=LOOKS)
        self._before: Reading | None = None
        self._html = Markup()
        self._rendered_at_s: float | None = None
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep looking while the block runs."""
        task = asyncio.create_task(self._keep_looking(), name="web-status-history")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def look(self) -> None:
        """Look once."""
        reading = await asyncio.to_thread(read, self._registry, self._clock.monotonic_s())
        before = self._before
        self._looks.append(tuple(chart.measure(reading, before) for chart in self._charts))
        self._before = reading

    async def current(self, environment: jinja2.Environment) -> Markup:
        """Return the page's content, rendered at most once in five seconds for however many look at it."""
        async with self._lock:
            now_s = self._clock.monotonic_s()
            if self._rendered_at_s is None or now_s - self._rendered_at_s >= MAX_AGE_S:
                self._html = await asyncio.to_thread(self._render, environment, now_s)
                self._rendered_at_s = now_s
            return self._html

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - a page that is not up to date must not end anything else
                _log.exception("status_not_measured")
            await asyncio.sleep(EVERY_S)

    def _render(self, environment: jinja2.Environment, now_s: float) -> Markup:
        reading = read(self._registry, now_s)
        # For each chart, in order, what it showed at each look.
        shown = iter(list(zip(*self._looks, strict=True)) or [()] * len(self._charts))
        rows = [
            {
                "title": row.title,
                "numbers": [_number(tile, reading) for tile in row.tiles],
                "charts": [_drawn(chart, next(shown)) for chart in row.charts],
            }
            for row in ROWS
        ]
        template = environment.get_template("status_live.html")
        html = template.render({"rows": rows, "width": WIDTH, "height": HEIGHT})
        return Markup(html)  # noqa: S704 - the template escaped it


def _number(tile: Tile, reading: Reading) -> Number:
    values = tile.measure(reading, None).values()
    if not values:
        return Number(tile.title, "none", bad=False)
    value = sum(values)
    return Number(tile.title, tile.words(value), bad=tile.bad_from is not None and value >= tile.bad_from)


def _drawn(chart: Chart, looks: Sequence[Series]) -> Drawn:
    """Draw the newest values at the right edge."""
    peaks: dict[str, float] = {}
    for look in looks:
        for name, value in look.items():
            peaks[name] = max(value, peaks.get(name, 0.0))
    # What was never anything else than 0 is left out where something else is to be seen.
    shown = sorted((name for name, peak in peaks.items() if peak > 0 or len(peaks) == 1), key=lambda name: -peaks[name])
    top = chart.full or max(peaks.values(), default=0.0) or 1.0
    lines = []
    for name in shown[:MOST_LINES]:
        newest = looks[-1].get(name)
        lines.append(Line(name, "none" if newest is None else chart.words(newest), _pieces(name, looks, top)))
    return Drawn(chart, chart.words(top), lines)


def _pieces(name: str, looks: Sequence[Series], top: float) -> list[str]:
    pieces: list[list[str]] = [[]]
    left = WIDTH - (len(looks) - 1)
    for number, look in enumerate(looks):
        value = look.get(name)
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{left + number},{HEIGHT - min(1.0, value / top) * HEIGHT:.1f}")
    # A line needs two points; a lone one is drawn as a dot.
    return [" ".join(piece if len(piece) > 1 else piece * 2) for piece in pieces if piece]
