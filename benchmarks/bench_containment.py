"""How fast a stream is off the air, and the gate's answers meanwhile: ``python benchmarks/bench_containment.py``.

Runs a real nginx-rtmp with 200 streams, of which ten are watched, and the real daemon beside it. Then, one after another, a
watched stream is reported and the report confirmed: the time from the stored decision until a listing no longer shows the stream
is what the daemon itself notes with the cut. Meanwhile the gate is asked at a steady rate, each question on a connection of its own, as
nginx-rtmp does, and on time whether or not earlier answers have come. Exits with 1 where a limit is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bench_gate import ask  # noqa: E402
from monitor.demo.nginx import RealNginx  # noqa: E402
from monitor.demo.stage import free_port  # noqa: E402
from monitor.servers.factory import build_server  # noqa: E402
from monitor.servers.port import MediaServer  # noqa: E402
from tests.fakes.crowd import ordinary  # noqa: E402
from tests.fakes.daemon import RealDaemon  # noqa: E402
from tests.fakes.nginx import entry_for, section_for  # noqa: E402
from tests.fakes.waiting import eventually  # noqa: E402

CUT_LIMIT_MS = 300.0
GATE_LIMIT_MS = 10.0
WATCHED = 10
PER_ENCODER = 50


def record(folder: Path) -> Path:
    """Write ten seconds of small moving pictures, so that 200 publishers fit on a small machine."""
    file = folder / "small.flv"
    source = ["-f", "lavfi", "-i", "testsrc=size=160x120:rate=10:duration=10"]
    coding = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "20", "-pix_fmt", "yuv420p"]
    subprocess.run(["ffmpeg", "-nostdin", "-loglevel", "error", *source, *coding, str(file)], check=True)
    return file


@asynccontextmanager
async def crowd(footage: Path, base: str, names: list[str]) -> AsyncIterator[None]:
    """Publish under many names from few processes; one that is cut does not take the others along."""
    processes = []
    try:
        for first in range(0, len(names), PER_ENCODER):
            outputs = "|".join(f"[f=flv:onfail=ignore]{base}/{name}" for name in names[first : first + PER_ENCODER])
            arguments = [
                "-re",
                "-stream_loop",
                "-1",
                "-i",
                str(footage),
                "-map",
                "0:v",
                "-c",
                "copy",
                "-f",
                "tee",
                outputs,
            ]
            processes.append(
                await asyncio.create_subprocess_exec(
                    *("ffmpeg", "-nostdin", "-loglevel", "quiet", *arguments), stdin=asyncio.subprocess.DEVNULL
                )
            )
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def contain(daemon: RealDaemon, name: str) -> float:
    """Report a stream and confirm the report; returns what the daemon says the cut took, in milliseconds."""
    report = {"server": "edge", "app": "live", "name": name, "category": "violence", "reporter": "bench"}
    status, told = await daemon.post("/api/v1/reports", report | {"text": name})
    if status != 202:
        message = f"the report was answered with {status}: {told}"
        raise RuntimeError(message)
    incident = told["incident_id"]
    await daemon.post(f"/api/v1/incidents/{incident}/review", {"decision": "confirm", "why": "bench"})

    async def cut() -> Any:
        detail = await daemon.get(f"/api/v1/incidents/{incident}")
        return next((one for one in detail["effects"] if one["kind"] == "cut" and one["outcome"]), None)

    effect = await eventually(cut, interval_s=0.2)
    found = re.search(r"seconds\D*([0-9.]+)", str(effect["detail"]))
    if effect["outcome"] != "succeeded" or found is None:
        message = f"the cut did not succeed: {effect}"
        raise RuntimeError(message)
    return float(found[1]) * 1000


async def ask_steadily(url: str, rate: float, stop: asyncio.Event) -> list[float]:
    """Ask the gate `rate` times a second until told to stop; returns milliseconds from when each was due."""
    times: list[float] = []

    async def one(number: int, due_s: float) -> None:
        await ask(url, f"free-{number}")
        times.append((time.perf_counter() - due_s) * 1000)

    began_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        number = 0
        while not stop.is_set():
            due_s = began_s + number / rate
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            group.create_task(one(number, due_s))
            number += 1
    return times


def gate_process(url: str, rate: float, seconds: float) -> list[float]:
    """Ask from a process of its own, so that neither side waits for the other's work."""
    asked = subprocess.run(
        [sys.executable, __file__, "--ask", url, "--rate", str(rate), "--seconds", str(seconds)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    return [float(line) for line in asked.stdout.split()]


async def listed(server: MediaServer) -> int:
    """Return how many streams nginx lists."""
    return len(await server.list_streams())


def say(what: str, times: list[float]) -> float:
    """Print one line of percentiles; returns what the limit is about."""
    middle, high, higher, worst = np.percentile(times, [50, 95, 99, 100])
    print(
        f"{what:<34} p50 {middle:7.1f}   p95 {high:7.1f}   p99 {higher:7.1f}   worst {worst:7.1f} ms   ({len(times)})"
    )
    return float(high if what.startswith("decision") else higher)


async def measure(streams: int, cuts: int, rate: float) -> bool:
    """Measure and print; returns whether every limit was kept."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="livecordon-containment-") as name:
        folder = Path(name)
        (folder / "nginx").mkdir()
        footage = record(folder)
        gate_url = f"http://127.0.0.1:{port}/gate/edge"
        config: dict[str, Any] = {
            "web": {"listen": f"127.0.0.1:{port}"},
            "log": {"level": "error"},
            "protocol": {"default": "immediate"},
            "reports": {"per_reporter": 1000, "per_token": 10_000},
        }
        async with RealNginx(folder / "nginx", gate_url=gate_url) as nginx, contextlib.AsyncExitStack() as stack:
            config["servers"] = [entry_for(nginx, exclude=[{"name": "bulk-*"}])]
            server = await stack.enter_async_context(build_server(section_for(nginx), gate_url=""))
            daemon = await stack.enter_async_context(RealDaemon(folder, config))
            base = f"{nginx.rtmp_url}/live"
            bulk = [f"bulk-{number}" for number in range(streams - WATCHED)]
            await stack.enter_async_context(crowd(footage, base, bulk))

            async def all_there() -> bool:
                return await listed(server) >= 0.95 * len(bulk)

            await eventually(all_there, deadline_s=120)
            cut_ms: list[float] = []
            gate_ms: list[float] = []
            for first in range(0, cuts, WATCHED):
                names = [f"target-{number}" for number in range(first, first + WATCHED)]
                async with ordinary(footage, base, folder, *names):

                    async def watched(names: list[str] = names) -> bool:
                        return await daemon.scored(*names)

                    await eventually(watched, deadline_s=120)
                    print(f"{await listed(server)} streams listed, {WATCHED} watched", flush=True)
                    asking = asyncio.create_task(asyncio.to_thread(gate_process, gate_url, rate, 5.0))
                    cut_ms += [await contain(daemon, name) for name in names]
                    gate_ms += await asking
        load = os.getloadavg()[0]
        cut_p95 = say("decision to verified gone", cut_ms)
        gate_p99 = say(f"gate at {rate:g} questions a second", gate_ms)
        print(f"load of this machine at the end: {load:.1f} on {len(os.sched_getaffinity(0))} cores")
    return cut_p95 < CUT_LIMIT_MS and gate_p99 < GATE_LIMIT_MS


async def ask_for(url: str, rate: float, seconds: float) -> list[float]:
    """Ask for so long."""
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    return await ask_steadily(url, rate, stop)


def main() -> int:
    """Measure as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--cuts", type=int, default=60)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=5.0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ask:
        print("\n".join(f"{one:.3f}" for one in asyncio.run(ask_for(given.ask, given.rate, given.seconds))))
        return 0
    return 0 if asyncio.run(measure(given.streams, given.cuts, given.rate)) else 1


if __name__ == "__main__":
    sys.exit(main())
