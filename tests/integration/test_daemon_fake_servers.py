"""The real daemon beside fakes of media servers that cannot be installed here: found, watched, cut, and kept out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor.demo.stage import free_port
from tests.fakes.daemon import RealDaemon
from tests.fakes.ovenmediaengine import FakeOvenMediaEngine, fake_ovenmediaengine
from tests.fakes.ovenmediaengine_site import SECRETS
from tests.fakes.srs import FakeSrs, fake_srs
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(180)]


@asynccontextmanager
async def daemon_beside(folder: Path, srs: FakeSrs, engine: FakeOvenMediaEngine) -> AsyncIterator[RealDaemon]:
    """Run it on both, with both of their hooks at its gate."""
    listen = f"127.0.0.1:{free_port()}"
    config: dict[str, Any] = {
        "web": {"listen": listen, "gate_token": {"env": "GATE_TOKEN"}},
        "servers": [
            {
                "name": "srs",
                "kind": "srs",
                "api_url": srs.url,
                "username": "admin",
                "password": {"env": "SRS_PASSWORD"},
                "rtmp_url": "rtmp://127.0.0.1:1935",
                "flv_url": srs.url,
                "list_interval": "500ms",
            },
            {
                "name": "ome",
                "kind": "ovenmediaengine",
                "api_url": engine.url,
                "access_token": {"env": "OME_TOKEN"},
                "webhook_secret": {"env": "OME_WEBHOOK_KEY"},
                "hls_urls": {"default": engine.url},
                "list_interval": "500ms",
            },
        ],
    }
    srs.login = "admin:s3cret"
    token = "0123456789abcdef-gate"
    srs.hook_url = f"http://{listen}/gate/srs?token={token}"
    engine.webhook_url = f"http://{listen}/gate/ome?token={token}&vhost=default"
    environ = SECRETS | {"SRS_PASSWORD": "s3cret", "GATE_TOKEN": token}
    async with RealDaemon(folder, config, environ=environ) as daemon:
        yield daemon


async def test_streams_are_found_watched_cut_and_kept_out(tmp_path: Path) -> None:
    async with (
        fake_srs() as srs,
        fake_ovenmediaengine() as engine,
        daemon_beside(tmp_path, srs, engine) as daemon,
    ):
        loud = {"srs": await srs.publish("loud"), "ome": await engine.publish("roar")}
        calm = {"srs": await srs.publish("calm"), "ome": await engine.publish("quiet")}
        assert all(encoder.live for encoder in (*loud.values(), *calm.values()))

        assert await eventually(lambda: daemon.scored("loud", "calm", "roar", "quiet"), deadline_s=60)

        for server, app, name in (("srs", "live", "loud"), ("ome", "app", "roar")):
            block = {"server": server, "app": app, "name": name, "for": "10m", "why": "a threat"}
            status, said = await daemon.post("/api/v1/blocks", block)
            assert status == 201, said

        async def cut() -> bool:
            return not any(encoder.live for encoder in loud.values())

        assert await eventually(cut, deadline_s=20)
        for _ in range(5):
            assert not (await srs.publish("loud")).live
            assert not (await engine.publish("roar")).live
        assert (await srs.publish("other")).live
        # What nobody could watch is not let in.
        assert not (await srs.publish("a?vhost=b")).live
        assert not (await engine.publish("roar%20")).live
        # Signed with another key, or not at all.
        engine.webhook_secret = "guessed"
        assert not (await engine.publish("third")).live
        assert all(encoder.live for encoder in calm.values())
        assert "Traceback" not in daemon.log
        assert "s3cret" not in daemon.log
        assert SECRETS["OME_TOKEN"] not in daemon.log

        # Nobody new comes in while the gate is away; who is live stays.
        await daemon.stop()
        assert not (await srs.publish("late")).live
        assert all(encoder.live for encoder in calm.values())
