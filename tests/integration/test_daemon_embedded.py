"""The main job on the embedded relay, dry runs, observing, and restarts: with the real daemon as a process of its own."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from typing_extensions import override

from monitor.demo.partner import Partner
from monitor.demo.stage import free_port
from monitor.servers.embedded.relay import Relay
from monitor.shipped import protocols_dir
from monitor.vocabulary import StreamRef
from tests.fakes.daemon import RealDaemon, ffmpeg_copying, receiver_entry
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

DEADLINE_S = 40.0
STOP_WITHIN_S = 8.0


@dataclass(frozen=True, slots=True)
class Site:
    """One daemon with three relays of its own: it cuts on the first, rehearses on the second, observes the third."""

    daemon: RealDaemon
    partner: Partner
    relays: dict[str, str]

    async def listed(self, server: str) -> list[str]:
        """Return the names of a relay's live streams."""
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"{self.relays[server]}/control/streams") as answer,
        ):
            return [stream["name"] for stream in (await answer.json())["streams"]]


def relay_entry(name: str, url: str, **settings: object) -> dict[str, Any]:
    return {"name": name, "kind": "embedded", "url": url, "list_interval": "500ms", **settings}


async def incident_in(daemon: RealDaemon, server: str, *states: str) -> Any:
    """Wait for the incident of a server to be in one of these states."""

    async def look() -> Any:
        return next(
            (one for one in await daemon.incidents() if one["server"] == server and one["state"] in states), None
        )

    return await eventually(look, deadline_s=DEADLINE_S, interval_s=0.1)


async def detail_of(daemon: RealDaemon, incident: Any) -> Any:
    return await daemon.get(f"/api/v1/incidents/{incident['incident_id']}")


def effects(detail: Any, kind: str) -> list[Any]:
    return [effect for effect in detail["effects"] if effect["kind"] == kind]


async def told(partner: Partner, server: str, word: str) -> dict[str, Any]:
    """Wait for an alert of one server's incident and return its data."""

    async def look() -> Any:
        return next(
            (
                alert.event["data"]
                for alert in partner.taken
                if alert.type.endswith(f".{word}") and server in str(alert.event["data"])
            ),
            None,
        )

    found: dict[str, Any] = await eventually(look, deadline_s=DEADLINE_S)
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("embedded")
    relays = {name: f"http://127.0.0.1:{free_port()}" for name in ("acting", "rehearsing", "observing")}
    async with Partner() as partner:
        config = {
            "web": {"listen": f"127.0.0.1:{free_port()}"},
            "servers": [
                relay_entry("acting", relays["acting"]),
                relay_entry("rehearsing", relays["rehearsing"], dry_run=True),
                relay_entry("observing", relays["observing"], protocol="observe"),
            ],
            "protocol": {"default": "immediate"},
            "alerts": {"receivers": [receiver_entry(partner)]},
        }
        async with RealDaemon(folder, config, partner=partner) as daemon:
            yield Site(daemon, partner, relays)
            assert await daemon.stop() == 0
            assert "Traceback" not in daemon.log
            assert partner.refused == 0


async def test_a_violent_stream_is_cut_and_kept_out_until_it_is_let_in_again(
    site: Site, brawl: Path, calm: Path
) -> None:
    address = f"{site.relays['acting']}/live/loud"
    async with ffmpeg_copying(calm, f"{site.relays['acting']}/live/quiet") as quiet:
        async with ffmpeg_copying(brawl, address) as loud:
            async with asyncio.timeout(DEADLINE_S):
                assert await loud.wait() != 0
        incident = await incident_in(site.daemon, "acting", "contained")
        detail = await detail_of(site.daemon, incident)
        assert [effect["outcome"] for effect in effects(detail, "cut")] == ["succeeded"]
        assert detail["evidence"]
        assert (await told(site.partner, "acting", "contained"))["dry_run"] is False
        assert await site.listed("acting") == ["quiet"]

        async with ffmpeg_copying(calm, address) as refused, asyncio.timeout(DEADLINE_S):
            assert await refused.wait() != 0
        assert await site.listed("acting") == ["quiet"]

        stream_id = StreamRef("acting", "live", "loud").stream_id
        assert await site.daemon.delete(f"/api/v1/blocks/{stream_id}", {"why": "let in again"}) == 204
        async with ffmpeg_copying(calm, address) as back:
            await eventually(lambda: site.daemon.scored("loud", "quiet"), deadline_s=DEADLINE_S, interval_s=0.1)
            assert back.returncode is None
            # Its return is no evasion: whoever let it in has taken the incident back.
            released = await incident_in(site.daemon, "acting", "released")
            assert released["incident_id"] == incident["incident_id"]
            assert (await site.daemon.get("/api/v1/blocks"))["blocks"] == []
            await told(site.partner, "acting", "released")
        assert quiet.returncode is None
        assert [one["title"] for one in await site.daemon.incidents() if one["server"] == "acting"] == ["live/loud"]


