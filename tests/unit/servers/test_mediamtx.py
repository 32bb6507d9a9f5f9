"""The MediaMTX adapter against a server that answers as recorded, also on its bad days."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from monitor.errors import MediaServerRefused, MediaServerUnreachable, UnsafeCallRefused
from monitor.servers.mediamtx import adapter as adapter_module
from monitor.servers.mediamtx import api as api_module
from monitor.servers.mediamtx.adapter import MediaMtxMediaServer
from monitor.servers.port import LiveStream
from monitor.vocabulary import StreamRef
from tests.fakes.fake_mediamtx import FakeMediaMtx
from tests.fakes.mediamtx_site import mediamtx_section
from tests.fakes.misbehaving import Bad
from tests.fakes.sites import free_port

CAM = StreamRef("edge", "live", "cam")
PATHS = "GET /v3/paths/list"
CAMS_PATH = "GET /v3/paths/get/live/cam"
KICK = "POST /v3/rtmpconns/kick/"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_module, "_VERIFY_DELAYS_S", (0.0, 0.01, 0.02, 0.1))


@asynccontextmanager
async def running(
    mediamtx: FakeMediaMtx | None = None, **settings: object
) -> AsyncIterator[tuple[FakeMediaMtx, MediaMtxMediaServer]]:
    async with mediamtx or FakeMediaMtx() as fake:
        entry = {"request_timeout": "10s"} | settings
        async with MediaMtxMediaServer(mediamtx_section(fake, **entry)) as server:
            yield fake, server


async def only(server: MediaMtxMediaServer) -> LiveStream:
    (stream,) = await server.list_streams()
    return stream


async def test_all_pages_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "_PER_PAGE", 7)
    async with running() as (mediamtx, server):
        for number in range(22):
            await mediamtx.publish(f"live/cam{number}")

        names = {stream.ref.name for stream in await server.list_streams()}

    assert names == {f"cam{number}" for number in range(22)}


async def test_a_path_that_slips_to_an_earlier_page_meanwhile_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "_PER_PAGE", 2)
    async with running() as (mediamtx, server):
        cams = [await mediamtx.publish(f"live/cam{number}") for number in range(5)]

        def leave(line: str) -> None:
            if line.startswith("GET /v3/paths/list?page=1") and cams[0].live:
                del mediamtx.publishers["live/cam0"]
                cams[0]._over.set()

        mediamtx.temper.before = leave

        assert {stream.ref.name for stream in await server.list_streams()} == {"cam1", "cam2", "cam3", "cam4"}


@pytest.mark.parametrize("kind", ["rtmpConn", "rtmpsConn", "rtspSession", "rtspsSession", "srtConn", "webRTCSession"])
async def test_publishers_of_every_protocol_have_an_address_and_can_be_kicked(kind: str) -> None:
    async with running() as (mediamtx, server):
        publisher = await mediamtx.publish("live/cam", kind=kind, address="[2001:db8::7]:40000")

        stream = await only(server)
        result = await server.cut(CAM, stream.session)

        assert (stream.publisher_address, stream.video) == ("2001:db8::7", "H264 160x120")
        assert (result.matched, result.verified) == (1, True)
        assert mediamtx.kicks == [publisher.id]
        assert not publisher.live


async def test_addresses_are_asked_for_once_and_only_of_protocols_in_use() -> None:
    async with running(FakeMediaMtx(enabled=frozenset({"rtmp"}))) as (mediamtx, server):
        await mediamtx.publish("live/cam")
        for _ in range(3):
            await server.list_streams()

        lists = [line.partition("?")[0] for line in mediamtx.temper.seen if "paths" not in line]

    assert lists == ["GET /v3/rtmpconns/list"]


async def test_streams_are_listed_without_addresses_where_those_cannot_be_had() -> None:
    async with running() as (mediamtx, server):
        await mediamtx.publish("live/cam")
        mediamtx.temper.planned["GET /v3/rtmpconns/list"] = [Bad(status=500), Bad(reset=True)]

        assert [(await only(server)).publisher_address for _ in range(3)] == [None, None, "127.0.0.1"]


async def test_an_offline_clip_is_no_stream() -> None:
    async with running(FakeMediaMtx(fixed_clips={"live/cam"})) as (mediamtx, server):
        assert await server.list_streams() == ()

        await mediamtx.publish("live/cam")
        result = await server.cut(CAM, (await only(server)).session)

        # The viewers go on seeing the clip, and the path is listed for ever.
        assert (result.matched, result.verified) == (1, True)
        assert await server.list_streams() == ()


async def test_the_words_of_older_versions_are_understood() -> None:
    async with running(FakeMediaMtx(speaks_old_words=True)) as (mediamtx, server):
        await mediamtx.publish("live/cam")

        assert (await only(server)).started_at is not None


async def test_a_path_without_a_slash_has_no_application() -> None:
    async with running() as (mediamtx, server):
        await mediamtx.publish("cam")
        await mediamtx.publish("a/b/cam")
        mediamtx.readers = {"cam": 3, "nobody-publishes": 1}

        streams = {(stream.ref.app, stream.ref.name): stream.viewers for stream in await server.list_streams()}

    assert streams == {("", "cam"): 3, ("a/b", "cam"): 0}


async def test_what_the_server_fetches_itself_is_watched_and_cannot_be_cut() -> None:
    async with running(FakeMediaMtx(pulled={"live/cam": "rtspSource", "live/away": "redirect"})) as (mediamtx, server):
        stream = await only(server)
        assert stream.ref == CAM
        assert stream.session

        with pytest.raises(MediaServerRefused) as refusal:
            await server.cut(CAM)

        assert (refusal.value.reason, refusal.value.retryable) == ("cannot_cut", False)
        assert mediamtx.kicks == []
        assert (await server.cut(CAM, "another session")).matched == 0


async def test_a_successor_that_takes_over_between_look_and_kick_is_kicked_where_everybody_is_meant() -> None:
    async with running() as (mediamtx, server):
        first = await mediamtx.publish("live/cam")
        second = await mediamtx.publish("live/other")

        def take_over(line: str) -> None:
            if line.startswith(KICK) and first.live:
                first._over.set()
                second.path = "live/cam"
                mediamtx.publishers = {"live/cam": second}

        mediamtx.temper.before = take_over
        result = await server.cut(CAM)

        assert (result.matched, result.verified) == (1, True)
        assert not second.live


async def test_a_successor_is_left_alone_where_one_session_is_meant() -> None:
    async with running() as (mediamtx, server):
        await mediamtx.publish("live/cam")
        earlier = (await only(server)).session
        successor = await mediamtx.publish("live/cam")

        result = await server.cut(CAM, earlier)

        assert (result.matched, result.verified) == (0, True)
        assert successor.live
        assert mediamtx.kicks == []


async def test_a_kick_that_changes_nothing_is_no_success() -> None:
    async with running() as (mediamtx, server):
        await mediamtx.publish("live/cam")
        mediamtx.temper.always[KICK] = Bad(status=200, body=b'{"status":"ok"}')

        result = await server.cut(CAM)

    assert (result.matched, result.verified) == (1, False)


async def test_a_stale_id_is_no_proof_while_the_stream_is_listed() -> None:
    async with running() as (mediamtx, server):
        await mediamtx.publish("live/cam")
        mediamtx.temper.always[KICK] = Bad(status=404, body=b'{"status":"error","error":"connection not found"}')

        result = await server.cut(CAM)

    assert (result.matched, result.verified) == (0, False)


async def test_a_publisher_who_is_listed_for_a_moment_after_the_kick_is_waited_for() -> None:
    async with running(FakeMediaMtx(linger_s=0.03)) as (mediamtx, server):
        await mediamtx.publish("live/cam")

        result = await server.cut(CAM)

    assert (result.matched, result.verified) == (1, True)


async def test_an_error_in_an_answer_of_200_is_an_error() -> None:
    async with running() as (mediamtx, server):
        await mediamtx.publish("live/cam")
        mediamtx.temper.always[KICK] = Bad(status=200, body=b'{"status":"error","error":"no"}')

        with pytest.raises(MediaServerRefused):
            await server.cut(CAM)


async def test_a_404_of_a_wrong_address_is_no_sign_that_a_stream_is_gone() -> None:
    async with running() as (mediamtx, server):
        mediamtx.temper.always[CAMS_PATH] = Bad(status=404, body=b"404 page not found", content_type="text/plain")

        with pytest.raises(MediaServerRefused):
            await server.cut(CAM)


async def test_a_kick_whose_answer_is_lost_is_unreachable_and_not_done() -> None:
    async with running() as (mediamtx, server):
        await mediamtx.publish("live/cam")
        mediamtx.temper.planned[KICK] = [Bad(loses_answer=True)]

        with pytest.raises(MediaServerUnreachable):
            await server.cut(CAM)

        again = await server.cut(CAM)
        assert (again.matched, again.verified) == (0, True)


@pytest.mark.parametrize(
    ("bad", "error", "reason"),
    [
        (Bad(hang=True), MediaServerUnreachable, "timeout"),
        (Bad(reset=True), MediaServerUnreachable, "unreachable"),
        (Bad(reset=True, after_bytes=40), MediaServerUnreachable, "unreachable"),
        (Bad(status=401, body=b'{"status":"error"}'), MediaServerRefused, "unauthorized"),
        (Bad(status=500, body=b'{"status":"error","error":"x"}'), MediaServerRefused, "bad_status"),
        (Bad(status=302), MediaServerRefused, "bad_status"),
        (Bad(status=200, body=b'{"status":"error","error":"x"}'), MediaServerRefused, "not_a_listing"),
        (Bad(status=200, body=b"<html>"), MediaServerRefused, "not_a_listing"),
        (Bad(status=200, body=b""), MediaServerRefused, "not_a_listing"),
        (
            Bad(status=200, body=b'{"itemCount":1,"pageCount":1,"items":[{"name":7}]}'),
            MediaServerRefused,
            "not_a_listing",
        ),
        (
            Bad(status=200, body=b'{"itemCount":1,"pageCount":100000,"items":[]}'),
            MediaServerRefused,
            "answer_too_large",
        ),
    ],
    ids=["hangs", "resets", "half", "401", "500", "302", "error_in_200", "html", "empty", "shape", "endless"],
)
async def test_what_is_no_listing_is_never_taken_for_an_empty_one(
    bad: Bad, error: type[Exception], reason: str
) -> None:
    async with running(request_timeout="300ms" if bad.hang else "10s") as (mediamtx, server):
        mediamtx.temper.always[PATHS] = bad

        with pytest.raises(error) as failure:
            await server.list_streams()

    assert getattr(failure.value, "reason", "") == reason
    assert "127.0.0.1" not in str(failure.value)


async def test_a_second_page_that_fails_fails_the_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "_PER_PAGE", 1)
    async with running() as (mediamtx, server):
        await mediamtx.publish("live/cam1")
        await mediamtx.publish("live/cam2")
        mediamtx.temper.always["GET /v3/paths/list?page=1"] = Bad(status=503)

        with pytest.raises(MediaServerRefused):
            await server.list_streams()


async def test_no_items_at_all_is_an_empty_listing() -> None:
    async with running() as (mediamtx, server):
        mediamtx.temper.always[PATHS] = Bad(status=200, body=b'{"itemCount":0,"pageCount":0,"items":null}')

        assert await server.list_streams() == ()


@pytest.mark.parametrize(
    "ref",
    [
        StreamRef("edge", "", ""),
        StreamRef("edge", "live", ""),
        StreamRef("edge", "", "live/cam"),
        StreamRef("edge", "live/", "cam"),
        StreamRef("edge", "/live", "cam"),
        StreamRef("edge", "live/..", "cam"),
        StreamRef("edge", "live", ".."),
        StreamRef("edge", "live", "cam?x"),
        StreamRef("edge", "live", "cam%2f"),
        StreamRef("edge", "live", "c" * 600),
    ],
)
async def test_names_that_no_path_can_have_are_refused_before_anything_is_sent(ref: StreamRef) -> None:
    async with running() as (mediamtx, server):
        with pytest.raises(UnsafeCallRefused):
            await server.cut(ref)
        with pytest.raises(UnsafeCallRefused):
            server.pull_url(ref)

        assert mediamtx.temper.seen == []


async def test_an_identifier_that_is_none_is_never_put_into_a_kick() -> None:
    async with running() as (mediamtx, server):
        publisher = await mediamtx.publish("live/cam")
        publisher.id = "../../config/paths/delete/live"

        with pytest.raises(MediaServerRefused):
            await server.cut(CAM)

        assert not any(line.startswith("POST") for line in mediamtx.temper.seen)


@pytest.mark.parametrize(
    ("base", "settings", "expected"),
    [
        ("rtsp://127.0.0.1:8554", {}, "rtsp://127.0.0.1:8554/live/cam"),
        ("rtsp://127.0.0.1:8554/", {"password": {"env": "PW"}}, "rtsp://us%40er:p%3Aw%2F@127.0.0.1:8554/live/cam"),
        ("rtmp://h:1935", {"password": {"env": "PW"}}, "rtmp://h:1935/live/cam?user=us%40er&pass=p%3Aw%2F"),
        ("https://h/hls/", {}, "https://h/hls/live/cam/index.m3u8"),
    ],
)
def test_addresses_carry_livecordons_own_user_only_where_one_may_be_needed(
    base: str, settings: dict[str, object], expected: str
) -> None:
    entry = {"pull_url": base, "api_url": "http://127.0.0.1:1", "username": "us@er"}
    server = MediaMtxMediaServer(mediamtx_section(FakeMediaMtx(), **entry | settings), environ={"PW": "p:w/"})

    assert server.pull_url(CAM) == expected


@pytest.mark.parametrize(
    ("mediamtx", "warned"),
    [
        (FakeMediaMtx(), ["does not ask"]),
        (FakeMediaMtx(auth_url="{}/elsewhere", auth_exclude=frozenset({"api"})), ["does not lead"]),
        (
            FakeMediaMtx(auth_url="{}/gate/edge", auth_exclude=frozenset({"api"}), api_address=":9997"),
            ["leaves the API"],
        ),
        (FakeMediaMtx(auth_url="{}/gate/edge?token=x", auth_exclude=frozenset({"api"})), []),
    ],
    ids=["internal", "elsewhere", "open", "well"],
)
async def test_a_probe_tells_whether_the_gate_is_asked(mediamtx: FakeMediaMtx, warned: list[str]) -> None:
    mediamtx.auth_url = mediamtx.auth_url.format("http://127.0.0.1:1")
    async with running(mediamtx) as (_, server):
        warnings = await server.probe()

    assert len(warnings) == len(warned)
    assert all(word in warning for word, warning in zip(warned, warnings, strict=True))


async def test_a_probe_says_where_the_settings_cannot_be_read() -> None:
    async with running() as (mediamtx, server):
        mediamtx.temper.always["GET /v3/config/global/get"] = Bad(status=403)

        assert len(await server.probe()) == 1


async def test_a_cut_that_is_cancelled_sends_nothing_more() -> None:
    async with running() as (mediamtx, server):
        await mediamtx.publish("live/cam")
        asked = asyncio.Event()
        mediamtx.temper.before = lambda line: asked.set()
        mediamtx.temper.always[CAMS_PATH] = Bad(hang=True)
        cutting = asyncio.create_task(server.cut(CAM))
        await asked.wait()

        cutting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cutting

        assert mediamtx.kicks == []


async def test_the_second_control_address_is_used_while_the_first_is_down() -> None:
    async with FakeMediaMtx() as mediamtx:
        section = mediamtx_section(mediamtx, api_url=f"http://127.0.0.1:{free_port()}", second_control=mediamtx.api_url)
        async with MediaMtxMediaServer(section) as server:
            await mediamtx.publish("live/cam")

            assert (await server.cut(CAM)).matched == 1
