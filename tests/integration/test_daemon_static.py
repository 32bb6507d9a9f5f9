"""Streams with known addresses: files, looped files, cameras that are away, and the operator's own ways to cut."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from monitor.demo.partner import Partner
from monitor.demo.stage import free_port
from monitor.servers.embedded.relay import Relay
from monitor.vocabulary import StreamRef
from tests.fakes.daemon import RealDaemon, ffmpeg_copying, receiver_entry
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

DEADLINE_S = 60.0
KEY = "k3y-0f-th3-camera"
KEY_VARIABLE = "LIVECORDON_TEST_CAMERA_KEY"
AWKWARD_NAME = "gate 2; touch $(rebooted) & 'x"


@dataclass(slots=True)
class CutHook:
    """An operator's webhook that fails the first time."""

    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[CutHook]:
        app = web.Application()
        app.router.add_post("/cut", self._cut)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/cut"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _cut(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        return web.Response(status=503 if len(self.asked) == 1 else 204)


@dataclass(frozen=True, slots=True)
class Site:
    """One daemon that watches everything at once, from its start."""

    folder: Path
    daemon: RealDaemon
    partner: Partner
    hook: CutHook

    async def stream(self, server: str, name: str) -> Any:
        """Return what the API says of a stream, or None."""
        streams = (await self.daemon.get("/api/v1/streams"))["streams"]
        return next((stream for stream in streams if stream["stream_id"] == stream_id(server, name)), None)

    async def incident(self, server: str, state: str) -> Any:
        """Wait for a server's incident to be in this state, and return it with its history."""

        async def look() -> Any:
            found = (one for one in await self.daemon.incidents() if (one["server"], one["state"]) == (server, state))
            return next(found, None)

        incident = await eventually(look, deadline_s=DEADLINE_S, interval_s=0.1)
        return await self.daemon.get(f"/api/v1/incidents/{incident['incident_id']}")

    def told(self, event: str, server: str, name: str) -> list[str]:
        """Return the log's lines on this event of a stream."""
        wanted = stream_id(server, name)
        return [line for line in self.daemon.log.splitlines() if f" {event} " in line and wanted in line]


def stream_id(server: str, name: str) -> str:
    return StreamRef(server, "static", name).stream_id


def entry(server: str, streams: dict[str, str], **settings: object) -> dict[str, Any]:
    return {
        "name": server,
        "kind": "static",
        "list_interval": "250ms",
        "streams": [{"name": name, "url": url} for name, url in streams.items()],
        **settings,
    }


async def beginning_of(footage: Path, target: Path, *, seconds: int) -> Path:
    """Copy the first seconds of a file."""
    process = await asyncio.create_subprocess_exec(
        *("ffmpeg", "-nostdin", "-loglevel", "error", "-i", str(footage), "-t", str(seconds), "-c", "copy", str(target))
    )
    assert await process.wait() == 0
    return target


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory, brawl: Path, calm: Path) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("static")
    clip = str(await beginning_of(calm, folder / "clip.mp4", seconds=6))
    away = free_port()
    async with AsyncExitStack() as stack:
        partner = await stack.enter_async_context(Partner())
        hook = await stack.enter_async_context(CutHook().listening())
        camera = await stack.enter_async_context(Relay())
        await stack.enter_async_context(ffmpeg_copying(brawl, f"{camera.url}/live/{KEY}"))
        variable = "${" + KEY_VARIABLE + "}"
        config = {
            "web": {"listen": f"127.0.0.1:{free_port()}"},
            "servers": [
                entry("once", {"clip": clip}, protocol="observe"),
                entry("looped", {"clip": clip}, protocol="observe", loop_files=True, restart_delay="250ms"),
                entry("hooked", {"ring": str(brawl)}, cut_webhook=hook.url),
                entry("commanded", {AWKWARD_NAME: str(brawl)}, cut_command=["touch", f"{folder}/cut-{{name}}"]),
                entry("keyed", {"camera": f"{camera.url}/live/{variable}"}),
                entry(
                    "away",
                    {
                        "rtmp": f"rtmp://127.0.0.1:{away}/live/{variable}",
                        "http": f"http://user:{variable}@127.0.0.1:{away}/cam.ts?key={variable}",
                    },
                ),
            ],
            "protocol": {"default": "immediate"},
            "alerts": {"receivers": [receiver_entry(partner)]},
            "log": {"level": "debug"},
        }
        daemon = await stack.enter_async_context(
            RealDaemon(folder, config, partner=partner, environ={KEY_VARIABLE: KEY})
        )
        yield Site(folder, daemon, partner, hook)
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log
        assert KEY not in daemon.log