async def test_a_dry_run_of_one_server_decides_and_tells_but_cuts_and_blocks_nobody(site: Site, brawl: Path) -> None:
    async with ffmpeg_copying(brawl, f"{site.relays['rehearsing']}/live/loud") as loud:
        incident = await incident_in(site.daemon, "rehearsing", "contained")
        await nobody_was_touched(site, "rehearsing", incident)
        assert loud.returncode is None
        assert await site.listed("rehearsing") == ["loud"]
        servers = (await site.daemon.get("/api/v1/status"))["servers"]
        assert {one["name"]: one["dry_run"] for one in servers}["rehearsing"] is True


async def nobody_was_touched(site: Site, server: str, incident: Any) -> None:
    assert incident["dry_run"] is True
    detail = await detail_of(site.daemon, incident)
    for kind in ("cut", "block"):
        assert [(effect["dry_run"], effect["outcome"]) for effect in effects(detail, kind)] == [(True, "succeeded")]
    assert (await told(site.partner, server, "raised"))["dry_run"] is True
    assert (await told(site.partner, server, "contained"))["dry_run"] is True
    blocks = (await site.daemon.get("/api/v1/blocks"))["blocks"]
    assert server not in [block["server"] for block in blocks]


async def test_observing_tells_and_keeps_evidence_and_never_acts(site: Site, brawl: Path) -> None:
    async with ffmpeg_copying(brawl, f"{site.relays['observing']}/live/loud") as loud:
        incident = await incident_in(site.daemon, "observing", "grave")
        path = f"/api/v1/incidents/{incident['incident_id']}/review"
        status, answer = await site.daemon.post(path, {"decision": "confirm", "why": "seen with my own eyes"})
        assert status == 200, answer
        incident = await incident_in(site.daemon, "observing", "confirmed")
        await told(site.partner, "observing", "raised")

        async def preserved() -> Any:
            return (await detail_of(site.daemon, incident))["evidence"]

        await eventually(preserved, deadline_s=DEADLINE_S)
        detail = await detail_of(site.daemon, incident)
        assert {effect["kind"] for effect in detail["effects"]} <= {"alert", "preserve", "request_review"}
        assert loud.returncode is None
        assert await site.listed("observing") == ["loud"]


async def test_check_finds_nothing_wrong_beside_a_running_daemon(site: Site) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "monitor", "check", "--config", str(site.daemon.folder / "config.yaml")),
        env=site.daemon.environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode == 0, output
    assert b"is Livecordon running already?" in output
    assert output.strip().splitlines()[-1].startswith(b"ok, ")


class PatientRelay(Relay):
    """Keeps every cut back until it is told to carry them out."""

    def __init__(self, gate_url: str) -> None:
        super().__init__(gate_url=gate_url)
        self.asked = asyncio.Event()
        self.carry_out = asyncio.Event()
        self.cuts = 0

    @override
    async def _cut(self, request: web.Request) -> web.Response:
        self.asked.set()
        await self.carry_out.wait()
        response = await super()._cut(request)
        self.cuts += 1
        return response


def protocols_with_deadlines_of(folder: Path, deadline: str) -> Path:
    """Copy the shipped protocols, with another time than the minute that responders have before an automatic cut.

    Nothing is held in them, although the relay could: here the machine is to cut.
    """
    folder.mkdir()
    for file in protocols_dir().glob("*.yaml"):
        text = file.read_text().replace("60s", deadline).replace("{can: hold}", "{strikes: 99}")
        (folder / file.name).write_text(text)
    return folder


