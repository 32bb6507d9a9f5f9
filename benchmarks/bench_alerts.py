"""Measures how alerts get to their receivers: how soon the first byte, how fast a backlog, and what an outage of a day holds in memory.

Receivers are plain sockets in a process of their own that answer 204 and note when the first byte of each alert came. Times of both
processes are of one clock (``CLOCK_MONOTONIC``).

    python benchmarks/bench_alerts.py                 # all three
    python benchmarks/bench_alerts.py drain --events 1000 --receivers 20 --dead 2
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import resource
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from pydantic import SecretStr
from typing_extensions import override
from yarl import URL

sys.path.insert(0, str(Path(__file__).parents[1]))

from monitor.alerts.addresses import Reach
from monitor.alerts.events import IncidentSnapshot, compose
from monitor.alerts.outbox import Outbox
from monitor.alerts.signing import Signer
from monitor.alerts.webhook import SignedWebhook
from monitor.clock import SystemClock
from monitor.protocol.decision import Reason
from monitor.store import deliveries
from monitor.store.database import Database
from monitor.store.deliveries import OutgoingEvent
from monitor.vocabulary import AlertEvent, Severity

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" * 2
CONCURRENCY = 8
NOW = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)
SNAPSHOT = IncidentSnapshot(
    incident_id="",
    sequence=1,
    stream_id="main-0123456789abcdef",
    server="main",
    stream_name="live/show",
    protocol="assisted",
    state="under_review",
    severity=Severity.ACT,
    label="violence",
    score=0.93,
    opened_at=NOW,
    changed_at=NOW,
    reason=Reason.DETECTION_RAISED,
    dry_run=False,
    drill=False,
    review_due_at=NOW,
    page_link="https://watch.example/incidents/1",
)


class _Receiver(asyncio.Protocol):
    """Answers 204 to every request and notes its `webhook-id` and when its first byte came."""

    def __init__(self, seen: list[tuple[int, str, float]], number: int) -> None:
        self._seen, self._number = seen, number
        self._held = b""
        self._began = 0.0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    @override
    def data_received(self, data: bytes) -> None:
        if not self._held:
            self._began = time.monotonic()
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            fields = dict(line.split(b": ", 1) for line in self._held[:end].split(b"\r\n")[1:])
            names = {name.lower(): value for name, value in fields.items()}
            whole = end + 4 + int(names[b"content-length"])
            if len(self._held) < whole:
                return
            self._held = self._held[whole:]
            self._seen.append((self._number, names[b"webhook-id"].decode(), self._began))
            self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            self._began = time.monotonic()


async def receive(healthy: int) -> None:
    """Be the receivers: print their ports, and then, for each line of standard input, what was seen so far."""
    loop = asyncio.get_running_loop()
    seen: list[tuple[int, str, float]] = []
    servers = [await loop.create_server(partial(_Receiver, seen, number), "127.0.0.1", 0) for number in range(healthy)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        print(json.dumps(len(seen) if line == b"count\n" else seen), flush=True)


class Receivers:
    """The other process, as the benchmark sees it."""

    def __init__(self, process: asyncio.subprocess.Process, ports: Sequence[int]) -> None:
        self._process = process
        self.ports = ports

    async def ask(self, what: str) -> Any:
        """Return what was seen: ``count`` or ``all``."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(f"{what}\n".encode())
        return json.loads(await self._process.stdout.readline())

    async def wait_for(self, number: int) -> None:
        """Wait until so many requests have come."""
        while await self.ask("count") < number:  # noqa: ASYNC110 - another process counts
            await asyncio.sleep(0.02)


