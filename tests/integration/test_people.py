"""The real daemon and its people: a pause over two crashes, a withdrawal past all routing, configuration read anew."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from typing_extensions import override

from monitor.cli.main import main
from monitor.demo.stage import free_port
from tests.fakes.daemon import START_DEADLINE_S, RealDaemon
from tests.fakes.receiver import SECRET, FakeReceiver
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(180)]

SECRET_VARIABLE = "LIVECORDON_TEST_RECEIVER_SECRET"
SCORED = Path(__file__).parents[1] / "fakes" / "scored_daemon.py"


class ScoredDaemon(RealDaemon):
    """The real daemon, except that its watchers score every stream high at once."""

    @override
    async def start(self) -> None:
        with (self.folder / "daemon.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(SCORED), str(self.folder / "config.yaml")),
                env=self.environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        await eventually(self._ready, deadline_s=START_DEADLINE_S)


def configured(streams: list[str], protocol: str, receivers: list[dict[str, Any]], hook: str) -> dict[str, Any]:
    return {
        "data_dir": "data",
        "web": {"listen": f"127.0.0.1:{free_port()}"},
        "servers": [
            {
                "name": "edge",
                "kind": "static",
                "cut_webhook": hook,
                "streams": [{"name": name, "url": f"rtmp://127.0.0.1:9/live/{name}"} for name in streams],
            }
        ],
        "protocol": {"default": protocol},
        "alerts": {"receivers": receivers},
    }


async def command(daemon: RealDaemon, *arguments: str) -> int:
    return await asyncio.to_thread(main, [*arguments, "--config", str(daemon.folder / "config.yaml")])


async def audited(daemon: RealDaemon) -> list[dict[str, Any]]:
    target = daemon.folder / "audit.ndjson"
    assert await command(daemon, "audit", "export", "-o", str(target)) == 0
    return [json.loads(line) for line in target.read_text().splitlines()]


async def test_a_pause_holds_over_two_crashes_and_what_it_kept_back_is_done_and_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts: list[Any] = []

    async def cut(request: web.Request) -> web.Response:
        cuts.append(await request.json())
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/cut", cut)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook = f"http://127.0.0.1:{runner.addresses[0][1]}/cut"
    async with FakeReceiver() as everything, FakeReceiver() as cuts_only:
        receivers = [
            {"name": "everything", "url": everything.url, "secrets": [{"env": SECRET_VARIABLE}]},
            {
                "name": "cuts-only",
                "url": cuts_only.url,
                "secrets": [{"env": SECRET_VARIABLE}],
                "events": ["contained"],
            },
        ]
        config = configured(["quiet"], "observe", receivers, hook)
        daemon = ScoredDaemon(tmp_path, config, environ={SECRET_VARIABLE: SECRET})
        async with daemon:
            assert await command(daemon, "pause", "--for", "20m", "--reason", "the cutter is being repaired") == 0
            assert await command(daemon, "pause", "--for", "2d", "--reason", "for ever") == 1
            await daemon.kill()
            config["servers"][0]["streams"] = [{"name": "loud", "url": "rtmp://127.0.0.1:9/live/loud"}]
            config["protocol"] = {"default": "immediate"}
            (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
            await daemon.start()

            async def waits() -> Any:
                for one in await daemon.incidents():
                    history = await daemon.get(f"/api/v1/incidents/{one['incident_id']}")
                    kinds = {effect["kind"]: effect for effect in history["effects"]}
                    if "paused True" in kinds.get("block", {}).get("detail", ""):
                        return history
                return None

            held = await eventually(waits, deadline_s=40)
            incident_id = held["incident"]["incident_id"]
            assert all(one["outcome"] is None for one in held["effects"] if one["kind"] in ("block", "cut"))
            metrics = await daemon.text("/metrics")
            assert "livecordon_paused 1.0" in metrics
            assert "containment is paused on all media servers by local" in await daemon.text("/readyz?verbose")
            assert "the cutter is being repaired" in await daemon.text("/")
            assert (await daemon.get("/api/v1/blocks"))["blocks"] == []
            raised = (await everything.wait_for(1))[-1].event
            assert raised["data"]["paused_until"] is not None

            await daemon.kill()
            await daemon.start()
            assert [one["kind"] for one in (await daemon.get("/api/v1/silences"))["silences"]] == ["pause"]
            assert cuts == []
            assert cuts_only.requests == []
            assert await command(daemon, "resume", "--reason", "it is repaired") == 0
            assert await command(daemon, "resume", "--reason", "once more") == 1

            async def told() -> bool:
                return bool(cuts_only.requests)

            await eventually(told, deadline_s=40)
            assert [one["name"] for one in cuts] == ["loud"] * len(cuts) != []
            assert [one.event["type"].split(".")[-1] for one in cuts_only.requests] == ["contained"]
            assert len((await daemon.get("/api/v1/blocks"))["blocks"]) == 1

            status, _ = await daemon.post(
                f"/api/v1/incidents/{incident_id}/review",
                {"decision": "dismiss", "why": "a stage fight", "reason": "staged_or_game"},
            )
            assert status == 200

            async def taken_back() -> bool:
                return any(one.event["type"].endswith(".dismissed") for one in cuts_only.requests)

            await eventually(taken_back, deadline_s=20)
            status, late = await daemon.post(
                f"/api/v1/incidents/{incident_id}/review", {"decision": "confirm", "why": "I think it was real"}
            )
            assert status == 409
            assert late["error"]["review"]["reason"] == "staged_or_game"
            assert {one["what"] for one in late["error"]["happened"]} >= {"block", "cut"}
            assert [one["action"] for one in late["error"]["undo"]] == ["none"]
            await daemon.stop()
            monkeypatch.setenv(SECRET_VARIABLE, SECRET)
            assert await command(daemon, "audit", "verify") == 0
            log = await audited(daemon)
            actions = [entry["action"] for entry in log]
            assert {"pause_begun", "pause_ended", "effect_paused", "configuration_in_force"} <= set(actions)
            marked = [entry["detail"]["effect"] for entry in log if entry["action"] == "effect_paused"]
            assert len(marked) == len(set(marked)), "marked once, also over a crash"
    await runner.cleanup()


async def test_a_configuration_is_read_anew_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    protocols = tmp_path / "protocols"
    protocols.mkdir()
    shipped = Path(__file__).parents[2] / "protocols"
    for one in shipped.glob("*.yaml"):
        (protocols / one.name).write_text(one.read_text())
    config = configured(["one"], "observe", [], "http://127.0.0.1:9/cut")
    config["protocol"]["directory"] = "protocols"
    daemon = RealDaemon(tmp_path, config)
    async with daemon:

        async def protocol() -> str:
            streams = (await daemon.get("/api/v1/streams"))["streams"]
            return str(streams[0]["protocol"]) if streams else ""

        async def listed() -> bool:
            return await protocol() == "observe"

        await eventually(listed)

        async def reloaded(rows: int) -> list[dict[str, Any]]:
            wanted = ("configuration_in_force", "configuration_refused")

            async def enough() -> list[dict[str, Any]]:
                found = [entry for entry in await audited(daemon) if entry["action"] in wanted]
                return found if len(found) >= rows else []

            return await eventually(enough, deadline_s=30, interval_s=0.3)

        async def hang_up(changed: dict[str, Any], rows: int) -> dict[str, Any]:
            file.write_text(yaml.safe_dump(changed))
            assert daemon._process is not None
            daemon._process.send_signal(signal.SIGHUP)
            return (await reloaded(rows))[-1]

        refused = await hang_up({**config, "protocol": {"default": "nonsense"}}, 2)
        assert refused["action"] == "configuration_refused"
        assert await protocol() == "observe"
        assert "livecordon_config_reload_success 0.0" in await daemon.text("/metrics")

        moved = {**config, "web": {"listen": "127.0.0.1:1"}, "protocol": {"default": "immediate"}}
        refused = await hang_up(moved, 3)
        assert refused["action"] == "configuration_refused"
        assert "these take a restart: web.listen" in daemon.log
        assert await protocol() == "observe"

        text = (protocols / "immediate.yaml").read_text()
        (protocols / "immediate.yaml").write_text(text.replace("protocol: immediate", "protocol: at-once", 1))
        (protocols / "immediate.yaml").rename(protocols / "at-once.yaml")
        good = {**config, "protocol": {"default": "at-once", "directory": "protocols"}}
        taken = await hang_up(good, 4)
        assert taken["action"] == "configuration_in_force"
        assert [one["name"] for one in taken["detail"]["protocols"]] == ["at-once"]
        assert taken["detail"]["configuration"] != taken["detail"]["before"]
        assert await protocol() == "at-once"
        assert "livecordon_config_reload_success 1.0" in await daemon.text("/metrics")
        await daemon.stop()
        assert await command(daemon, "audit", "verify") == 0
        assert (tmp_path / "data" / "audit.head").exists()