async def test_what_was_under_way_when_the_daemon_was_told_to_stop_is_finished_by_the_next(
    tmp_path: Path, brawl: Path
) -> None:
    port = free_port()
    async with (
        Partner() as partner,
        # Relays outside the daemon: publishers stay when it goes.
        PatientRelay(f"http://127.0.0.1:{port}/gate/cutting") as cutting,
        PatientRelay(f"http://127.0.0.1:{port}/gate/waiting") as waiting,
        RealDaemon(
            tmp_path,
            {
                "web": {"listen": f"127.0.0.1:{port}"},
                "servers": [
                    relay_entry("cutting", cutting.url, serve=False, request_timeout="30s", protocol="immediate"),
                    relay_entry("waiting", waiting.url, serve=False, protocol="assisted"),
                ],
                "watch": {"watchers": 1},
                "protocol": {"directory": str(protocols_with_deadlines_of(tmp_path / "protocols", "12s"))},
                "alerts": {"receivers": [receiver_entry(partner)]},
                "effects": {"cut_deadline": "60s"},
            },
            partner=partner,
        ) as daemon,
        ffmpeg_copying(brawl, f"{cutting.url}/live/loud") as in_mid_cut,
        ffmpeg_copying(brawl, f"{waiting.url}/live/loud") as under_review,
    ):
        waiting.carry_out.set()
        urgent = await incident_in(daemon, "waiting", "urgent")
        async with asyncio.timeout(DEADLINE_S):
            await cutting.asked.wait()
        began_s = time.monotonic()
        assert await daemon.stop() == 0
        assert time.monotonic() - began_s < STOP_WITHIN_S
        assert "Traceback" not in daemon.log
        assert [in_mid_cut.returncode, under_review.returncode] == [None, None]
        assert waiting.cuts == 0
        cutting.asked.clear()

        await daemon.start()
        async with asyncio.timeout(DEADLINE_S):
            await cutting.asked.wait()
        cut_incident = await incident_in(daemon, "cutting", "containing")
        (cut,) = effects(await detail_of(daemon, cut_incident), "cut")
        assert cut["finished_at"] is None
        cutting.carry_out.set()
        async with asyncio.timeout(DEADLINE_S):
            assert await in_mid_cut.wait() != 0
            assert await under_review.wait() != 0
        assert (await incident_in(daemon, "cutting", "contained"))["incident_id"] == cut_incident["incident_id"]
        assert (await incident_in(daemon, "waiting", "contained"))["incident_id"] == urgent["incident_id"]
        await told(partner, "cutting", "contained")
        await told(partner, "waiting", "contained")

        for incident in (cut_incident, urgent):
            detail = await detail_of(daemon, incident)
            for kind in ("cut", "block"):
                assert [effect["outcome"] for effect in effects(detail, kind)] == ["succeeded"]
        assert [cutting.cuts, waiting.cuts] == [1, 1]
        assert len(await daemon.incidents()) == 2
        told_of = Counter((alert.event["subject"], alert.event["data"]["sequence"]) for alert in partner.taken)
        assert set(told_of.values()) == {1}, told_of
        # The deadline that it had, not one that begins anew with the daemon.
        timeline = (await detail_of(daemon, urgent))["timeline"]
        (acted,) = [step for step in timeline if step["after"] == "containing" != step["before"]]
        assert acted["reason"] == "deadline_passed"
        late_s = (datetime.fromisoformat(acted["at"]) - datetime.fromisoformat(urgent["review_due"])).total_seconds()
        assert 0 <= late_s < 10


async def test_a_dry_run_of_everything_cuts_and_blocks_nobody_anywhere(tmp_path: Path, brawl: Path) -> None:
    port = free_port()
    async with (
        Partner() as partner,
        PatientRelay(f"http://127.0.0.1:{port}/gate/out") as relay,
        RealDaemon(
            tmp_path,
            {
                "web": {"listen": f"127.0.0.1:{port}"},
                "dry_run": True,
                "servers": [relay_entry("out", relay.url, serve=False)],
                "watch": {"watchers": 1},
                "protocol": {"default": "immediate"},
                "alerts": {"receivers": [receiver_entry(partner)]},
            },
            partner=partner,
        ) as daemon,
        ffmpeg_copying(brawl, f"{relay.url}/live/loud") as loud,
    ):
        incident = await incident_in(daemon, "out", "contained")
        await nobody_was_touched(Site(daemon, partner, {}), "out", incident)
        assert (await daemon.get("/api/v1/status"))["dry_run"] is True
        assert loud.returncode is None
        assert not relay.asked.is_set()
