"""What metrics cost with many streams: ``python benchmarks/bench_metrics.py``.

Fills the daemon's registry of streams, scores clips of all of them, and scrapes over HTTP on loopback. Prints how long the regular look at
all streams takes, how long a scrape and the status page take, how many series there are, and how late the event loop wakes
meanwhile; exits with 1 if a scrape, or what it does to the event loop, is not below the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from monitor import metrics
from monitor.config.watching import WatchSection
from monitor.daemon.streams import StreamRegistry, WatchedStream
from monitor.detect.persistence import DetectionRule, Detector, LevelRule
from monitor.incidents.library import load_protocols
from monitor.servers.port import LiveStream
from monitor.shipped import protocols_dir
from monitor.vocabulary import StreamRef
from monitor.web.server import WebServer
from monitor.web.settings import Listen, WebSettings
from tests.fakes.web_daemon import FakeDaemon

LIMIT_MS = 100.0
RULES = {"violence": DetectionRule(LevelRule(0.6, 3, 5), LevelRule(0.9, 4, 6), 0.8, 10.0)}


def registry_of(number: int, *, now: float) -> StreamRegistry:
    """Return so many live streams, each judged within the last seconds."""
    registry = StreamRegistry(WatchSection())
    definition = load_protocols(protocols_dir())["assisted"]
    for one in range(number):
        live = LiveStream(StreamRef("edge", "live", f"stream-{one}"), "s1")
        stream = WatchedStream(live, definition, Detector(RULES), dry_run=False, title=f"live/{one}", first_seen_at=now)
        stream.last_arrived_at = now - random.uniform(0, 12)
        registry.add(stream)
    return registry


def count_clips(number: int) -> None:
    """Count a clip of each stream, as the daemon does for every observation."""
    for _ in range(number):
        metrics.CLIPS.inc()
        metrics.CLIP_LAG.observe(random.uniform(0.01, 0.2))
        metrics.SCORES.labels("violence").observe(random.betavariate(0.6, 9))


async def timed(work: Callable[[], Awaitable[object]], times: int) -> list[float]:
    """Return how long each run took, in milliseconds."""
    took = []
    for _ in range(times):
        began_s = time.perf_counter()
        await work()
        took.append((time.perf_counter() - began_s) * 1e3)
    return took


async def lateness_ms(stop: asyncio.Event) -> list[float]:
    """Return how late each sleep of 2 ms ended, until told to stop."""
    late = []
    while not stop.is_set():
        began_s = time.perf_counter()
        await asyncio.sleep(0.002)
        late.append((time.perf_counter() - began_s - 0.002) * 1e3)
    return late


async def run(streams: int, scrapes: int) -> int:
    """Measure, print, and return the exit status."""
    metrics.initialise()
    metrics.initialise_labels(RULES)
    now = datetime.now(UTC).timestamp()
    registry = registry_of(streams, now=now)
    count_clips(streams)

    async def look() -> None:
        registry.measure(now)

    looks = await timed(look, 10)
    daemon = FakeDaemon()
    async with (
        WebServer(
            WebSettings(listen=Listen("127.0.0.1", 0)),
            daemon=daemon,
            incidents=daemon,
            blocks=daemon,
            quiet=daemon,
            gate=daemon,
        ) as web,
        aiohttp.ClientSession() as client,
    ):

        async def fetch(path: str) -> str:
            async with client.get(web.url + path) as reply:
                return await reply.text()

        series = sum(not line.startswith("#") for line in (await fetch("/metrics")).splitlines())
        stop = asyncio.Event()
        watching = asyncio.create_task(lateness_ms(stop))
        scraped = await timed(lambda: fetch("/metrics"), scrapes)
        pages = await timed(lambda: fetch("/status"), 3)
        stop.set()
        late = await watching
    print(f"{streams} streams, {series} series")
    for name, took in (
        ("look at all streams", looks),
        ("scrape", scraped),
        ("status page", pages),
        ("loop late", late),
    ):
        print(f"{name:20} median {np.median(took):7.2f} ms, 99 of 100 within {np.quantile(took, 0.99):7.2f} ms")
    return 0 if np.quantile(scraped, 0.99) < LIMIT_MS and np.quantile(late, 0.99) < LIMIT_MS else 1


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--scrapes", type=int, default=100)
    options = parser.parse_args()
    return asyncio.run(run(options.streams, options.scrapes))


if __name__ == "__main__":
    sys.exit(main())
