"""The real daemon with one classifier for all watchers, while that is away: who is told, and what becomes of the streams."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from monitor.demo.stage import free_port
from tests.fakes.daemon import RealDaemon, ffmpeg_copying
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(180)]

DEADLINE_S = 60.0
NAMES = ("one", "two")
USER = "nobody" if os.geteuid() == 0 else None


def pids_of(daemon: RealDaemon, module: str) -> list[int]:
    found = []
    for pid in daemon.watcher_pids():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def watchers_of(daemon: RealDaemon) -> list[int]:
    return pids_of(daemon, "monitor.watch.watcher")


def user_of(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Uid:")).split()[2])


@asynccontextmanager
async def no_classifier(daemon: RealDaemon) -> AsyncIterator[None]:
    """Kill every classifier as soon as it is there, until the block ends."""

    async def kill() -> None:
        while True:
            for pid in pids_of(daemon, "monitor.watch.classifier_process"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.05)

    killing = asyncio.create_task(kill())
    try:
        yield
    finally:
        killing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await killing


async def readiness(daemon: RealDaemon) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"{daemon.url}/readyz?verbose") as response:
        return response.status, await response.text()


async def test_without_it_the_daemon_is_not_ready_and_streams_are_late_then_blind_and_seen_again(
    tmp_path: Path, calm: Path
) -> None:
    port, relay_port = free_port(), free_port()
    relay = f"http://127.0.0.1:{relay_port}"
    config = {
        "web": {"listen": f"127.0.0.1:{port}"},
        "watch": {"watchers": 2, "classifier": "shared", "late_after": "4s", "blind_after": "8s"}
        | ({"run_as_user": USER} if USER else {}),
        "servers": [
            {"name": "relay", "kind": "embedded", "url": relay, "list_interval": "500ms", "protocol": "observe"}
        ],
    }
    async with (
        RealDaemon(tmp_path, config) as daemon,
        ffmpeg_copying(calm, f"{relay}/live/one"),
        ffmpeg_copying(calm, f"{relay}/live/two"),
    ):
        await eventually(lambda: daemon.scored(*NAMES), deadline_s=DEADLINE_S)
        watchers = watchers_of(daemon)
        assert len(pids_of(daemon, "monitor.watch.classifier_process")) == 1
        if USER is not None:
            assert {user_of(pid) for pid in watchers} == {pwd.getpwnam(USER).pw_uid}

        async def all_are(freshness: str) -> bool:
            streams = await daemon.streams()
            return all(streams[name]["freshness"] == freshness for name in NAMES)

        async with no_classifier(daemon):

            async def refuses() -> bool:
                status, text = await readiness(daemon)
                return status == 503 and "classifier" in text

            await eventually(refuses, deadline_s=DEADLINE_S)
            await eventually(lambda: all_are("late"), deadline_s=DEADLINE_S)
            await eventually(lambda: all_are("blind"), deadline_s=DEADLINE_S)
            assert await refuses()
            streams = await daemon.streams()
            assert {streams[name]["state"] for name in NAMES} == {"watching"}

            async def alertable() -> bool:
                return 'livecordon_streams{freshness="blind"} 2.0' in await daemon.text("/metrics")

            await eventually(alertable, deadline_s=DEADLINE_S)

        await eventually(lambda: all_are("fresh"), deadline_s=DEADLINE_S)

        async def ready() -> bool:
            return (await readiness(daemon))[0] == 200

        await eventually(ready, deadline_s=DEADLINE_S)
        # They have waited for it: nobody was replaced, nothing was opened anew.
        assert watchers_of(daemon) == watchers
        assert "watcher_died" not in daemon.log
        assert 'reason="no_classifier"' in await daemon.text("/metrics")
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log
