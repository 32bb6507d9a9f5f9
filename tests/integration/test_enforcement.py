"""Blocks by hand, strikes, reports and the command line: with the real daemon as a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from monitor.demo.stage import free_port
from tests.fakes.daemon import RealDaemon, ffmpeg_copying
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(180)]


async def command(daemon: RealDaemon, *arguments: str) -> tuple[int, str]:
    """Run `livecordon blocks` beside the daemon, or while it is stopped."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "monitor", "blocks", *arguments, "--config", str(daemon.folder / "config.yaml")),
        env=daemon.environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_who_breaks_the_rules_is_cut_kept_out_and_let_in_again(tmp_path: Path, calm: Path) -> None:
    relay = f"http://127.0.0.1:{free_port()}"
    config: dict[str, Any] = {
        "web": {"listen": f"127.0.0.1:{free_port()}"},
        "servers": [{"name": "demo", "kind": "embedded", "url": relay, "list_interval": "500ms"}],
        "policies": [{"code": "threats", "title": "No threats", "category": "violence", "tier": "most_serious"}],
        "reports": {"per_reporter": 2},
    }
    async with RealDaemon(tmp_path, config) as daemon:
        async with ffmpeg_copying(calm, f"{relay}/live/loud"):

            async def live() -> Any:
                return (await daemon.streams()).get("loud")

            stream = await eventually(live, deadline_s=40)
            stream_id = stream["stream_id"]

            # A user's report begins an incident under the policy of its category, and is shown.
            report = {"stream_id": stream_id, "category": "violence", "reporter": "u1", "text": "he has a gun"}
            status, reply = await daemon.post("/api/v1/reports", report)
            assert (status, reply["outcome"]) == (202, "taken")
            assert (await daemon.post("/api/v1/reports", report))[1]["outcome"] == "duplicate"
            status, refused = await daemon.post("/api/v1/reports", report)
            assert (status, refused["error"]["reason"]) == (429, "too_many_reports")
            other = {**report, "stream_id": "demo-0000000000000000", "reporter": "u2"}
            assert (await daemon.post("/api/v1/reports", other))[0] == 404
            detail = await daemon.get(f"/api/v1/incidents/{reply['incident_id']}")
            assert (detail["incident"]["policy"]["code"], detail["incident"]["reports"]) == ("threats", 1)
            assert [one["text"] for one in detail["reports"]] == ["he has a gun"]

            # Blocked by hand, the stream is cut although its incident's protocol would not have done so.
            code, said = await command(daemon, "add", "demo", "live", "loud", "--why", "a threat")
            assert (code, stream_id in said) == (0, True)

            async def gone() -> bool:
                return "loud" not in await daemon.streams()

            await eventually(gone, deadline_s=20)
        status, reply = await daemon.post("/api/v1/reports", {**report, "reporter": "u3"})
        assert (status, reply["outcome"], bool(reply["ended_at"])) == (202, "ended", True)

        # An offence elsewhere bars under the next name on the ladder, and survives a restart.
        offence = {"policy": "threats", "context": "none", "why": "a threat in the chat"}
        where = {"server": "demo", "app": "live", "name": "other"}
        assert (await daemon.post("/api/v1/strikes", {**offence, **where}))[0] == 201
        excused = await daemon.post("/api/v1/strikes", {**offence, **where, "context": "news"})
        assert excused[1]["number"] == 0
        assert await daemon.stop() == 0

        # While it is stopped, the command works on its store.
        code, said = await command(daemon, "list", "--json")
        assert (code, [json.loads(line)["name"] for line in said.splitlines()]) == (0, ["loud"])
        (tmp_path / "more.csv").write_text("server,app,name,until,why\ndemo,live,third,,spam\n")
        assert (await command(daemon, "import", str(tmp_path / "more.csv")))[0] == 0
        (tmp_path / "bad.csv").write_text("server,app,name,until,why\ndemo,live,third,soon,spam\n")
        code, said = await command(daemon, "import", str(tmp_path / "bad.csv"))
        assert (code, "bad.csv:2: until: this is no time" in said) == (2, True)

        await daemon.start()
        standing = (await daemon.get("/api/v1/strikes"))["strikes"]
        assert sorted(one["number"] for one in standing) == [0, 1]
        assert {one["title"] for one in (await daemon.get("/api/v1/blocks"))["blocks"]} == {"live/loud", "live/third"}
        assert await published(relay, calm, "other") is False
        assert await published(relay, calm, "loud") is False
        for one in standing:
            assert await daemon.delete(f"/api/v1/strikes/{one['strike_id']}", {"why": "appeal"}) == 204
        assert await published(relay, calm, "other") is True
        assert (await command(daemon, "remove", "demo", "live", "loud", "--why", "mistake"))[0] == 0
        assert (await command(daemon, "remove", "demo", "live", "loud", "--why", "mistake"))[0] == 1
        assert "Traceback" not in daemon.log
        store = (tmp_path / "data" / "livecordon.sqlite3").read_bytes()
        assert b"live\0other" not in store
        assert b"livelyother" not in store


async def published(relay: str, footage: Path, name: str) -> bool:
    """Whether the relay lets somebody publish under this name."""
    async with ffmpeg_copying(footage, f"{relay}/live/{name}") as process:
        try:
            async with asyncio.timeout(4):
                await process.wait()
        except TimeoutError:
            return True
        return False
