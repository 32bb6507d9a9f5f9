"""A held stream on a real nginx-rtmp: out of its viewers' sight, still watched by the daemon, and given back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitor.demo.nginx import RealNginx
from monitor.demo.partner import Partner
from monitor.demo.stage import free_port
from tests.fakes.daemon import RealDaemon, ffmpeg_copying, receiver_entry
from tests.fakes.reading import can_be_watched
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(240)]

DEADLINE_S = 60.0


async def clips_scored(daemon: RealDaemon) -> float:
    """How many clips the daemon has been told the scores of; there is one stream."""
    lines = (await daemon.text("/metrics")).splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("livecordon_clips_total "))


async def test_the_daemon_holds_watches_on_and_gives_back(tmp_path: Path, brawl: Path) -> None:
    port = free_port()
    (tmp_path / "nginx").mkdir()
    async with (
        Partner() as partner,
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
                        "list_interval": "1s",
                    }
                ],
                "watch": {"watchers": 1},
                "protocol": {"default": "assisted", "parameters": {"decide_within": "10s", "hold_for": "10m"}},
                "alerts": {"receivers": [receiver_entry(partner)]},
            },
            partner=partner,
        ) as daemon,
        ffmpeg_copying(brawl, f"{nginx.rtmp_url}/live/loud") as encoder,
    ):

        async def held() -> Any:
            return next((one for one in await daemon.incidents() if one["state"] == "held"), None)

        incident = await eventually(held, deadline_s=DEADLINE_S)
        seen = f"{nginx.rtmp_url}/live/loud"
        assert not await can_be_watched(seen, timeout_s=3.0)
        assert encoder.returncode is None

        # Read where it was moved to: scored anew after the move, and for as long as it is held.
        clips = await clips_scored(daemon)

        async def many_more() -> bool:
            return await clips_scored(daemon) >= clips + 20

        await eventually(many_more, deadline_s=DEADLINE_S)
        stream = (await daemon.streams())["loud"]
        assert (stream["freshness"], stream["severity"], stream["posture"]) == ("fresh", "act", "full")

        body = {"decision": "release", "why": "a stage fight, announced", "reason": "staged_or_game"}
        status, _ = await daemon.post(f"/api/v1/incidents/{incident['incident_id']}/review", body)
        assert status == 200

        async def told() -> bool:
            return any(alert.type.endswith(".released") for alert in partner.taken)

        await eventually(told, deadline_s=DEADLINE_S)
        assert await eventually(lambda: can_be_watched(seen), deadline_s=DEADLINE_S)
        assert encoder.returncode is None
        await eventually(lambda: daemon.scored("loud"), deadline_s=DEADLINE_S)
        assert "Traceback" not in daemon.log
