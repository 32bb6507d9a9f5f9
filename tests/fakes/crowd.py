"""Many encoders at one media server: ordinary ones that count their frames, and such as do not take no for an answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path


async def _encoder(footage: Path, address: str, *options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *("ffmpeg", "-nostdin", "-loglevel", "error", *options, "-re", "-stream_loop", "-1", "-i", str(footage)),
        *("-c", "copy", "-f", "flv", address),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.wait()


@dataclass(frozen=True, slots=True)
class Counters:
    """What an encoder says of itself."""

    frames: int
    lost: int
    seconds: float


@dataclass(slots=True)
class Ordinary:
    """An encoder that publishes under one name until the end."""

    name: str
    process: asyncio.subprocess.Process
    progress: Path

    def counters(self) -> Counters:
        """Return its latest counters; zero before it has said anything."""
        latest: dict[str, str] = {}
        if self.progress.exists():
            # Complete lines only: it writes while we read.
            text = self.progress.read_text().rpartition("progress=")[0]
            latest = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        lost = int(latest.get("drop_frames", "0")) + int(latest.get("dup_frames", "0"))
        microseconds = latest.get("out_time_us", "0").strip()
        seconds = int(microseconds) / 1e6 if microseconds.lstrip("-").isdigit() else 0.0
        return Counters(int(latest.get("frame", "0").strip() or 0), lost, seconds)


@asynccontextmanager
async def ordinary(footage: Path, base: str, folder: Path, *names: str) -> AsyncIterator[list[Ordinary]]:
    """Publish the same footage under each of these names until the block ends."""
    async with AsyncExitStack() as stack:
        encoders = []
        for name in names:
            progress = folder / f"{name}.progress"
            process = await _encoder(footage, f"{base}/{name}", "-stats_period", "0.5", "-progress", f"file:{progress}")
            stack.push_async_callback(_end, process)
            encoders.append(Ordinary(name, process, progress))
        yield encoders


@dataclass(slots=True)
class Insistent:
    """Somebody whose encoder is started again whenever it ends, at once, and every time under the next name.

    Attributes:
        names: Taken in turn, again and again.
        ends: How often its encoder has ended so far.
        longest_s: The longest time, from its start to its end, that any encoder but the first has run.
    """

    names: tuple[str, ...]
    ends: int = 0
    longest_s: float = 0.0

    async def publish(self, footage: Path, base: str) -> None:
        """Go on until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            process = await _encoder(footage, f"{base}/{self.names[self.ends % len(self.names)]}")
            try:
                await process.wait()
            finally:
                await _end(process)
            if self.ends:
                self.longest_s = max(self.longest_s, loop.time() - began_s)
            self.ends += 1


@asynccontextmanager
async def insistent(footage: Path, base: str, *people: Insistent) -> AsyncIterator[None]:
    """Have each of these people publish until the block ends."""
    tasks = [asyncio.create_task(person.publish(footage, base)) for person in people]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
