"""`kill -9` of the daemon between a decision and its effects: afterwards each has happened, and once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from monitor.demo.nginx import RealNginx
from monitor.demo.partner import Partner
from monitor.demo.stage import free_port
from monitor.servers.factory import build_server
from tests.fakes.daemon import RealDaemon, ffmpeg_copying, receiver_entry
from tests.fakes.nginx import section_for
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(180)]


class HeldControl:
    """Stands before nginx's control interface and keeps commands back until told to let them through."""

    def __init__(self, control_url: str) -> None:
        self._control_url = control_url
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.forwarded: list[str] = []
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[HeldControl]:
        app = web.Application()
        app.router.add_get("/control/{tail:.*}", self._forward)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/control"
        try:
            yield self
        finally:
            self.open.set()
            await runner.cleanup()

    async def _forward(self, request: web.Request) -> web.Response:
        self.asked.set()
        held = not self.open.is_set()
        await self.open.wait()
        if held and (request.transport is None or request.transport.is_closing()):
            # Whoever asked is dead; nginx never heard of it.
            return web.Response(status=503)
        tail = request.raw_path.removeprefix("/control")
        self.forwarded.append(tail)
        async with (
            aiohttp.ClientSession() as client,
            client.get(URL(self._control_url + tail, encoded=True)) as answer,
        ):
            return web.Response(status=answer.status, body=await answer.read())


async def test_a_daemon_killed_between_decision_and_cut_finishes_it_once(tmp_path: Path, brawl: Path) -> None:
    port = free_port()
    (tmp_path / "nginx").mkdir()
    async with (
        Partner() as partner,
        RealNginx(tmp_path / "nginx", gate_url=f"http://127.0.0.1:{port}/gate/edge") as nginx,
        HeldControl(nginx.control_url).listening() as control,
        build_server(section_for(nginx), gate_url="") as server,
        RealDaemon(
            tmp_path,
            {
                "web": {"listen": f"127.0.0.1:{port}"},
                "servers": [
                    {
                        "name": "edge",
                        "kind": "nginx_rtmp",
                        "stat_url": nginx.stat_url,
                        "control_url": control.url,
                        "rtmp_url": nginx.rtmp_url,
                        "request_timeout": "30s",
                    }
                ],
                "protocol": {"default": "immediate"},
                "alerts": {"receivers": [receiver_entry(partner)]},
                "effects": {"cut_deadline": "60s"},
            },
            partner=partner,
        ) as daemon,
        ffmpeg_copying(brawl, f"{nginx.rtmp_url}/live/loud") as loud,
    ):
        async with asyncio.timeout(60):
            await control.asked.wait()
        assert control.forwarded == []
        await daemon.kill()
        assert loud.returncode is None
        control.open.set()
        await daemon.start()

        async with asyncio.timeout(60):
            assert await loud.wait() != 0
        assert await server.list_streams() == ()

        async def contained() -> Any:
            return next((one for one in await daemon.incidents() if one["state"] == "contained"), None)

        incident = await eventually(contained, deadline_s=30)

        async def told() -> bool:
            return any(alert.type.endswith(".contained") for alert in partner.taken)

        await eventually(told)
        detail = await daemon.get(f"/api/v1/incidents/{incident['incident_id']}")
        cuts = [effect for effect in detail["effects"] if effect["kind"] == "cut"]
        assert [effect["outcome"] for effect in cuts] == ["succeeded"]
        assert len([tail for tail in control.forwarded if "name=loud" in tail]) == 1
        # Once each, as the receiver counts them: no event under two ids.
        told_of = Counter((alert.type, alert.event["data"]["sequence"]) for alert in partner.taken)
        assert set(told_of.values()) == {1}, told_of
        assert len(await daemon.incidents()) == 1


async def test_alerts_decided_before_a_kill_reach_a_receiver_that_was_down(tmp_path: Path, brawl: Path) -> None:
    port = free_port()
    (tmp_path / "nginx").mkdir()
    partner = Partner()
    partner_port = free_port()
    async with (
        RealNginx(tmp_path / "nginx", gate_url=f"http://127.0.0.1:{port}/gate/edge") as nginx,
        RealDaemon(
            tmp_path,
            {
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
                "protocol": {"default": "immediate"},
                "alerts": {"receivers": [receiver_entry(partner) | {"url": f"http://127.0.0.1:{partner_port}/alerts"}]},
            },
            partner=partner,
        ) as daemon,
        ffmpeg_copying(brawl, f"{nginx.rtmp_url}/live/loud") as loud,
    ):
        async with asyncio.timeout(60):
            await loud.wait()
        await daemon.kill()
        partner.listen_port = partner_port
        async with partner:
            await daemon.start()

            async def told() -> bool:
                return {alert.type.rsplit(".", 1)[-1] for alert in partner.taken} >= {"raised", "contained"}

            await eventually(told, deadline_s=60)
            told_of = Counter((alert.type, alert.event["data"]["sequence"]) for alert in partner.taken)
            assert set(told_of.values()) == {1}, told_of
            assert partner.refused == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_watcher_that_dies_or_stops_loses_no_stream(tmp_path: Path, calm: Path, how: signal.Signals) -> None:
    port = free_port()
    (tmp_path / "nginx").mkdir()
    async with (
        RealNginx(tmp_path / "nginx", gate_url=f"http://127.0.0.1:{port}/gate/edge") as nginx,
        RealDaemon(
            tmp_path,
            {
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
                "protocol": {"default": "observe"},
            },
        ) as daemon,
        ffmpeg_copying(calm, f"{nginx.rtmp_url}/live/one"),
        ffmpeg_copying(calm, f"{nginx.rtmp_url}/live/two"),
    ):
        await eventually(lambda: daemon.scored("one", "two"), deadline_s=60)
        victims = daemon.watcher_pids()
        for pid in victims:
            os.kill(pid, how)

        async def replaced_and_scored() -> bool:
            new = set(daemon.watcher_pids()) - set(victims)
            return bool(new) and await daemon.scored("one", "two")

        await eventually(replaced_and_scored, deadline_s=60)
        assert daemon.running
        assert "livecordon_watcher_restarts_total" in await daemon.text("/metrics")
