"""The main job on a real Node-Media-Server, and beside it on a media server that only an operator's programs control."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from monitor.demo.stage import free_port
from monitor.servers.embedded.relay import Relay
from monitor.servers.node_media_server.adapter import NodeMediaServerAdapter
from tests.fakes.custom_site import by_program
from tests.fakes.daemon import RealDaemon, ffmpeg_copying
from tests.fakes.node_media_server import ENVIRON, RealNodeMediaServer, section_for
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.node_media_server, pytest.mark.timeout(180)]

DEADLINE_S = 30.0
_NOTE = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


def config(nms: RealNodeMediaServer, relay: Relay, port: int, notes: Path) -> dict[str, Any]:
    note = [sys.executable, "-I", "-S", "-c", _NOTE, str(notes)]
    return {
        "web": {"listen": f"127.0.0.1:{port}"},
        "servers": [
            {
                "name": "nms",
                "kind": "node_media_server",
                "api_url": nms.api_url,
                "password": {"env": "NMS_PASSWORD"},
                "rtmp_url": nms.rtmp_url,
                "list_interval": "500ms",
            },
            {
                "name": "legacy",
                "kind": "custom",
                "on_block": {"command": note},
                "on_unblock": {"command": note},
                "list_interval": "500ms",
                **by_program(relay.url),
            },
        ],
        "protocol": {"default": "immediate"},
    }


async def test_violence_is_cut_and_kept_out_on_both_and_others_are_left_alone(
    tmp_path: Path, brawl: Path, calm: Path
) -> None:
    port = free_port()
    notes = tmp_path / "notes"
    (tmp_path / "nms").mkdir()
    async with (
        RealNodeMediaServer(tmp_path / "nms", notify_url=f"http://127.0.0.1:{port}/gate/nms") as nms,
        Relay() as relay,
        NodeMediaServerAdapter(section_for(nms), environ=ENVIRON) as server,
        RealDaemon(tmp_path, config(nms, relay, port, notes), environ=ENVIRON) as daemon,
        ffmpeg_copying(calm, f"{nms.rtmp_url}/live/quiet") as quiet,
        ffmpeg_copying(calm, f"{relay.url}/live/hush") as hush,
    ):
        await eventually(lambda: daemon.scored("quiet", "hush"), deadline_s=DEADLINE_S)
        async with (
            ffmpeg_copying(brawl, f"{nms.rtmp_url}/live/loud") as loud,
            ffmpeg_copying(brawl, f"{relay.url}/live/roar") as roar,
            asyncio.timeout(DEADLINE_S),
        ):
            await asyncio.gather(loud.wait(), roar.wait())

        for _ in range(3):
            async with ffmpeg_copying(calm, f"{nms.rtmp_url}/live/loud") as again, asyncio.timeout(DEADLINE_S):
                await again.wait()
            async with ffmpeg_copying(calm, f"{relay.url}/live/roar") as again, asyncio.timeout(DEADLINE_S):
                await again.wait()

        async def told() -> list[dict[str, Any]] | None:
            return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else None

        # Told again where a return has made the block longer, and nothing of another server's streams.
        blocks = await eventually(told)
        assert {(one["call"], one["server"], one["app"], one["name"]) for one in blocks} == {
            ("block", "legacy", "live", "roar")
        }
        stream_id = next(one["stream_id"] for one in await daemon.incidents() if one["title"] == "live/roar")
        assert await daemon.delete(f"/api/v1/blocks/{stream_id}", {"why": "the test"}) in (200, 204)

        async def told_again() -> bool:
            said = await told() or blocks
            return bool(said[-1]["call"] == "unblock")

        await eventually(told_again)
        assert [stream.ref.name for stream in await server.list_streams()] == ["quiet"]
        assert quiet.returncode is None
        assert hush.returncode is None
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log
        assert ENVIRON["NMS_PASSWORD"] not in daemon.log
