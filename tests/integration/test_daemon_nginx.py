"""The main job on a real nginx-rtmp, with the real daemon as a process of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from monitor.demo.nginx import RealNginx
from monitor.demo.partner import Partner
from monitor.demo.stage import free_port
from monitor.servers.factory import build_server
from monitor.servers.port import LiveStream, MediaServer
from tests.fakes.daemon import RealDaemon, ffmpeg_copying, receiver_entry
from tests.fakes.nginx import section_for
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(180)]

CUT_DEADLINE_S = 30.0


def nginx_config(nginx: RealNginx, port: int, *, protocol: str, partner: Partner | None = None) -> dict[str, Any]:
    return {
        "web": {"listen": f"127.0.0.1:{port}"},
        "servers": [
            {
                "name": "edge",
                "kind": "nginx_rtmp",
                "stat_url": nginx.stat_url,
                "control_url": nginx.control_url,
                "rtmp_url": nginx.rtmp_url,
            }
        ],
        "protocol": {"default": protocol},
        "alerts": {"receivers": [receiver_entry(partner)] if partner else []},
    }


async def listed(server: MediaServer, name: str) -> LiveStream | None:
    return next((stream for stream in await server.list_streams() if stream.ref.name == name), None)


async def test_a_violent_stream_is_cut_and_kept_out_and_a_calm_one_is_left_alone(
    tmp_path: Path, brawl: Path, calm: Path
) -> None:
    port = free_port()
    (tmp_path / "nginx").mkdir()
    async with (
        Partner() as partner,
        RealNginx(tmp_path / "nginx", gate_url=f"http://127.0.0.1:{port}/gate/edge") as nginx,
        build_server(section_for(nginx), gate_url="") as server,
        RealDaemon(
            tmp_path, nginx_config(nginx, port, protocol="immediate", partner=partner), partner=partner
        ) as daemon,
        ffmpeg_copying(calm, f"{nginx.rtmp_url}/live/quiet") as quiet,
    ):
        await eventually(lambda: daemon.scored("quiet"), deadline_s=CUT_DEADLINE_S)
        quiet_session = (await eventually(lambda: listed(server, "quiet"))).session

        async with ffmpeg_copying(brawl, f"{nginx.rtmp_url}/live/loud?key=s3cr3t-stream-key") as loud:
            await eventually(lambda: daemon.scored("loud"), deadline_s=CUT_DEADLINE_S)
            async with asyncio.timeout(CUT_DEADLINE_S):
                assert await loud.wait() != 0
        assert await listed(server, "loud") is None

        async def contained() -> Any:
            return next((one for one in await daemon.incidents() if one["state"] == "contained"), None)

        incident = await eventually(contained, deadline_s=CUT_DEADLINE_S)
        detail = await daemon.get(f"/api/v1/incidents/{incident['incident_id']}")
        cuts = [effect for effect in detail["effects"] if effect["kind"] == "cut"]
        assert [effect["outcome"] for effect in cuts] == ["succeeded"]

        async def kept() -> bool:
            return bool((await daemon.get(f"/api/v1/incidents/{incident['incident_id']}"))["evidence"])

        await eventually(kept, deadline_s=CUT_DEADLINE_S)

        async def told() -> bool:
            return any(alert.type == "livecordon.incident.contained" for alert in partner.taken)

        await eventually(told)
        assert partner.refused == 0
        assert partner.taken[0].type == "livecordon.incident.raised"
        sequences = [alert.event["data"]["sequence"] for alert in partner.taken]
        assert sequences == sorted(sequences)

        async with ffmpeg_copying(calm, f"{nginx.rtmp_url}/live/loud") as refused, asyncio.timeout(CUT_DEADLINE_S):
            assert await refused.wait() != 0
        assert await listed(server, "loud") is None

        blocks = (await daemon.get("/api/v1/blocks"))["blocks"]
        assert [block["title"] for block in blocks] == ["live/loud"], blocks
        stream_id = incident["stream_id"]
        assert await daemon.delete(f"/api/v1/blocks/{stream_id}", {"why": "the test lets it in again"}) in (200, 204)
        async with ffmpeg_copying(calm, f"{nginx.rtmp_url}/live/loud"):
            await eventually(lambda: listed(server, "loud"), deadline_s=CUT_DEADLINE_S)

        assert [one["title"] for one in await daemon.incidents()] == ["live/loud"]
        assert quiet.returncode is None
        still_quiet = await listed(server, "quiet")
        assert still_quiet is not None
        assert still_quiet.session == quiet_session
        assert "s3cr3t-stream-key" not in daemon.log
        assert "loud" not in daemon.log
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log


@pytest.mark.parametrize("decision", ["confirm", "dismiss"])
async def test_under_assisted_a_responder_decides(tmp_path: Path, brawl: Path, decision: str) -> None:
    port = free_port()
    (tmp_path / "nginx").mkdir()
    async with (
        Partner() as partner,
        RealNginx(tmp_path / "nginx", gate_url=f"http://127.0.0.1:{port}/gate/edge") as nginx,
        build_server(section_for(nginx), gate_url="") as server,
        RealDaemon(
            tmp_path, nginx_config(nginx, port, protocol="assisted", partner=partner), partner=partner
        ) as daemon,
        ffmpeg_copying(brawl, f"{nginx.rtmp_url}/live/loud") as loud,
    ):

        async def awaiting_review() -> Any:
            return next((one for one in await daemon.incidents() if one["reviewable"]), None)

        incident = await eventually(awaiting_review, deadline_s=CUT_DEADLINE_S)
        path = f"/api/v1/incidents/{incident['incident_id']}/review"
        status, answer = await daemon.post(path, {"decision": decision, "why": "seen with my own eyes"})
        assert status == 200, answer

        if decision == "confirm":
            async with asyncio.timeout(CUT_DEADLINE_S):
                assert await loud.wait() != 0
            assert await listed(server, "loud") is None
            assert (await daemon.get("/api/v1/blocks"))["blocks"]
        else:

            async def dismissed() -> bool:
                return any(alert.type == "livecordon.incident.dismissed" for alert in partner.taken)

            await eventually(dismissed)
            assert loud.returncode is None
            assert await listed(server, "loud") is not None
            assert (await daemon.get("/api/v1/blocks"))["blocks"] == []
        status, _ = await daemon.post(path, {"decision": "confirm", "why": "too late"})
        assert status == 409
        detail = await daemon.get(f"/api/v1/incidents/{incident['incident_id']}")
        assert detail["incident"]["review"]["decision"] == decision
