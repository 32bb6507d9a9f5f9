from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from monitor.config.servers import StaticServer
from monitor.errors import (
    ConfigError,
    GateRequestError,
    MediaServerRefused,
    MediaServerUnreachable,
    UnsafeCallRefused,
)
from monitor.servers.port import EndsStreams, GateReply, RawGateRequest
from monitor.servers.static.adapter import StaticMediaServer
from monitor.servers.static.command import run_cut_command
from monitor.vocabulary import StreamRef
from tests.fakes.clock import ManualClock
from tests.fakes.waiting import eventually


def section(url: str = "rtmp://192.0.2.1/live/cam", **settings: object) -> StaticServer:
    entry = {"kind": "static", "name": "cams", "streams": [{"name": "cam", "url": url}]}
    return StaticServer.model_validate(entry | settings)


CAM = StreamRef("cams", "static", "cam")


async def sessions(server: StaticMediaServer) -> list[str]:
    return [stream.session for stream in await server.list_streams()]


async def test_every_configured_stream_is_listed_as_live() -> None:
    clock = ManualClock()
    streams = [{"name": "a", "url": "rtsp://192.0.2.1/1"}, {"name": "b", "url": "https://host/x.m3u8"}]
    server = StaticMediaServer(section(streams=streams), clock=clock)

    listed = await server.list_streams()

    assert [stream.ref for stream in listed] == [StreamRef("cams", "static", "a"), StreamRef("cams", "static", "b")]
    assert [stream.session for stream in listed] == ["1", "1"]
    assert listed[0].started_at == clock.now()


async def test_a_file_is_watched_once(tmp_path: Path) -> None:
    clock = ManualClock()
    server = StaticMediaServer(section(str(tmp_path / "a.mp4")), clock=clock)
    assert isinstance(server, EndsStreams)
    assert await sessions(server) == ["1"]

    server.mark_ended(CAM)

    assert await sessions(server) == []
    await clock.advance(3600)
    assert await sessions(server) == []


@pytest.mark.parametrize(
    "settings", [{"url": "/video/a.mp4", "loop_files": True}, {"url": "rtmp://192.0.2.1/live/cam"}]
)
async def test_what_comes_back_is_listed_again_after_the_delay_as_a_new_publication(
    settings: dict[str, object],
) -> None:
    clock = ManualClock()
    url = str(settings.pop("url"))
    server = StaticMediaServer(section(url, restart_delay="5s", **settings), clock=clock)

    server.mark_ended(CAM)
    server.mark_ended(CAM)

    await clock.advance(4.9)
    assert await sessions(server) == []
    await clock.advance(0.2)
    assert await sessions(server) == ["2"]
    assert (await server.list_streams())[0].started_at == clock.now()


async def test_the_end_of_an_unknown_stream_is_ignored() -> None:
    server = StaticMediaServer(section())

    server.mark_ended(StreamRef("cams", "live", "cam"))
    server.mark_ended(StreamRef("other", "static", "cam"))
    server.mark_ended(StreamRef("cams", "static", "nobody"))

    assert await sessions(server) == ["1"]


def test_addresses_are_filled_in_and_files_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def address(url: str) -> str:
        return StaticMediaServer(section(url), environ={"KEY": "s3cret", "HOST": "h"}).pull_url(CAM)

    assert address("rtmps://${HOST}/live/${KEY}") == "rtmps://h/live/s3cret"
    assert address("a b.mp4") == str(tmp_path / "a b.mp4")
    assert address("file:///videos/a.mp4") == "/videos/a.mp4"
    # A relative path that looks like one of FFmpeg's own protocols is a path.
    assert address("concat:a.mp4|b.mp4") == str(tmp_path / "concat:a.mp4|b.mp4")


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "udp://239.0.0.1:1", "subfile,,x://a", "rtmp://", "srt://h:1", "data://x"]
)
def test_addresses_that_cannot_be_watched_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="cannot be watched"):
        StaticMediaServer(section(url))


def test_a_variable_that_is_not_set_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="CAMERA_KEY"):
        StaticMediaServer(section("rtmp://h/live/${CAMERA_KEY}"), environ={})


def test_only_configured_streams_have_an_address() -> None:
    with pytest.raises(UnsafeCallRefused):
        StaticMediaServer(section()).pull_url(StreamRef("cams", "static", "nobody"))


async def test_without_a_way_to_cut_nothing_is_claimed() -> None:
    async with StaticMediaServer(section()) as server:
        result = await server.cut(CAM)

        assert not server.capabilities.cut
        assert (result.matched, result.verified) == (0, False)
        assert await sessions(server) == ["1"]
        assert any("cannot be cut" in warning for warning in await server.probe())


async def test_files_that_are_not_there_are_warned_of_without_their_name(tmp_path: Path) -> None:
    async with StaticMediaServer(section(str(tmp_path / "s3cret.mp4"), cut_command=["true"])) as server:
        assert await server.probe() == ("1 of the configured files cannot be found",)
        (tmp_path / "s3cret.mp4").touch()
        assert await server.probe() == ()