async def test_a_file_is_watched_once_and_excused_and_a_looped_one_again_and_again(site: Site) -> None:
    async def looped_twice() -> bool:
        return len(site.told("stream_appeared", "looped", "clip")) >= 3

    await eventually(looped_twice, deadline_s=DEADLINE_S)
    for server in ("once", "looped"):
        assert any("state=ended" in line for line in site.told("watch_state", server, "clip"))
    assert len(site.told("stream_appeared", "once", "clip")) == 1
    assert len(site.told("stream_ended", "once", "clip")) == 1
    assert await site.stream("once", "clip") is None

    async def scored() -> Any:
        stream = await site.stream("looped", "clip")
        return stream if stream is not None and stream["last_scores"] else None

    stream = await eventually(scored, deadline_s=DEADLINE_S)
    assert stream["freshness"] == "fresh"


async def test_a_webhook_that_fails_once_is_called_again_and_then_the_stream_is_cut(site: Site) -> None:
    detail = await site.incident("hooked", "contained")
    assert [effect["outcome"] for effect in detail["effects"] if effect["kind"] == "cut"] == ["succeeded"]
    assert site.hook.asked == [{"server": "hooked", "app": "static", "name": "ring", "session": "1"}] * 2
    assert await site.stream("hooked", "ring") is None


async def test_a_command_gets_the_name_as_it_is_and_the_stream_is_cut(site: Site) -> None:
    detail = await site.incident("commanded", "contained")
    assert [effect["outcome"] for effect in detail["effects"] if effect["kind"] == "cut"] == ["succeeded"]
    assert [path.name for path in site.folder.glob("cut-*")] == [f"cut-{AWKWARD_NAME}"]
    assert not (site.folder / "rebooted").exists()
    assert AWKWARD_NAME not in site.daemon.log
    assert await site.stream("commanded", AWKWARD_NAME) is None


async def test_an_address_that_refuses_connections_is_said_to_fail_and_tried_ever_more_rarely(site: Site) -> None:
    for name in ("rtmp", "http"):

        async def ever_more_rarely(name: str = name) -> bool:
            lines = [line for line in site.told("watch_state", "away", name) if "state=opening" in line]
            times = [datetime.fromisoformat(line.split()[0]).timestamp() for line in lines]
            pauses = [after - before for before, after in pairwise(times)]
            # Where the stream changes its watcher, they begin anew.
            return any(a < b < c and c > 1.0 for a, b, c in zip(pauses, pauses[1:], pauses[2:], strict=False))

        await eventually(ever_more_rarely, deadline_s=DEADLINE_S, interval_s=0.2)

        async def failed(name: str = name) -> Any:
            stream = await site.stream("away", name)
            return stream if stream["state"] == "failed" else None

        stream = await eventually(failed, deadline_s=DEADLINE_S)
        assert stream["detail"] == "the source cannot be reached"
        assert stream["last_scores"] == {}
        assert stream["verdict_age_s"] is None


async def test_where_nothing_can_cut_people_are_told_so_and_the_key_in_the_address_is_shown_nowhere(
    site: Site,
) -> None:
    detail = await site.incident("keyed", "cut_failed")
    assert [effect["outcome"] for effect in detail["effects"] if effect["kind"] == "cut"] == ["failed"]
    assert detail["evidence"]
    servers = (await site.daemon.get("/api/v1/status"))["servers"]
    assert {one["name"]: one["can_cut"] for one in servers} == {
        "once": False,
        "looped": False,
        "hooked": True,
        "commanded": True,
        "keyed": False,
        "away": False,
    }

    async def alarmed() -> bool:
        mine = [alert for alert in site.partner.taken if alert.event["data"]["server"] == "keyed"]
        return any(alert.event["data"]["state"] == "cut_failed" for alert in mine)

    await eventually(alarmed, deadline_s=DEADLINE_S)
    incident_id = detail["incident"]["incident_id"]
    shown = [
        await site.daemon.text(path)
        for path in (
            "/",
            "/blocks",
            f"/incidents/{incident_id}",
            "/metrics",
            "/readyz?verbose",
            "/api/v1/status",
            "/api/v1/streams",
            "/api/v1/incidents",
            f"/api/v1/incidents/{incident_id}",
            "/api/v1/blocks",
        )
    ]
    shown.append(site.daemon.log)
    shown.append(json.dumps([alert.event for alert in site.partner.taken]))
    shown += [str(path) for path in site.folder.rglob("*")]
    assert not [text for text in shown if KEY in text]
    written = [path for path in (site.folder / "data").rglob("*") if path.is_file()]
    assert any(path.suffix == ".sqlite3" for path in written)
    assert not [path for path in written if re.search(KEY.encode(), path.read_bytes())]
