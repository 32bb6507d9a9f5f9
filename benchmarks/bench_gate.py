"""How fast the publish gate answers while many publishers are blocked: ``python benchmarks/bench_gate.py``.

Fills a store with blocks, loads it as the daemon does, and asks over HTTP on loopback, each question on a connection of its own, as
nginx-rtmp does. Prints times, and what loading took in time and memory; exits with 1 if the 99th percentile of the answers is not below
the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
from sqlalchemy import insert

from monitor.clock import SystemClock
from monitor.daemon.gate import Gate
from monitor.effects.blocklist import BlockList
from monitor.effects.identity import Identifier
from monitor.effects.strikelist import StrikeList
from monitor.servers.nginx_rtmp.gate import parse_publish_hook, publish_hook_reply
from monitor.servers.port import GateReply, GateRequest, RawGateRequest
from monitor.store import blocks, strikes
from monitor.store.database import Database
from monitor.store.tables import block, strike
from monitor.vocabulary import StreamRef

LIMIT_MS = 5.0
FORM = "application/x-www-form-urlencoded"


class HookOnly:
    """The part of the nginx-rtmp adapter that the gate asks."""

    name = "edge"

    def parse_gate_request(self, request: RawGateRequest) -> GateRequest:
        """Read the hook's form."""
        return parse_publish_hook(self.name, request)

    def gate_reply(self, request: GateRequest | None, *, allow: bool) -> GateReply:  # noqa: ARG002 - the port's signature
        """Word the answer."""
        return publish_hook_reply(allow=allow)

    def pull_url(self, ref: object) -> str:
        """Every name can be watched."""
        return f"rtmp://127.0.0.1/{ref}"


def resident_mib() -> float:
    """Return this process's memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def fill(database: Database, number: int, *, now: float) -> None:
    """Write blocks, and a tenth as many strikes."""
    known = Identifier(b"k" * 32)
    async with database.transaction() as connection:
        rows = [
            {"id": str(uuid4()), "server": "edge", "app": "live", "name": f"key-{one}", "created_at": now}
            | {"until": now + 86_400.0 + one, "by": "protocol", "why": "bench"}
            for one in range(number)
        ]
        await connection.execute(insert(block), rows)
        struck = [
            {"id": str(uuid4()), "server": "edge", "scope": "server", "stream_hash": known.of(ref).stream, "number": 1}
            | {"policy": "violence", "origin": "live", "context": "none", "decided_at": now, "until": now + 86_400.0}
            | {"expires_at": now + 86_400.0, "by": "protocol", "why": "bench"}
            for ref in (StreamRef("edge", "live", f"struck-{one}") for one in range(number // 10))
        ]
        await connection.execute(insert(strike), struck)


async def ask(url: str, name: str) -> tuple[int, float]:
    """Ask once on a connection of its own, with no more client than it takes; return status and milliseconds."""
    place = urlsplit(url)
    form = f"call=publish&app=live&name={name}&addr=192.0.2.7&clientid=12".encode()
    head = f"POST {place.path} HTTP/1.0\r\nHost: {place.netloc}\r\nContent-Type: {FORM}\r\nContent-Length: {len(form)}\r\n\r\n"
    began_s = time.perf_counter()
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(head.encode() + form)
    reply = await reader.read()
    took_ms = (time.perf_counter() - began_s) * 1000
    writer.close()
    return int(reply.split(b" ", 2)[1]), took_ms


async def measure(number: int, questions: int) -> float:
    """Measure, print, and return the 99th percentile over HTTP in milliseconds."""
    from monitor.web.server import WebServer  # noqa: PLC0415 - after the memory of everything else is known
    from monitor.web.settings import WebSettings  # noqa: PLC0415
    from tests.fakes.web_daemon import FakeDaemon  # noqa: PLC0415

    clock = SystemClock()
    now = clock.now().timestamp()
    with tempfile.TemporaryDirectory(prefix="livecordon-gate-") as folder:
        async with Database(Path(folder) / "store.sqlite3") as database:
            await fill(database, number, now=now)
        before_mib = resident_mib()
        async with Database(Path(folder) / "store.sqlite3") as database:
            began_s = time.perf_counter()
            async with database.reading() as connection:
                active = await blocks.active(connection, at=now)
                standing = await strikes.all_standing(connection, at=now)
            struck = StrikeList(clock, Identifier(b"k" * 32))
            struck.take(standing)
            barred = BlockList(clock, struck)
            barred.replace(active)
            load_s = time.perf_counter() - began_s
    del active, standing
    gate = Gate({"edge": HookOnly()}, barred, frozenset(), lambda _: None)  # type: ignore[dict-item] # all that it asks
    print(
        f"blocks {len(barred)}, strikes {len(struck)}: loaded in {load_s:.2f} s, {resident_mib() - before_mib:.0f} MiB more"
    )
    fake = FakeDaemon()
    inside_ms, outside_ms = [], []
    names = [f"key-{one * 7919 % number}" if one % 2 else f"free-{one}" for one in range(questions)]
    for name in names:
        form = f"call=publish&app=live&name={name}&addr=192.0.2.7&clientid=12".encode()
        began_s = time.perf_counter()
        await gate.decide("edge", RawGateRequest(FORM, form))
        inside_ms.append((time.perf_counter() - began_s) * 1000)
    async with WebServer(WebSettings(), daemon=fake, incidents=fake, blocks=fake, quiet=fake, gate=gate) as web:
        for name in names:
            status, took_ms = await ask(web.gate_url("edge"), name)
            if status != (403 if name.startswith("key-") else 200):
                message = f"a wrong answer: {status}"
                raise RuntimeError(message)
            outside_ms.append(took_ms)
    for what, times in (("decision alone", inside_ms), ("over HTTP, new connection", outside_ms)):
        middle, high, worst = np.percentile(times, [50, 99, 100])
        print(
            f"{what:<28} p50 {middle:7.3f} ms   p99 {high:7.3f} ms   worst {worst:7.3f} ms   ({len(times)} questions)"
        )
    return float(np.percentile(outside_ms, 99))


def main() -> int:
    """Measure as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=2_000)
    given = parser.parse_args()
    import structlog  # noqa: PLC0415 - the log would be measured

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    p99_ms = asyncio.run(measure(given.blocks, given.questions))
    if p99_ms >= LIMIT_MS:
        print(f"too slow: the limit is {LIMIT_MS} ms", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
