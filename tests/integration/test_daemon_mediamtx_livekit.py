"""The real daemon beside a MediaMTX and a LiveKit of the tests' own: found, watched, cut, and kept out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor.demo.stage import free_port
from tests.fakes.daemon import RealDaemon
from tests.fakes.fake_livekit import KEY, SECRET, FakeLiveKit
from tests.fakes.fake_mediamtx import FakeMediaMtx, operators_authentication
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(180)]

STUDIO = {"user": "studio", "password": "s3cret-of-the-studio"}
GATE_TOKEN = "0123456789abcdef-gate"


@asynccontextmanager
async def daemon_beside(folder: Path) -> AsyncIterator[tuple[RealDaemon, FakeMediaMtx, FakeLiveKit]]:
    """Run it on both, with MediaMTX's authentication chained to the operator's own, and LiveKit's webhooks at the gate."""
    listen = f"127.0.0.1:{free_port()}"
    gate = f"http://{listen}/gate"
    async with AsyncExitStack() as stack:
        auth_url, _ = await stack.enter_async_context(operators_authentication({STUDIO["user"]: STUDIO["password"]}))
        mediamtx = await stack.enter_async_context(FakeMediaMtx(auth_url=f"{gate}/mtx?token={GATE_TOKEN}"))
        livekit = await stack.enter_async_context(FakeLiveKit(webhook_url=f"{gate}/stages?token={GATE_TOKEN}"))
        config: dict[str, Any] = {
            "web": {"listen": listen, "gate_token": {"env": "GATE_TOKEN"}},
            "servers": [
                {
                    "name": "mtx",
                    "kind": "mediamtx",
                    "api_url": mediamtx.api_url,
                    "pull_url": mediamtx.hls_url,
                    "auth_url": auth_url,
                    "list_interval": "500ms",
                },
                {
                    "name": "stages",
                    "kind": "livekit",
                    "api_url": livekit.api_url,
                    "api_key": KEY,
                    "api_secret": {"env": "LIVEKIT_API_SECRET"},
                    "watch_url": f"{livekit.hls_url}/{{room}}/{{identity}}/index.m3u8",
                    # Long, so that only webhooks can bring anybody off in time.
                    "list_interval": "60s",
                },
            ],
        }
        environ = {"GATE_TOKEN": GATE_TOKEN, "LIVEKIT_API_SECRET": SECRET}
        daemon = await stack.enter_async_context(RealDaemon(folder, config, environ=environ))
        yield daemon, mediamtx, livekit


async def test_streams_are_found_watched_cut_and_kept_out(tmp_path: Path) -> None:
    async with daemon_beside(tmp_path) as (daemon, mediamtx, livekit):
        loud = await mediamtx.publish("live/loud", kind="rtspSession", **STUDIO)
        calm = await mediamtx.publish("live/calm", **STUDIO)
        anne, bob = await livekit.join("stage", "anne"), await livekit.join("stage", "bob")
        # The operator's own authentication decides: RTSP was asked for its password first, as it must be.
        assert (loud.answers, calm.answers) == ([401, 200], [200])
        assert not (await mediamtx.publish("live/guest", user="guest", password="guessed")).live

        # Watchers read with Livecordon's own user, about whom the operator is not asked.
        assert await eventually(lambda: daemon.scored("loud", "calm", "anne", "bob"), deadline_s=90)

        for server, app, name in (("mtx", "live", "loud"), ("stages", "stage", "anne")):
            block = {"server": server, "app": app, "name": name, "for": "10m", "why": "a threat"}
            status, said = await daemon.post("/api/v1/blocks", block)
            assert status == 201, said
        await loud.ended()
        await anne.ended()
        for _ in range(3):
            assert (await mediamtx.publish("live/loud", **STUDIO)).answers == [403]
            # LiveKit cannot keep anybody out, but tells at once.
            await (await livekit.join("stage", "anne")).ended()
        assert calm.live
        assert bob.live
        assert "Traceback" not in daemon.log
        assert all(word not in daemon.log for word in (STUDIO["password"], SECRET, GATE_TOKEN))

        await daemon.stop()
        assert not (await mediamtx.publish("live/late", **STUDIO)).live
        assert calm.live
        assert bob.live
