from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import jinja2
import pytest
from defusedxml import ElementTree
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from monitor import metrics
from monitor.web import charts, keys
from monitor.web.history import HEIGHT, LOOKS, WIDTH, History
from monitor.web.readings import Reading, both, now, per_second, quantile, read
from monitor.web.server import WebServer
from tests.fakes.expressions import registered
from tests.fakes.waiting import eventually
from tests.fakes.web_daemon import FakeDaemon, SteppedClock


def looked(registry: Collector, at_s: float = 0.0) -> Reading:
    return read(registry, at_s)


def test_gauges_are_added_up_or_their_greatest_is_taken() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("livecordon_some", "…", ["receiver", "kind"], registry=registry)
    for receiver, kind, value in (("a", "x", 1), ("a", "y", 2), ("b", "x", 4)):
        gauge.labels(receiver, kind).set(value)
    reading = looked(registry)
    assert now("livecordon_some")(reading, None) == {"": 7}
    assert now("livecordon_some", by="receiver")(reading, None) == {"a": 3, "b": 4}
    assert now("livecordon_some", kind="x")(reading, None) == {"": 5}
    assert now("livecordon_some", most=True, name_it="worst")(reading, None) == {"worst": 4}
    assert now("livecordon_none")(reading, None) == {}


def test_counters_are_shown_by_how_fast_they_grow() -> None:
    registry = CollectorRegistry()
    counter = Counter("livecordon_some", "…", ["reason"], registry=registry)
    counter.labels("a").inc(5)
    before = looked(registry, 100)
    counter.labels("a").inc(30)
    counter.labels("b").inc(10)
    speed = per_second("livecordon_some_total", by="reason")
    assert speed(looked(registry, 120), before) == {"a": 1.5, "b": 0.5}
    assert speed(before, None) == speed(before, before) == {}


def test_quantiles_are_those_that_prometheus_would_say() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("livecordon_some_seconds", "…", ["route"], registry=registry, buckets=(1, 2, 4))
    for value in (0.5, 0.5, 1.5, 3):
        histogram.labels("direct").observe(value)
    before = looked(registry)
    ever = quantile("livecordon_some_seconds", 0.5, by="route", ever=True)
    assert ever(before, None) == {"direct": 1.0}
    for value in (3, 3, 9):
        histogram.labels("direct").observe(value)
    after = looked(registry, 1)
    # Of the three since then, two lie between 2 and 4: half of them within 2 + 2 * 1.5 / 2.
    assert quantile("livecordon_some_seconds", 0.5, by="route")(after, before) == {"direct": 3.5}
    # What lies above the last bound is known to be above it, and no more.
    assert quantile("livecordon_some_seconds", 0.99, name_it="all")(after, before) == {"all": 4.0}
    assert quantile("livecordon_some_seconds", 0.5)(after, after) == {}
    assert quantile("livecordon_some_seconds", 0.5)(before, None) == {}


def test_lines_of_several_measures_are_drawn_together() -> None:
    registry = CollectorRegistry()
    for name in ("livecordon_a", "livecordon_b"):
        Gauge(name, "…", registry=registry).set(1)
    measure = both(now("livecordon_a", name_it="a"), now("livecordon_b", name_it="b"))
    assert measure(looked(registry), None) == {"a": 1, "b": 1}


def test_everything_that_is_shown_is_measured() -> None:
    text = Path(charts.__file__).read_text()
    named = set(re.findall(r'"((?:livecordon|process)_\w+)"', text))
    assert len(named) > 25
    base = {name for name in named if {f"{name}_bucket"} <= registered()}
    known = registered() | {"process_cpu_seconds_total", "process_resident_memory_bytes"}
    assert named - base - known == set()


@pytest.fixture
def environment() -> jinja2.Environment:
    from monitor.web import pages, wording

    folder = Path(pages.__file__).parent / "templates"
    made = jinja2.Environment(loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined)
    made.filters["words"] = wording.words
    return made