@asynccontextmanager
async def webhook(status: int) -> AsyncIterator[tuple[str, list[object]]]:
    bodies: list[object] = []

    async def handle(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    app = web.Application()
    app.router.add_post("/cut", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/cut", bodies
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_any_2xx_of_the_webhook_is_a_cut(status: int) -> None:
    clock = ManualClock()
    async with webhook(status) as (url, bodies), StaticMediaServer(section(cut_webhook=url), clock=clock) as server:
        result = await server.cut(CAM, "1")

        assert (result.matched, result.verified) == (1, True)
        assert bodies == [{"server": "cams", "app": "static", "name": "cam", "session": "1"}]
        assert await sessions(server) == []
        await clock.advance(59)
        assert await sessions(server) == []
        await clock.advance(2)
        assert await sessions(server) == ["2"]


@pytest.mark.parametrize("status", [302, 400, 404, 500])
async def test_any_other_answer_of_the_webhook_is_a_failure(status: int) -> None:
    async with webhook(status) as (url, _), StaticMediaServer(section(cut_webhook=url)) as server:
        with pytest.raises(MediaServerRefused):
            await server.cut(CAM)

        assert await sessions(server) == ["1"]


async def test_an_unreachable_webhook_is_a_failure() -> None:
    async with StaticMediaServer(section(cut_webhook="http://127.0.0.1:1/cut")) as server:
        with pytest.raises(MediaServerUnreachable):
            await server.cut(CAM)

        assert await sessions(server) == ["1"]


async def test_an_earlier_session_and_a_second_cut_call_nobody() -> None:
    async with webhook(200) as (url, bodies), StaticMediaServer(section(cut_webhook=url)) as server:
        stale = await server.cut(CAM, "0")
        await server.cut(CAM, "1")
        again = await server.cut(CAM)

    assert (stale.matched, stale.verified) == (again.matched, again.verified) == (0, True)
    assert len(bodies) == 1


ECHO = [sys.executable, "-c", "import json,sys;open(sys.argv[1],'w').write(json.dumps(sys.argv[2:]))"]


async def test_the_command_gets_the_name_as_one_argument_and_no_shell(tmp_path: Path) -> None:
    name = "a b; touch evil $(touch evil) `touch evil` \"'{name}"
    streams = [{"name": name, "url": "rtmp://h/live/x"}]
    command = [*ECHO, str(tmp_path / "out"), "--stream={name}", "{name}", "plain"]
    async with StaticMediaServer(section(streams=streams, cut_command=command)) as server:
        result = await server.cut(StreamRef("cams", "static", name))

    assert (result.matched, result.verified) == (1, True)
    assert json.loads((tmp_path / "out").read_text()) == [f"--stream={name}", name, "plain"]


@pytest.mark.parametrize("command", [["false"], ["/nonexistent/program"], ["/"], ["true\0"]])
async def test_a_command_that_fails_is_a_failure(command: list[str]) -> None:
    async with StaticMediaServer(section(cut_command=command)) as server:
        with pytest.raises(MediaServerRefused):
            await server.cut(CAM)

        assert await sessions(server) == ["1"]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def _children_of(marker: Path) -> list[int]:
    def read() -> list[int]:
        return [int(pid) for pid in marker.read_text().split()] if marker.exists() else []

    async def written() -> list[int] | None:
        pids = read()
        return pids if len(pids) == 2 else None

    return await eventually(written)


async def _all_dead(pids: list[int]) -> bool:
    return not any(_alive(pid) for pid in pids)


async def test_a_command_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    marker = tmp_path / "pids"
    command = ["sh", "-c", f"sleep 100 & echo $$ $! > {marker}; wait"]

    with pytest.raises(MediaServerUnreachable):
        await run_cut_command(command, name="cam", timeout_s=1.0)

    pids = await _children_of(marker)
    assert await eventually(lambda: _all_dead(pids))


async def test_cancelling_a_cut_kills_the_command(tmp_path: Path) -> None:
    marker = tmp_path / "pids"
    command = ["sh", "-c", f"sleep 100 & echo $$ $! > {marker}; wait"]
    cutting = asyncio.create_task(run_cut_command(command, name="cam", timeout_s=100))
    pids = await _children_of(marker)

    cutting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cutting

    assert await eventually(lambda: _all_dead(pids))


def test_there_is_no_gate() -> None:
    server = StaticMediaServer(section())

    with pytest.raises(GateRequestError):
        server.parse_gate_request(RawGateRequest("application/json", b"{}"))
    assert server.gate_reply(None, allow=False) == GateReply(403)
    assert not server.capabilities.synchronous_block


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "CAMERA_HOST", "192.0.2.9")

    assert StaticMediaServer(section("rtmp://${CAMERA_HOST}/x")).pull_url(CAM) == "rtmp://192.0.2.9/x"
