"""Drills on a live stream of the real daemon: people and receivers are asked, and nothing is done to the stream."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from monitor.demo.partner import Partner
from monitor.demo.stage import free_port
from tests.fakes.daemon import RealDaemon, ffmpeg_copying, receiver_entry
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

DEADLINE_S = 40.0


@dataclass(frozen=True, slots=True)
class Site:
    daemon: RealDaemon
    partner: Partner
    relay: str

    async def listed(self) -> list[str]:
        async with aiohttp.ClientSession() as client, client.get(f"{self.relay}/control/streams") as answer:
            return [stream["name"] for stream in (await answer.json())["streams"]]

    async def drills(self) -> list[Any]:
        return [one for one in await self.daemon.incidents() if one["drill"]]

    async def metric(self, name: str) -> float:
        lines = (await self.daemon.text("/metrics")).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    relay = f"http://127.0.0.1:{free_port()}"
    async with Partner() as partner:
        config = {
            "web": {"listen": f"127.0.0.1:{free_port()}"},
            "servers": [{"name": "relay", "kind": "embedded", "url": relay, "list_interval": "500ms"}],
            "protocol": {"default": "immediate"},
            "alerts": {"receivers": [receiver_entry(partner)]},
        }
        async with RealDaemon(tmp_path_factory.mktemp("drill"), config, partner=partner) as daemon:
            yield Site(daemon, partner, relay)
            assert await daemon.stop() == 0
            assert "Traceback" not in daemon.log


async def drill(site: Site, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "monitor", "drill", *arguments, "--url", site.daemon.url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def counted(site: Site) -> dict[str, float]:
    names = ("livecordon_effects_total", "livecordon_transitions_total", "livecordon_incidents_open")
    return {name: await site.metric(name) for name in names}


async def audit_rows(site: Site, tmp_path: Path, incident_id: str) -> list[Any]:
    exported = tmp_path / "audit.ndjson"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "monitor", "audit", "export", "-o", str(exported)),
        *("--config", str(site.daemon.folder / "config.yaml")),
        env=site.daemon.environ,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 0, said
    rows = [json.loads(line) for line in exported.read_text().splitlines()]
    return [row for row in rows if row["incident_id"] == incident_id]


async def test_a_drill_asks_people_and_receivers_and_leaves_the_stream_alone(
    site: Site, calm: Path, tmp_path: Path
) -> None:
    async with ffmpeg_copying(calm, f"{site.relay}/live/show") as publisher:
        await eventually(lambda: site.daemon.scored("show"), deadline_s=DEADLINE_S, interval_s=0.1)
        stream_id = (await site.daemon.streams())["show"]["stream_id"]
        before = await counted(site)

        running = await drill(site, "live/show", "--json")

        async def asked() -> Any:
            return next((one for one in await site.drills() if one["state"] == "contained"), None)

        # `immediate` blocks and cuts at once: in a drill, only on paper.
        incident = await eventually(asked, deadline_s=DEADLINE_S, interval_s=0.1)
        assert await site.metric("livecordon_incidents_open") == before["livecordon_incidents_open"]
        assert incident["stream_id"] == stream_id
        assert (await site.daemon.streams())["show"]["incident_id"] is None
        assert "DRILL." in await site.daemon.text(f"/incidents/{incident['incident_id']}")
        assert (await site.daemon.post("/api/v1/drills", {"stream_id": stream_id}))[0] == 409
        status, _ = await site.daemon.post(
            f"/api/v1/incidents/{incident['incident_id']}/review",
            {"decision": "dismiss", "why": "we practise", "reason": "other"},
        )
        assert status == 200
        out, _ = await asyncio.wait_for(running.communicate(), DEADLINE_S)

        found = json.loads(out)
        assert running.returncode == 0
        assert found["state"] == "released"
        assert [one["decision"] for one in found["decisions"]] == ["dismissed"]
        assert {one["event"] for one in found["deliveries"]} == {"raised", "contained", "dismissed", "released"}
        assert all(one["took_s"] < 5 for one in found["deliveries"])

        detail = await site.daemon.get(f"/api/v1/incidents/{incident['incident_id']}")
        assert {one["kind"] for one in detail["effects"]} >= {"preserve", "block", "cut", "unblock"}
        assert all(one["dry_run"] for one in detail["effects"] if one["kind"] not in ("alert", "request_review"))
        assert detail["evidence"] == []
        blocks = (await site.daemon.get("/api/v1/blocks"))["blocks"]
        assert stream_id not in {one["stream_id"] for one in blocks}
        assert publisher.returncode is None
        assert "show" in await site.listed()
        assert await site.daemon.scored("show")
        assert await counted(site) == before

        told = [alert.event["data"] for alert in site.partner.taken]
        # Another test may have left real ones.
        alerts = [data for data in told if data["incident_id"] == incident["incident_id"]]
        assert alerts
        assert all(data["drill"] is True and data["dry_run"] is True for data in alerts)
        assert {data["stream_id"] for data in alerts} == {stream_id}

        rows = await audit_rows(site, tmp_path, incident["incident_id"])
        assert rows
        assert [row["action"] for row in rows if row["detail"].get("drill") is not True] == []


async def test_a_real_attack_during_a_drill_is_cut(site: Site, calm: Path, brawl: Path) -> None:
    address = f"{site.relay}/live/both"
    async with ffmpeg_copying(calm, address):
        await eventually(lambda: site.daemon.scored("both"), deadline_s=DEADLINE_S, interval_s=0.1)
        stream_id = (await site.daemon.streams())["both"]["stream_id"]
        status, begun = await site.daemon.post("/api/v1/drills", {"stream_id": stream_id, "protocol": "assisted"})
        assert status == 201
    async with ffmpeg_copying(brawl, address) as attacker, asyncio.timeout(DEADLINE_S):
        assert await attacker.wait() != 0

    incidents = {one["incident_id"]: one for one in await site.daemon.incidents() if one["stream_id"] == stream_id}
    drilled = incidents.pop(begun["incident_id"])

    assert drilled["drill"]
    assert drilled["state"] == "urgent"
    assert incidents
    assert not any(one["drill"] or one["dry_run"] for one in incidents.values())

    async def done() -> bool:
        details = [await site.daemon.get(f"/api/v1/incidents/{incident_id}") for incident_id in incidents]
        return all(effect["finished_at"] for detail in details for effect in detail["effects"])

    await eventually(done, deadline_s=DEADLINE_S, interval_s=0.2)


async def test_what_cannot_be_drilled_is_refused(site: Site, calm: Path) -> None:
    async with ffmpeg_copying(calm, f"{site.relay}/live/refusing"):
        await eventually(lambda: site.daemon.scored("refusing"), deadline_s=DEADLINE_S, interval_s=0.1)
        stream_id = (await site.daemon.streams())["refusing"]["stream_id"]
        asked = [
            ({"stream_id": "nothing"}, 404, "unknown_stream"),
            ({"stream_id": stream_id, "protocol": "nothing"}, 400, "invalid_field"),
            ({"stream_id": stream_id, "severity": "none"}, 400, "invalid_field"),
        ]
        for body, status, reason in asked:
            answered, error = await site.daemon.post("/api/v1/drills", body)
            assert (answered, error["error"]["reason"]) == (status, reason)

        running = await drill(site, "nobody-streams-this")
        _, said = await running.communicate()
        assert running.returncode == 1
        assert b"this is no live stream" in said