@asynccontextmanager
async def receivers(healthy: int) -> AsyncIterator[Receivers]:
    """Run the other process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        "receive",
        str(healthy),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 27,
    )
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        yield Receivers(process, json.loads(await process.stdout.readline()))
    finally:
        process.kill()
        await process.wait()


def webhook(name: str, port: int) -> SignedWebhook:
    """Return a receiver at this port."""
    return SignedWebhook(
        name=name,
        url=URL(f"http://127.0.0.1:{port}/hook"),
        signer=Signer([SecretStr(SECRET)]),
        reach=Reach.LOOPBACK,
        timeout_s=15,
        concurrency=CONCURRENCY,
    )


def an_event(number: int) -> OutgoingEvent:
    """Return one event; four of them are of one incident."""
    snapshot = replace(SNAPSHOT, incident_id=f"incident-{number // 4}", sequence=number % 4 + 1)
    return compose(AlertEvent.UPDATED, snapshot, source="bench", event_id=f"event-{number}")


async def enqueue(database: Database, event: OutgoingEvent, names: Sequence[str], at: float) -> None:
    """Write an alert in a transaction of its own."""
    await database.write(lambda connection: deliveries.enqueue(connection, event, names, at=at))


async def decide(database: Database, outbox: Outbox, number: int, names: Sequence[str]) -> float:
    """Commit one decision with its alerts, as the daemon does; return when it was taken."""
    taken = time.monotonic()
    await enqueue(database, an_event(number), names, time.time())
    outbox.wake()
    return taken


async def first_byte(events: int, count: int) -> dict[str, float]:
    """Take decisions, twenty a second; measure from each one to the first byte at every healthy receiver."""
    with tempfile.TemporaryDirectory() as folder:
        async with receivers(count) as site, Database(Path(folder) / "store.sqlite3") as database:
            lines = [webhook(f"r{number}", port) for number, port in enumerate(site.ports)]
            async with Outbox(database, lines, SystemClock()) as outbox:
                taken = {}
                for number in range(events):
                    taken[f"event-{number}"] = await decide(database, outbox, number, outbox.receiver_names)
                    await asyncio.sleep(0.05)
                await site.wait_for(events * count)
            seen = await site.ask("all")
    took_ms = np.array([(at - taken[event_id]) * 1000 for _, event_id, at in seen])
    return {name: round(float(np.percentile(took_ms, q)), 1) for name, q in (("p50", 50), ("p95", 95), ("max", 100))}


async def drain(events: int, count: int, dead: int) -> dict[str, float]:
    """Fill the outbox while nothing is delivered; measure until every healthy receiver has every event."""
    hanging = socket.create_server(("127.0.0.1", 0))
    closed = socket.create_server(("127.0.0.1", 0))
    closed_port = closed.getsockname()[1]
    closed.close()
    with tempfile.TemporaryDirectory() as folder, hanging:
        async with receivers(count - dead) as site, Database(Path(folder) / "store.sqlite3") as database:
            ports = [*site.ports, *([closed_port, hanging.getsockname()[1]] * dead)[:dead]]
            lines = [webhook(f"r{number}", port) for number, port in enumerate(ports)]
            names = [line.name for line in lines]
            began = time.monotonic()
            for number in range(events):
                event, at = an_event(number), time.time()
                await enqueue(database, event, names, at)
            written_s = time.monotonic() - began
            lags: list[float] = []

            async def measure_lag() -> None:
                while True:
                    asked = time.monotonic()
                    await asyncio.sleep(0.01)
                    lags.append((time.monotonic() - asked - 0.01) * 1000)

            measuring = asyncio.create_task(measure_lag())
            cpu_s, began = time.process_time(), time.monotonic()
            async with Outbox(database, lines, SystemClock()):
                await site.wait_for(events * (count - dead))
                drained_s, cpu_s = time.monotonic() - began, time.process_time() - cpu_s
                measuring.cancel()
            seen = await site.ask("all")
    whole = {(number, event_id) for number, event_id, _ in seen}
    if len(whole) != events * (count - dead):
        sys.exit("an event is missing")
    return {
        "written_s": round(written_s, 1),
        "drained_s": round(drained_s, 1),
        "deliveries_per_s": round(events * (count - dead) / drained_s),
        "processor_s": round(cpu_s, 1),
        "sent_twice": len(seen) - len(whole),
        "loop_lag_p95_ms": round(float(np.percentile(lags, 95)), 1),
    }


async def away(alerts: int) -> dict[str, float]:
    """Have one receiver away for a simulated day of so many alerts; measure what the process holds more after it."""
    from tests.fakes.clock import ManualClock  # noqa: PLC0415 - time passes faster than it does

    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    clock = ManualClock()
    each_hour = alerts // 24
    held: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        async with Database(Path(folder) / "store.sqlite3") as database:
            async with Outbox(database, [webhook("away", port)], clock) as outbox:
                for hour in range(24):
                    for number in range(hour * each_hour, (hour + 1) * each_hour):
                        event, at = an_event(number), clock.now().timestamp()
                        await enqueue(database, event, ["away"], at)
                    outbox.wake()
                    until_s = (hour + 1) * 3600.0
                    while clock.monotonic_s() < until_s:
                        await clock.wait_for_sleepers()
                        await clock.advance(min(clock.next_due_in_s or 15.0, until_s - clock.monotonic_s()))
                    held.append(_resident_mib())
            async with database.reading() as connection:
                backlog = await deliveries.backlog(connection, "away")
    return {
        "alerts": alerts,
        "waiting": backlog.pending,
        "resident_after_1_h_mib": round(held[0]),
        "resident_after_24_h_mib": round(held[-1]),
    }


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="all", choices=("all", "first-byte", "drain", "away", "receive"))
    parser.add_argument("number", nargs="?", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--receivers", type=int, default=20)
    parser.add_argument("--dead", type=int, default=2)
    parser.add_argument("--alerts", type=int, default=20_000, help="of the simulated day")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if options.what == "receive":
        asyncio.run(receive(options.number))
        return
    if options.what in ("all", "first-byte"):
        print("decision to first byte, ms, 1 receiver:", asyncio.run(first_byte(200, 1)))
        print(f"the same, {options.receivers} receivers:", asyncio.run(first_byte(200, options.receivers)))
    if options.what in ("all", "drain"):
        print("drain:", asyncio.run(drain(options.events, options.receivers, options.dead)))
    if options.what in ("all", "away"):
        print("a receiver away for a day:", asyncio.run(away(options.alerts)))


if __name__ == "__main__":
    main()
