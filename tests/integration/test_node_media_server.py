"""The traps of a real Node-Media-Server, each shown on the server itself."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from monitor.config.servers import NodeMediaServer
from monitor.errors import MediaServerRefused, MediaServerUnreachable
from monitor.servers.contract.suite import can_be_watched
from monitor.servers.node_media_server.adapter import NodeMediaServerAdapter
from monitor.servers.port import GateReply, LiveStream, RawGateRequest
from monitor.vocabulary import StreamRef
from tests.fakes.checkout import ROOT
from tests.fakes.hook import HookServer
from tests.fakes.node_media_server import ENVIRON, PASSWORD, RealNodeMediaServer, section_for
from tests.fakes.publishers import ffmpeg_publishing
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.node_media_server

CAM = StreamRef("edge", "live", "cam")


@asynccontextmanager
async def edge(
    directory: Path, *, notify_url: str = "", entry: dict[str, object] | None = None, **auth: object
) -> AsyncIterator[tuple[RealNodeMediaServer, NodeMediaServerAdapter]]:
    async with (
        RealNodeMediaServer(directory, notify_url=notify_url, **auth) as real,
        NodeMediaServerAdapter(section_for(real, **(entry or {})), environ=ENVIRON) as server,
    ):
        yield real, server


async def one_stream(server: NodeMediaServerAdapter) -> LiveStream:
    async def look() -> LiveStream | None:
        return next(iter(await server.list_streams()), None)

    return await eventually(look)


async def described(server: NodeMediaServerAdapter) -> LiveStream | None:
    """The stream, once its metadata has come."""
    return next((stream for stream in await server.list_streams() if stream.video == "H264 320x240"), None)


async def as_listed(real: RealNodeMediaServer) -> list[dict[str, Any]]:
    """What the API itself says, without the adapter."""
    async with aiohttp.ClientSession(real.api_url) as client:
        async with client.post("/api/v1/login", json={"username": "admin", "password": PASSWORD}) as answer:
            token = (await answer.json())["data"]["token"]
        async with client.get("/api/v1/streams", headers={"Authorization": f"Bearer {token}"}) as answer:
            streams: list[dict[str, Any]] = (await answer.json())["data"]["streams"]
            return streams


async def flv_of(real: RealNodeMediaServer, name: str) -> bytes:
    """What a viewer who joins now is sent at once."""
    received = b""
    async with aiohttp.ClientSession(real.api_url) as client, client.get(f"/live/{name}.flv") as answer:
        async with asyncio.timeout(10):
            while len(received) < 2000:
                received += await answer.content.readany()
    return received


async def test_what_is_listed_after_a_cut_is_over_and_who_joins_sees_the_last_pictures(tmp_path: Path) -> None:
    async with edge(tmp_path) as (real, server), ffmpeg_publishing(f"{real.rtmp_url}/live/cam") as encoder:
        stream = await eventually(lambda: described(server))

        assert (await server.cut(CAM)).verified

        await asyncio.wait_for(encoder.wait(), 10)
        (left,) = await as_listed(real)
        assert (left["status"], left["publisher"]["id"]) == ("reconnecting", stream.session)
        assert await server.list_streams() == ()
        assert b"\x27" in await flv_of(real, "cam"), "a keyframe: this is what capabilities.residue_after_cut warns of"


async def test_a_publisher_that_comes_back_at_once_is_asked_about_again_and_has_a_session_of_its_own(
    tmp_path: Path,
) -> None:
    calls: list[tuple[str, str]] = []

    def decide(raw: RawGateRequest) -> GateReply:
        asked = server.parse_gate_request(raw)
        calls.append((asked.call, asked.session))
        assert asked.publisher_address == "127.0.0.1"
        return server.gate_reply(asked, allow=True)

    async with HookServer(decide) as hook, edge(tmp_path, notify_url=hook.url) as (real, server):
        async with ffmpeg_publishing(f"{real.rtmp_url}/live/cam"):
            first = await one_stream(server)
            await server.cut(CAM, first.session)
        async with ffmpeg_publishing(f"{real.rtmp_url}/live/cam"):
            second = await one_stream(server)
            assert (await server.cut(CAM, first.session)).matched == 0

            assert second.started_at == first.started_at, "it goes on with the figures of the one before"
            assert second.session != first.session
            assert [one for one in calls if one[0] == "publish"] == [
                ("publish", first.session),
                ("publish", second.session),
            ]


async def test_while_the_gate_is_down_everybody_may_publish(tmp_path: Path) -> None:
    async with (
        edge(tmp_path, notify_url="http://127.0.0.1:9/gate") as (real, server),
        ffmpeg_publishing(f"{real.rtmp_url}/live/cam") as encoder,
    ):
        assert not server.capabilities.gate_down_refuses
        await one_stream(server)
        assert encoder.returncode is None


async def test_any_answer_but_200_hangs_up(tmp_path: Path) -> None:
    async with (
        HookServer(lambda _raw: GateReply(204)) as hook,
        edge(tmp_path, notify_url=hook.url) as (real, _server),
        ffmpeg_publishing(f"{real.rtmp_url}/live/cam") as encoder,
    ):
        await asyncio.wait_for(encoder.wait(), 10)


async def test_a_publisher_that_does_not_hang_up_goes_on_and_is_not_reported_as_cut(tmp_path: Path) -> None:
    """Node-Media-Server closes its own direction only; whoever ignores that stays on air."""
    async with edge(tmp_path) as (real, server), AsyncExitStack() as stack:
        deaf = await stack.enter_async_context(deaf_proxy(real.rtmp_port))
        encoder = await stack.enter_async_context(ffmpeg_publishing(f"rtmp://127.0.0.1:{deaf}/live/cam"))
        stream = await one_stream(server)

        result = await server.cut(CAM)

        assert (result.matched, result.verified) == (1, False)
        assert (await one_stream(server)).session == stream.session
        assert encoder.returncode is None


async def test_a_refused_publisher_that_does_not_hang_up_is_shown_without_being_listed(tmp_path: Path) -> None:
    """A hole in the server, which the page says how to close: nothing that Livecordon asks shows this one."""
    async with edge(tmp_path, publish=True) as (real, server), AsyncExitStack() as stack:
        deaf = await stack.enter_async_context(deaf_proxy(real.rtmp_port))
        viewer = asyncio.create_task(flv_of(real, "cam"))
        await stack.enter_async_context(ffmpeg_publishing(f"rtmp://127.0.0.1:{deaf}/live/cam"))

        assert len(await viewer) >= 2000
        assert await server.list_streams() == ()


@asynccontextmanager
async def deaf_proxy(port: int) -> AsyncIterator[int]:
    """Pass everything on to `port` and back, but not that the server has closed the connection."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, out = await asyncio.open_connection("127.0.0.1", port)
        back = asyncio.create_task(pipe(inner, writer))
        try:
            await pipe(reader, out)
        except ConnectionError:
            pass  # the encoder was killed
        finally:
            back.cancel()
            out.close()
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


