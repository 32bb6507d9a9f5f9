"""A publisher who hides: a second video appears in an MPEG-TS that is being watched, and the first one ends."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from monitor.demo.stage import free_port
from tests.fakes.daemon import RealDaemon, ffmpeg_copying
from tests.fakes.hostile import Sending
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(240)]

DEADLINE_S = 60.0


def filmed(path: Path, *, videos_s: tuple[int, ...]) -> bytes:
    """Return an MPEG-TS with a video for each of these lengths, in seconds."""
    inputs = [
        word
        for seconds in videos_s
        for word in ("-f", "lavfi", "-i", f"testsrc=size=160x120:rate=15:duration={seconds}")
    ]
    maps = [word for number in range(len(videos_s)) for word in ("-map", f"{number}:v")]
    subprocess.run(
        ["ffmpeg", "-v", "error", *inputs, *maps, "-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-g", "15",
         "-f", "mpegts", path],
        check=True, timeout=100, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return path.read_bytes()


async def test_it_is_told_of_as_hung_and_seen_again_by_another_watcher_and_its_neighbours_go_on(
    tmp_path: Path, calm: Path
) -> None:
    alone = filmed(tmp_path / "alone.ts", videos_s=(8,))
    joined = filmed(tmp_path / "joined.ts", videos_s=(1, 120))
    port, relay_port = free_port(), free_port()
    relay = f"http://127.0.0.1:{relay_port}"
    config = {
        "web": {"listen": f"127.0.0.1:{port}"},
        "watch": {"watchers": 1},
        "servers": [
            {"name": "relay", "kind": "embedded", "url": relay, "list_interval": "500ms", "protocol": "observe"}
        ],
    }
    async with (
        RealDaemon(tmp_path, config) as daemon,
        ffmpeg_copying(calm, f"{relay}/live/neighbour"),
        Sending(f"{relay}/live/hider") as hider,
    ):
        hider.send(alone, over_s=8)
        hider.send(joined, over_s=120)
        await eventually(lambda: daemon.scored("hider", "neighbour"), deadline_s=DEADLINE_S)

        async def is_said_to_hang() -> bool:
            return (await daemon.streams())["hider"]["state"] == "stalled" and "reason=hung" in daemon.log

        async def are_both_scored() -> bool:
            return await daemon.scored("hider", "neighbour")

        await eventually(is_said_to_hang, deadline_s=DEADLINE_S)
        assert await daemon.scored("neighbour")
        await eventually(are_both_scored, deadline_s=DEADLINE_S)
        # By the second video, and not by what is left of the first, over and over.
        for _ in range(12):
            await asyncio.sleep(1)
            assert (await daemon.streams())["hider"]["state"] == "watching"
        assert await are_both_scored()
        assert re.findall(r"watcher_fault .*reason=(\w+)", daemon.log) == ["stream_hung"]
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log
