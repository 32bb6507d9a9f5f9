"""Odd video as it comes in: published to the embedded relay or to nginx-rtmp, and watched by the real daemon."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from monitor.demo.nginx import RealNginx
from monitor.demo.stage import free_port
from tests.fakes.daemon import RealDaemon
from tests.fakes.hostile import Sending
from tests.fakes.nginx import entry_for
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(180)]

DEADLINE_S = 40.0
X264 = "-c:v libx264 -preset ultrafast -threads 1 -g 30"


def filmed(path: Path, make: str, *, seconds: int) -> Path:
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc=size=160x120:rate=30:duration={seconds}",
         "-f", "lavfi", "-i", f"anullsrc=d={seconds}", *make.split(), path],
        check=True, timeout=100, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return path


@asynccontextmanager
async def publishing(source: str, *output: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Have ffmpeg film test pictures in real time and send them."""
    process = await asyncio.create_subprocess_exec(
        *("ffmpeg", "-nostdin", "-loglevel", "error", "-re", "-f", "lavfi", "-i", source, *output),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_over_the_relay(tmp_path: Path) -> None:
    """MPEG-TS over HTTP: another codec in mid-stream, sound 8 s before the picture, streams numbered anew."""
    first = filmed(tmp_path / "first.ts", f"-map 0:v {X264} -f mpegts", seconds=8).read_bytes()
    other = filmed(tmp_path / "other.ts", "-map 0:v -c:v mpeg2video -g 15 -f mpegts", seconds=40).read_bytes()
    anew = filmed(tmp_path / "anew.ts", f"-map 0:v {X264} -streamid 0:0x300 -f mpegts", seconds=40).read_bytes()
    late = filmed(
        tmp_path / "late.ts", f"-map 1:a -map 0:v -c:a aac -filter:v setpts=PTS+8/TB {X264} -f mpegts", seconds=40
    ).read_bytes()
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
        Sending(f"{relay}/live/codec") as codec,
        Sending(f"{relay}/live/anew") as numbered,
        Sending(f"{relay}/live/late") as sound_first,
    ):
        codec.send(first, over_s=8)
        codec.send(other, over_s=40)
        numbered.send(first, over_s=8)
        numbered.send(anew, over_s=40)
        sound_first.send(late, over_s=48)
        await eventually(lambda: daemon.scored("codec", "anew"), deadline_s=DEADLINE_S)

        async def reopened() -> bool:
            return "decode_failed" in daemon.log

        await eventually(reopened, deadline_s=DEADLINE_S)

        async def watched_on() -> bool:
            streams = await daemon.streams()
            return streams["codec"]["detail"].startswith("mpeg2video") and await daemon.scored("codec", "anew", "late")

        await eventually(watched_on, deadline_s=DEADLINE_S)
        assert daemon.log.count("decode_failed") == 1
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log


ODD_PUBLISHERS = {
    "b-frames": "-c:v libx264 -preset medium -threads 1 -g 60 -bf 3 -b_strategy 0",
    "anamorphic": f"{X264} -vf setsar=64/45",
    "31-bit-wrap": f"{X264} -output_ts_offset 2147470",
    "races": f"{X264} -bsf:v setts=ts=TS*60",
}


async def test_over_nginx(tmp_path: Path) -> None:
    """Every one of them keeps being scored, in the posture that calm pictures ask for."""
    port = free_port()
    (tmp_path / "nginx").mkdir()
    async with AsyncExitStack() as stack:
        nginx = await stack.enter_async_context(RealNginx(tmp_path / "nginx"))
        config = {
            "web": {"listen": f"127.0.0.1:{port}"},
            "watch": {"watchers": 1},
            "servers": [entry_for(nginx, list_interval="500ms", protocol="observe")],
        }
        daemon = await stack.enter_async_context(RealDaemon(tmp_path, config))
        for name, make in ODD_PUBLISHERS.items():
            await stack.enter_async_context(
                publishing("testsrc=size=160x120:rate=30", *make.split(), "-f", "flv", f"{nginx.rtmp_url}/live/{name}")
            )
        await eventually(lambda: daemon.scored(*ODD_PUBLISHERS), deadline_s=DEADLINE_S)
        # Long enough for the wrap, and for a false clock to be found out.
        for _ in range(20):
            await asyncio.sleep(1)
            streams = await daemon.streams()
            assert {streams[name]["state"] for name in ODD_PUBLISHERS} == {"watching"}
            assert {streams[name]["freshness"] for name in ODD_PUBLISHERS} == {"fresh"}
        assert await daemon.scored(*ODD_PUBLISHERS)
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log