async def test_a_token_that_is_no_longer_taken_is_replaced(tmp_path: Path) -> None:
    async with edge(tmp_path) as (real, server):
        await server.list_streams()
        await real.stop()
        with pytest.raises(MediaServerUnreachable):
            await server.list_streams()
        await real.restart(jwt={"secret": "1" * 64, "users": [{"username": "admin", "password": PASSWORD}]})

        assert await server.list_streams() == ()


async def test_a_wrong_password_is_degraded_and_not_empty_and_locks_nobody_out(tmp_path: Path) -> None:
    async with edge(tmp_path, entry={"password": {"env": "NMS_PLAY_SECRET"}}) as (real, server):
        for _ in range(20):
            with pytest.raises(MediaServerRefused) as caught:
                await server.list_streams()
            assert caught.value.reason == "unauthorized"

        assert await as_listed(real) == [], "the right password still opens"


async def test_addresses_are_signed_where_only_signed_ones_play(tmp_path: Path) -> None:
    entry: dict[str, object] = {"play_secret": {"env": "NMS_PLAY_SECRET"}}
    async with (
        edge(tmp_path, entry=entry, play=True) as (real, server),
        ffmpeg_publishing(f"{real.rtmp_url}/live/cam"),
    ):
        await one_stream(server)

        assert await can_be_watched(server.pull_url(CAM))
        assert not await can_be_watched(f"{real.rtmp_url}/live/cam", timeout_s=3)
        assert not any("play_secret" in warning for warning in await server.probe())


async def test_a_probe_tells_what_is_not_set_up(tmp_path: Path) -> None:
    async with edge(tmp_path, play=True) as (_real, server):
        notifications, signing = await server.probe()

    assert "notify.url is empty" in notifications
    assert "set play_secret" in signing


async def test_publishers_over_http_are_asked_about_listed_and_cut_like_others(tmp_path: Path) -> None:
    def decide(raw: RawGateRequest) -> GateReply:
        return server.gate_reply(server.parse_gate_request(raw), allow=True)

    async with HookServer(decide) as hook, edge(tmp_path, notify_url=hook.url) as (real, server):
        options = ("-method", "POST", "-f", "flv", f"{real.api_url}/live/web.flv")
        async with ffmpeg_publishing(f"{real.rtmp_url}/live/cam", options=options):
            streams = await eventually(lambda: two_streams(server))
            web = next(stream for stream in streams if stream.ref.name == "web")
            assert any(b'"web"' in raw.body for raw in hook.requests)

            result = await server.cut(web.ref)

            assert (result.matched, result.verified) == (1, True)
            assert web.ref not in [stream.ref for stream in await server.list_streams()]


async def two_streams(server: NodeMediaServerAdapter) -> tuple[LiveStream, ...] | None:
    streams = await server.list_streams()
    return streams if len(streams) == 2 else None


async def test_the_page_shows_what_the_tests_run() -> None:
    page = (ROOT / "docs" / "media-servers" / "node-media-server.md").read_text(encoding="utf-8")
    (entry,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    section = NodeMediaServer.model_validate(yaml.safe_load(entry)["servers"][0])
    (settings,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    ports = {kind: json.loads(settings)[kind]["port"] for kind in ("rtmp", "http")}

    assert section.rtmp_url == f"rtmp://127.0.0.1:{ports['rtmp']}"
    assert section.api_url == f"http://127.0.0.1:{ports['http']}"
    assert json.loads(settings)["notify"]["url"].endswith(f"/gate/{section.name}")
    assert section.username == json.loads(settings)["auth"]["jwt"]["users"][0]["username"]