async def test_charts_are_drawn_within_their_frame_with_the_newest_at_the_right(
    environment: jinja2.Environment,
) -> None:
    registry = CollectorRegistry()
    oldest = Gauge("livecordon_delivery_oldest_seconds", "…", ["receiver"], registry=registry)
    clock = SteppedClock()
    history = History(clock, registry)
    for number in range(LOOKS + 20):
        oldest.labels("on <b>call</b>").set(number)
        clock.at_s += 20
        await history.look()
    html = await history.current(environment)
    assert "on &lt;b&gt;call&lt;/b&gt;" in html
    (points,) = re.findall(r'<polyline class="line-0" points="([^"]*)"', html)
    across = [float(point.split(",")[0]) for point in points.split()]
    down = [float(point.split(",")[1]) for point in points.split()]
    assert across == [float(number) for number in range(WIDTH + 1)]
    assert down[-1] == 0
    assert down == sorted(down, reverse=True)
    assert down[0] <= HEIGHT
    assert "top 3 min" in html
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert [ElementTree.fromstring(drawing).tag for drawing in drawings] == ["svg"] * len(drawings) != []


async def test_a_line_has_a_gap_where_there_was_nothing_to_show(environment: jinja2.Environment) -> None:
    registry = CollectorRegistry()
    lag = Histogram("livecordon_clip_lag_seconds", "…", registry=registry, buckets=(1, 2))
    history = History(SteppedClock(), registry)
    for scored in (0, 1, 1, 0, 1):
        for _ in range(scored):
            lag.observe(0.5)
        await history.look()
        history._clock.at_s += 20  # type: ignore[attr-defined] # a stepped clock
    html = await history.current(environment)
    pieces = re.findall(r'<polyline class="line-0" points="([^"]*)"', html)
    assert [len(piece.split()) for piece in pieces] == [2, 2]


class _Held(Collector):
    """Collects only after it was let go, and knows in which thread."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self.threads: list[threading.Thread] = []

    @override
    def collect(self) -> Sequence[Metric]:
        self.threads.append(threading.current_thread())
        self.asked.set()
        assert self.go_on.wait(10)
        return []


async def test_looking_and_drawing_hold_up_nobody_and_are_done_once_for_all(environment: jinja2.Environment) -> None:
    held = _Held()
    history = History(SteppedClock(), held)
    pages = [asyncio.create_task(history.current(environment)) for _ in range(20)]
    assert await asyncio.to_thread(held.asked.wait, 10)
    assert not any(page.done() for page in pages)
    held.go_on.set()
    assert len({await page for page in pages}) == 1
    assert len(held.threads) == 1
    await history.look()
    assert threading.main_thread() not in held.threads


async def test_a_defect_in_what_is_measured_ends_nothing() -> None:
    class Broken(Collector):
        asked = threading.Event()

        @override
        def collect(self) -> Sequence[Metric]:
            self.asked.set()
            raise ZeroDivisionError

    async with History(SteppedClock(), Broken()).running():
        assert await asyncio.to_thread(Broken.asked.wait, 10)


async def test_the_page_has_the_rows_of_the_dashboard(open_web: WebServer, http: aiohttp.ClientSession) -> None:
    metrics.initialise()
    for path in ("/status", "/fragments/status"):
        async with http.get(open_web.url + path) as reply:
            assert reply.status == 200
            text = await reply.text()
        assert re.findall(r"<h2[^>]*>(.*?)</h2>", text) == [row.title for row in charts.ROWS]
    assert [row.title for row in charts.ROWS] == [
        "Are we watching?",
        "Are we fast?",
        "What did we do?",
        "Are people answering?",
        "Are partners reached?",
        "Is the machine well?",
    ]


async def test_strangers_are_asked_to_sign_in(token_web: WebServer, http: aiohttp.ClientSession) -> None:
    async with http.get(token_web.url + "/status", allow_redirects=False) as reply:
        assert (reply.status, reply.headers["Location"]) == (303, "/login?next=/status")
    async with http.get(token_web.url + "/fragments/status") as reply:
        assert reply.status == 401


async def test_it_looks_from_the_start(daemon: FakeDaemon, open_web: WebServer) -> None:
    history = open_web._app[keys.HISTORY]

    async def looked_once() -> bool:
        return bool(history._looks)

    await eventually(looked_once)
