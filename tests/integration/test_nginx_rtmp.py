"""The traps of a real nginx-rtmp, each shown on the server itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import av
import pytest
from aiohttp import ClientSession
from yarl import URL

from monitor.config.servers import NginxRtmpServer
from monitor.demo.nginx import NginxUnavailable, RealNginx, nginx_configuration
from monitor.errors import UnsafeCallRefused
from monitor.servers.nginx_rtmp.adapter import NginxRtmpMediaServer
from monitor.servers.port import GateReply, GateRequest, LiveStream, RawGateRequest
from monitor.vocabulary import StreamRef
from tests.fakes.hook import HookServer
from tests.fakes.nginx import section_for
from tests.fakes.publishers import ffmpeg_publishing
from tests.fakes.reading import can_be_watched
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.real_server

# Names that an adapter could confuse with each other, with a filter, or with a part of an address.
LIVE_HOSTILE_NAMES = (
    "cam",
    "cam.flv",
    "../cam",
    "a/b",
    "cam&name=other",
    "cam%00",
    "cam'\"<>#",
    "two words",
    "\u041a\u0430\u043c1\x01",
)


@asynccontextmanager
async def edge(directory: Path, **nginx_settings: object) -> AsyncIterator[tuple[RealNginx, NginxRtmpMediaServer]]:
    nginx = RealNginx(directory, **nginx_settings)  # type: ignore[arg-type]  # passed on as they are
    async with nginx, NginxRtmpMediaServer(section_for(nginx)) as server:
        yield nginx, server


async def streams_of(server: NginxRtmpMediaServer, count: int) -> tuple[LiveStream, ...]:
    async def look() -> tuple[LiveStream, ...] | None:
        streams = await server.list_streams()
        return streams if len(streams) == count else None

    return await eventually(look)


async def ended(process: asyncio.subprocess.Process) -> None:
    await asyncio.wait_for(process.wait(), 10)


async def test_streams_with_hostile_names_are_listed_apart_and_cut_one_by_one(tmp_path: Path) -> None:
    async with edge(tmp_path) as (nginx, server), AsyncExitStack() as stack:
        encoders = [
            await stack.enter_async_context(ffmpeg_publishing(f"{nginx.rtmp_url}/live/x", name=name))
            for name in LIVE_HOSTILE_NAMES
        ]
        streams = await streams_of(server, len(LIVE_HOSTILE_NAMES))
        assert len({stream.ref for stream in streams}) == len(LIVE_HOSTILE_NAMES)

        by_name = {stream.ref.name: stream for stream in streams}
        for name, encoder in zip(LIVE_HOSTILE_NAMES[:-1], encoders[:-1], strict=True):
            # The shortest name goes first: a cut by prefix or by decoded text would take others along.
            result = await server.cut(by_name[name].ref, by_name[name].session)
            assert (result.matched, result.verified) == (1, True), name
            await ended(encoder)
        (left,) = await server.list_streams()
        assert encoders[-1].returncode is None

        # Not everything in the last name survives the listing, yet it can be cut even without its session.
        result = await server.cut(left.ref)
        assert (result.matched, result.verified) == (1, True)


async def test_names_that_look_alike_in_the_listing_are_not_cut_by_name(tmp_path: Path) -> None:
    async with (
        edge(tmp_path) as (nginx, server),
        ffmpeg_publishing(f"{nginx.rtmp_url}/live/x", name="\u041a\u0430\u043c"),
        ffmpeg_publishing(f"{nginx.rtmp_url}/live/x", name="\u0422\u043e\u043c") as innocent,
    ):
        first, second = await streams_of(server, 2)
        assert first.ref == second.ref

        with pytest.raises(UnsafeCallRefused):
            await server.cut(first.ref)
        sessions = {stream.session for stream in await server.list_streams()}
        assert sessions == {first.session, second.session}

        guilty = min(first, second, key=lambda stream: int(stream.session))
        result = await server.cut(guilty.ref, guilty.session)
        assert (result.matched, result.verified) == (1, True)
        assert len(await server.list_streams()) == 1
        assert innocent.returncode is None or guilty is second


async def test_a_publisher_without_a_name_can_still_be_cut(tmp_path: Path) -> None:
    async with (
        edge(tmp_path) as (nginx, server),
        ffmpeg_publishing(f"{nginx.rtmp_url}/live/x", name="") as nameless,
        ffmpeg_publishing(f"{nginx.rtmp_url}/live/cam") as innocent,
    ):
        streams = await streams_of(server, 2)
        (stream,) = (stream for stream in streams if stream.ref.name == "")

        result = await server.cut(stream.ref)

        assert (result.matched, result.verified) == (1, True)
        await ended(nameless)
        assert innocent.returncode is None


@pytest.mark.parametrize(
    "name", ["cam.flv", "cam.mp4", "../cam", "a/b", "a/b.flv", "mp4:cam", "cam%20", "cam#1", "a&b=c"]
)
async def test_watchers_open_exactly_the_stream_of_a_hostile_name(tmp_path: Path, name: str) -> None:
    async with (
        edge(tmp_path) as (nginx, server),
        ffmpeg_publishing(f"{nginx.rtmp_url}/live/x", name=name),
    ):
        (stream,) = await streams_of(server, 1)
        assert stream.ref.name == name

        assert await can_be_watched(server.pull_url(stream.ref))


async def test_the_ending_that_ffmpeg_drops_would_have_led_to_another_stream(tmp_path: Path) -> None:
    async with edge(tmp_path) as (nginx, server), ffmpeg_publishing(f"{nginx.rtmp_url}/live/x", name="cam.flv"):
        await streams_of(server, 1)

        assert not await can_be_watched(f"{nginx.rtmp_url}/live/cam.flv", timeout_s=3.0)


async def test_an_empty_application_would_have_cut_everybody(tmp_path: Path) -> None:
    async with (
        edge(tmp_path, applications=("live", "studio")) as (nginx, server),
        ffmpeg_publishing(f"{nginx.rtmp_url}/live/one") as first,
        ffmpeg_publishing(f"{nginx.rtmp_url}/studio/two") as second,
        ClientSession() as client,
    ):
        await streams_of(server, 2)
        with pytest.raises(UnsafeCallRefused):
            await server.cut(StreamRef("edge", "", "one"))
        assert len(await server.list_streams()) == 2

        async with client.get(f"{nginx.control_url}/drop/publisher?app=") as answer:
            assert await answer.text() == "2"
        await ended(first)
        await ended(second)


async def test_names_are_compared_undecoded(tmp_path: Path) -> None:
    async with (
        edge(tmp_path) as (nginx, server),
        ffmpeg_publishing(f"{nginx.rtmp_url}/live/x", name="a%62"),
        ffmpeg_publishing(f"{nginx.rtmp_url}/live/ab") as innocent,
        ClientSession() as client,
    ):
        streams = await streams_of(server, 2)
        escaped = f"{nginx.control_url}/drop/publisher?app=live&name=a%2562"
        async with client.get(URL(escaped, encoded=True)) as answer:
            assert await answer.text() == "0"

        (stream,) = (stream for stream in streams if stream.ref.name == "a%62")
        assert (await server.cut(stream.ref)).matched == 1
        assert innocent.returncode is None


async def test_a_stream_of_another_application_with_the_same_name_stays(tmp_path: Path) -> None:
    async with (
        edge(tmp_path, applications=("live", "studio")) as (nginx, server),
        ffmpeg_publishing(f"{nginx.rtmp_url}/live/cam") as guilty,
        ffmpeg_publishing(f"{nginx.rtmp_url}/studio/cam") as innocent,
    ):
        await streams_of(server, 2)

        assert (await server.cut(StreamRef("edge", "live", "cam"))).matched == 1

        await ended(guilty)
        (left,) = await server.list_streams()
        assert left.ref.app == "studio"
        assert innocent.returncode is None


async def test_a_second_publisher_on_a_live_name_is_refused_by_nginx(tmp_path: Path) -> None:
    async with edge(tmp_path) as (nginx, server), ffmpeg_publishing(f"{nginx.rtmp_url}/live/cam") as first:
        (stream,) = await streams_of(server, 1)
        async with ffmpeg_publishing(f"{nginx.rtmp_url}/live/cam") as second:
            await ended(second)

        assert [each.session for each in await server.list_streams()] == [stream.session]
        assert first.returncode is None


async def test_a_viewer_who_waits_is_no_stream(tmp_path: Path) -> None:
    async with edge(tmp_path) as (nginx, server), ClientSession() as client:
        waiting = asyncio.create_task(can_be_watched(f"{nginx.rtmp_url}/live/cam"))

        async def is_waiting() -> bool:
            async with client.get(nginx.stat_url) as answer:
                return "<name>cam</name>" in await answer.text()

        await eventually(is_waiting)
        assert await server.list_streams() == ()

        async with ffmpeg_publishing(f"{nginx.rtmp_url}/live/cam"):
            (stream,) = await streams_of(server, 1)
            assert stream.viewers == 1
            assert stream.started_at is not None
            assert await waiting

            async def has_picture() -> bool:
                return [each.video for each in await server.list_streams()] == ["H264 320x240"]

            await eventually(has_picture)


def deciding(server_name: str, allow: Callable[[GateRequest], bool]) -> tuple[HookServer, list[GateRequest]]:
    adapter = NginxRtmpMediaServer(
        NginxRtmpServer(
            kind="nginx_rtmp",
            name=server_name,
            stat_url="http://127.0.0.1:1/stat",
            control_url="http://127.0.0.1:1/control",
            rtmp_url="rtmp://127.0.0.1:1",
        )
    )
    seen: list[GateRequest] = []

    def decide(raw: RawGateRequest) -> GateReply:
        request = adapter.parse_gate_request(raw)
        seen.append(request)
        return adapter.gate_reply(request, allow=allow(request))

    return HookServer(decide), seen


async def test_arguments_of_the_publisher_do_not_get_a_blocked_stream_through(tmp_path: Path) -> None:
    hook, seen = deciding("edge", lambda request: request.call != "publish" or request.ref != blocked)
    blocked = StreamRef("edge", "live", "secret")
    async with hook, edge(tmp_path, gate_url=hook.url, fail_open=False) as (nginx, server):
        trick = "secret?name=innocent&call=play&addr=9.9.9.9&app=other&clientid=1"
        async with ffmpeg_publishing(f"{nginx.rtmp_url}/live/{trick}") as encoder:
            await ended(encoder)

        (request,) = seen
        assert (request.call, request.ref, request.publisher_address) == ("publish", blocked, "127.0.0.1")
        assert b"&call=play" in hook.requests[0].body
        assert await server.list_streams() == ()


@pytest.mark.parametrize("name", ["cam", "\u041a\u0430\u043c1\x01", "a&name=b", "a+b c%20", "tail\n"])
async def test_the_gate_and_the_listing_agree_on_name_and_session(tmp_path: Path, name: str) -> None:
    hook, seen = deciding("edge", lambda request: True)
    async with (
        hook,
        edge(tmp_path, gate_url=hook.url, fail_open=False) as (nginx, server),
        ffmpeg_publishing(f"{nginx.rtmp_url}/live/x", name=name),
    ):
        (stream,) = await streams_of(server, 1)

        assert [(request.ref, request.session) for request in seen] == [(stream.ref, stream.session)]


@pytest.mark.parametrize("fail_open", [True, False])
async def test_what_the_configured_hook_does_with_and_without_a_gate(tmp_path: Path, fail_open: bool) -> None:
    hook, _ = deciding("edge", lambda request: request.ref is not None and request.ref.name != "banned")
    async with hook, edge(tmp_path, gate_url=hook.url, fail_open=fail_open) as (nginx, server):
        async with (
            ffmpeg_publishing(f"{nginx.rtmp_url}/live/banned") as banned,
            ffmpeg_publishing(f"{nginx.rtmp_url}/live/welcome"),
        ):
            await streams_of(server, 1)
            await ended(banned)
            assert [stream.ref.name for stream in await server.list_streams()] == ["welcome"]
        await hook.stop()

        async def nobody_publishes() -> bool:
            return await server.list_streams() == ()

        await eventually(nobody_publishes)

        async with ffmpeg_publishing(f"{nginx.rtmp_url}/live/later") as later:
            if fail_open:
                await streams_of(server, 1)
            else:
                await ended(later)


async def _raw_hook(*, close: bool) -> tuple[asyncio.Server, str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + (b"Connection: close\r\n\r\n" if close else b"\r\n"))
        if not close:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/gate"


async def test_nginx_decides_when_the_hook_closes_its_connection(tmp_path: Path) -> None:
    took_s = {}
    for close in (True, False):
        directory = tmp_path / str(close)
        directory.mkdir()
        hook, url = await _raw_hook(close=close)
        async with hook, edge(directory, gate_url=url, fail_open=False) as (nginx, server):
            began_s = time.monotonic()
            async with ffmpeg_publishing(f"{nginx.rtmp_url}/live/cam"):
                await streams_of(server, 1)
            took_s[close] = time.monotonic() - began_s

    # netcall_timeout is five seconds in this configuration.
    assert took_s[True] < 4.5 < took_s[False]


async def test_a_viewer_gets_no_end_of_stream_after_a_cut(tmp_path: Path) -> None:
    async with edge(tmp_path) as (nginx, server), ffmpeg_publishing(f"{nginx.rtmp_url}/live/cam"):
        (stream,) = await streams_of(server, 1)
        watching = asyncio.Event()
        loop = asyncio.get_running_loop()

        def watch() -> tuple[float, Exception | None]:
            last_s = time.monotonic()
            try:
                with av.open(server.pull_url(stream.ref), timeout=(8.0, 3.0)) as container:
                    for _ in container.decode(video=0):
                        last_s = time.monotonic()
                        loop.call_soon_threadsafe(watching.set)
            except av.FFmpegError as error:
                return time.monotonic() - last_s, error
            return time.monotonic() - last_s, None

        viewer = asyncio.create_task(asyncio.to_thread(watch))
        await asyncio.wait_for(watching.wait(), 15)
        assert (await server.cut(stream.ref, stream.session)).verified

        silent_s, error = await asyncio.wait_for(viewer, 15)
        # Not the cut but the reader's own timeout ended it.
        assert error is not None
        assert silent_s > 2.5


async def test_several_workers_are_noticed_and_a_cut_does_not_claim_too_much(tmp_path: Path) -> None:
    async with edge(tmp_path, workers=2) as (nginx, server), AsyncExitStack() as stack:
        encoders = {
            f"cam{number}": await stack.enter_async_context(ffmpeg_publishing(f"{nginx.rtmp_url}/live/cam{number}"))
            for number in range(4)
        }

        async def warned() -> bool:
            return any("worker_processes 1" in warning for warning in await server.probe())

        assert await eventually(warned)

        seen: set[StreamRef] = set()

        async def all_seen() -> bool:
            seen.update(stream.ref for stream in await server.list_streams())
            return len(seen) == len(encoders)

        await eventually(all_seen)

        for name, encoder in encoders.items():
            result = await server.cut(StreamRef("edge", "live", name))
            # Whatever chance did, success is claimed only where the encoder is really gone.
            if result.verified:
                await ended(encoder)


async def test_one_worker_raises_no_warning(tmp_path: Path) -> None:
    async with edge(tmp_path) as (_, server):
        assert await server.probe() == ()


async def test_a_control_address_that_is_none_is_warned_of(tmp_path: Path) -> None:
    async with RealNginx(tmp_path) as nginx:
        section = section_for(nginx, control_url=nginx.stat_url.replace("/stat", "/nowhere"))
        async with NginxRtmpMediaServer(section) as server:
            (warning,) = await server.probe()

    assert "cannot be cut" in warning


async def test_only_the_wanted_applications_are_listed(tmp_path: Path) -> None:
    async with RealNginx(tmp_path, applications=("live", "studio")) as nginx:
        section = section_for(nginx, applications=["studio"])
        async with (
            NginxRtmpMediaServer(section) as server,
            ffmpeg_publishing(f"{nginx.rtmp_url}/live/cam") as outside,
            ffmpeg_publishing(f"{nginx.rtmp_url}/studio/cam"),
        ):
            (stream,) = await streams_of(server, 1)
            assert stream.ref.app == "studio"
            # What is not listed is nevertheless cut, and verified against the whole listing.
            result = await server.cut(StreamRef("edge", "live", "cam"))
            assert (result.matched, result.verified) == (1, True)
            await ended(outside)


async def test_nginx_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.demo.nginx.nginx_configuration", lambda *_, **__: "nonsense;")

    with pytest.raises(NginxUnavailable, match="nonsense"):
        async with RealNginx(tmp_path):
            pass


async def test_a_missing_nginx_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.demo.nginx.shutil.which", lambda *_, **__: None)

    with pytest.raises(NginxUnavailable, match="libnginx-mod-rtmp"):
        async with RealNginx(tmp_path):
            pass


@pytest.mark.parametrize(
    "settings",
    [
        {"gate_url": "http://127.0.0.1:1/gate; } evil {"},
        {"gate_url": "http://127.0.0.1:1/$uri"},
        {"gate_url": "https://127.0.0.1:1/gate"},
        {"applications": ("live; } evil",)},
        {"applications": ()},
    ],
)
def test_a_configuration_is_not_written_from_what_would_change_its_meaning(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"may hold|must be"):
        nginx_configuration(Path("/tmp"), module=Path("/m.so"), rtmp_port=1, http_port=2, **settings)  # type: ignore[arg-type]  # wrong on purpose
