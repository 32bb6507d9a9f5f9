"""Two real nginx-rtmp carry one stream: it is watched once, and off the air on both."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from monitor.demo.nginx import RealNginx
from monitor.demo.stage import free_port
from tests.fakes.daemon import RealDaemon, ffmpeg_copying
from tests.fakes.nginx import entry_for
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(180)]


async def test_one_stream_on_two_servers_is_watched_once_and_contained_on_both(
    tmp_path: Path, brawl: Path, calm: Path
) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        servers = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            gate_url = f"http://127.0.0.1:{port}/gate/{name}"
            servers.append(await stack.enter_async_context(RealNginx(tmp_path / name, gate_url=gate_url)))
        one, two = servers
        config = {
            "web": {"listen": f"127.0.0.1:{port}"},
            "servers": [
                entry_for(one, name="one", cluster="edges"),
                entry_for(two, name="two", cluster="edges"),
            ],
            "protocol": {"default": "immediate"},
        }
        daemon = await stack.enter_async_context(RealDaemon(tmp_path, config))
        quiet = await stack.enter_async_context(ffmpeg_copying(calm, f"{two.rtmp_url}/live/quiet"))
        loud = [
            await stack.enter_async_context(ffmpeg_copying(brawl, f"{nginx.rtmp_url}/live/loud")) for nginx in servers
        ]

        await eventually(lambda: daemon.scored("loud", "quiet"), deadline_s=60)
        streams = (await daemon.get("/api/v1/streams"))["streams"]
        assert sorted((one["server"], one["title"]) for one in streams) == [("one", "live/loud"), ("one", "live/quiet")]

        async with asyncio.timeout(45):
            assert 0 not in [await encoder.wait() for encoder in loud]

        async def contained() -> bool:
            return [one["state"] for one in await daemon.incidents()] == ["contained"]

        await eventually(contained, deadline_s=30)
        for nginx in servers:
            async with ffmpeg_copying(calm, f"{nginx.rtmp_url}/live/loud") as back, asyncio.timeout(30):
                assert await back.wait() != 0
        assert quiet.returncode is None
        assert [one["name"] for one in (await daemon.get("/api/v1/status"))["servers"]] == ["one"]
        assert await daemon.stop() == 0
