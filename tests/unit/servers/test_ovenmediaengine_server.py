"""The OvenMediaEngine adapter against a fake that answers as the documentation says, on its bad days too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import ValidationError

from monitor.errors import ConfigError, GateRequestError, MediaServerRefused, MediaServerUnreachable, UnsafeCallRefused
from monitor.servers.ovenmediaengine import adapter as adapter_module
from monitor.servers.ovenmediaengine.adapter import OvenMediaEngineMediaServer
from monitor.servers.port import RawGateRequest
from monitor.vocabulary import StreamRef
from tests.fakes.misbehaving import Bad
from tests.fakes.ovenmediaengine import FakeOvenMediaEngine, fake_ovenmediaengine
from tests.fakes.ovenmediaengine_site import adapter_for

CAM = StreamRef("edge", "app", "cam")
STREAMS = "GET /v1/vhosts/default/apps/app/streams"
DETAIL = f"{STREAMS}/cam"
DELETE = "DELETE /v1/vhosts"


@asynccontextmanager
async def watched(**settings: object) -> AsyncIterator[tuple[FakeOvenMediaEngine, OvenMediaEngineMediaServer]]:
    async with fake_ovenmediaengine() as engine, adapter_for(engine, **settings) as server:
        yield engine, server


async def test_streams_of_every_application_on_every_virtual_host_are_listed() -> None:
    async with watched() as (engine, server):
        places = [("default", "app"), ("default", "second"), ("studio", "app"), ("empty", "app")]
        for vhost, app in places:
            engine.apps[vhost, app] = {}
        for vhost, app in places[:3]:
            for number in range(7):
                engine.add(f"cam{number}", vhost=vhost, app=app)

        streams = await server.list_streams()

    assert {(stream.ref.app, stream.ref.name) for stream in streams} == {
        (app, f"cam{number}") for app in ("app", "second", "studio/app") for number in range(7)
    }


@pytest.mark.parametrize(
    ("source_url", "address"),
    [
        ("TCP://192.0.2.7:53991", "192.0.2.7"),
        ("tcp://[2001:db8::1]:53991", "2001:db8::1"),
        ("srt://192.0.2.7", "192.0.2.7"),
        ("rtsp://camera.example/live", None),
        ("TCP://user:word@192.0.2.7:1", None),
        ("192.0.2.7:53991", None),
        ("", None),
    ],
)
async def test_the_publishers_address_is_where_the_stream_comes_from(source_url: str, address: str | None) -> None:
    async with watched() as (engine, server):
        engine.add("cam", source_url=source_url)

        (stream,) = await server.list_streams()

    assert stream.publisher_address == address
    assert stream.video == "H264 160x120"


async def test_a_publication_is_told_from_the_next_with_and_without_its_source() -> None:
    async with watched() as (engine, server):
        for engine.tells_sources in (True, False):
            sessions = set()
            for _ in range(3):
                encoder = await engine.publish("cam")
                (stream,) = await server.list_streams()
                assert (await server.list_streams())[0].session == stream.session
                sessions.add(stream.session)
                await encoder.stop()
                engine.pass_time()

            assert len(sessions) == 3
            assert all(sessions)


async def test_a_stream_that_ends_while_it_is_listed_is_left_out() -> None:
    async with watched() as (engine, server):
        leaving, staying = await engine.publish("cam"), await engine.publish("other")
        engine.temper.before = lambda line: engine.leave("cam") if line == DETAIL else None

        streams = await server.list_streams()

        assert not leaving.live
        assert staying.live
    assert [stream.ref.name for stream in streams] == ["other"]


async def test_a_level_that_is_not_there_is_no_empty_one() -> None:
    async with watched() as (engine, server):
        engine.add("cam")
        engine.temper.planned[STREAMS] = [Bad(status=404, body=b'{"statusCode":404}')]

        with pytest.raises(MediaServerRefused) as refusal:
            await server.list_streams()
    assert refusal.value.reason == "bad_status"


async def test_the_page_of_a_proxy_that_knows_nothing_proves_no_cut() -> None:
    async with watched() as (engine, server):
        encoder = await engine.publish("cam")
        for path in (STREAMS, DETAIL, DELETE):
            engine.temper.always = {path: Bad(status=404, body=b"<html>Not Found")}

            with pytest.raises(MediaServerRefused):
                await server.cut(CAM)

        assert encoder.live


@pytest.mark.parametrize("path", ["GET /v1/vhosts", "GET /v1/vhosts/default/apps", STREAMS, DETAIL])
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Bad(status=401), "unauthorized"),
        (Bad(status=500), "bad_status"),
        (Bad(status=302), "bad_status"),
        (Bad(status=200), "not_a_listing"),
        (Bad(status=200, body=b"<html>"), "not_a_listing"),
        (Bad(status=200, body=b'{"response":[]}'), "not_a_listing"),
        (Bad(status=200, body=b'{"statusCode":200,"response":[7]}'), "not_a_listing"),
        (Bad(status=200, body=b'{"statusCode":500,"message":"no"}'), "error_code"),
    ],
)
async def test_what_is_no_listing_is_refused_at_every_level(path: str, bad: Bad, reason: str) -> None:
    async with watched() as (engine, server):
        engine.add("cam")
        # Only this level: what lies below is asked for by longer lines.
        engine.temper.before = lambda line: engine.temper.planned.update({path: [bad]}) if line == path else None

        with pytest.raises(MediaServerRefused) as refusal:
            await server.list_streams()
    assert refusal.value.reason == reason


@pytest.mark.parametrize("bad", [Bad(hang=True), Bad(reset=True), Bad(reset=True, after_bytes=20)])
@pytest.mark.parametrize("path", ["GET /v1/vhosts", DETAIL])
async def test_no_complete_answer_counts_as_unreachable(path: str, bad: Bad) -> None:
    async with watched(request_timeout="300ms") as (engine, server):
        engine.add("cam")
        engine.temper.always[path] = bad

        with pytest.raises(MediaServerUnreachable):
            await server.list_streams()


async def test_a_huge_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_module, "_MAX_ANSWER_BYTES", 10_000)
    async with watched() as (engine, server):
        engine.temper.always["GET"] = Bad(status=200, body=b" " * 20_000)

        with pytest.raises(MediaServerRefused) as refusal:
            await server.list_streams()
    assert refusal.value.reason == "answer_too_large"


async def test_a_delete_that_was_answered_with_success_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapter_module, "_VERIFY_DELAYS_S", (0.0, 0.01))
    async with watched() as (engine, server):
        encoder = await engine.publish("cam")
        engine.deaf_to_deletes = True

        result = await server.cut(CAM)

        assert encoder.live
    assert (result.matched, result.verified) == (1, False)


async def test_a_delete_that_found_nothing_is_no_success_while_the_stream_is_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapter_module, "_VERIFY_DELAYS_S", (0.0, 0.01))
    async with watched() as (engine, server):
        engine.add("cam")
        engine.temper.always[DELETE] = Bad(status=404, body=b'{"statusCode":404}')

        result = await server.cut(CAM)

    assert (result.matched, result.verified) == (0, False)


@pytest.mark.parametrize(
    "bad",
    [
        Bad(status=401),
        Bad(status=500),
        Bad(status=200),
        Bad(status=200, body=b'{"statusCode":500,"message":"Could not terminate the stream"}'),
    ],
)
async def test_a_delete_that_was_answered_otherwise_is_refused(bad: Bad) -> None:
    async with watched() as (engine, server):
        engine.add("cam")
        engine.temper.always[DELETE] = bad

        with pytest.raises(MediaServerRefused):
            await server.cut(CAM)


async def test_a_delete_whose_answer_is_lost_can_be_repeated() -> None:
    async with watched() as (engine, server):
        encoder, bystander = await engine.publish("cam"), await engine.publish("other")
        engine.temper.planned[DELETE] = [Bad(loses_answer=True)]

        with pytest.raises(MediaServerUnreachable):
            await server.cut(CAM)
        again = await server.cut(CAM)

        assert not encoder.live
        assert bystander.live
    assert (again.matched, again.verified) == (0, True)


async def test_a_successor_is_left_alone_by_a_cut_of_its_predecessor() -> None:
    async with watched() as (engine, server):
        await engine.publish("cam")
        (stream,) = await server.list_streams()
        await server.cut(CAM, stream.session)
        engine.pass_time()
        successor = await engine.publish("cam")
        deleted = len(engine.deleted)

        again = await server.cut(CAM, stream.session)

        assert successor.live
    assert (again.matched, again.verified) == (0, True)
    assert len(engine.deleted) == deleted


async def test_cuts_reach_other_virtual_hosts() -> None:
    async with watched() as (engine, server):
        engine.apps["studio", "app"] = {}
        here, there = await engine.publish("cam"), await engine.publish("cam", vhost="studio")

        result = await server.cut(StreamRef("edge", "studio/app", "cam"))

        assert here.live
        assert not there.live
    assert (result.matched, result.verified) == (1, True)


@pytest.mark.parametrize("name", ["камера", "a b", "a+b", 'say "cheese"', "a&b", "a:b"])
async def test_an_odd_name_is_cut_by_its_own_address(name: str) -> None:
    async with watched() as (engine, server):
        encoder, innocent = await engine.publish(name), await engine.publish("a")

        result = await server.cut(StreamRef("edge", "app", name))

        assert not encoder.live
        assert innocent.live
    assert (result.matched, result.verified) == (1, True)
    assert engine.deleted[0].isascii()


@pytest.mark.parametrize(
    "name", ["a%62", "a/b", "..", ".", "", "a\\b", "a?b", "a#b", "a\x00", "a\u202eb", "\ud800", "x" * 1025]
)
async def test_a_name_that_an_address_might_turn_into_another_is_never_put_into_a_call(name: str) -> None:
    async with watched() as (engine, server):
        engine.add(name)
        listed = await server.list_streams()

        with pytest.raises(UnsafeCallRefused):
            await server.cut(StreamRef("edge", "app", name))

        assert [(stream.session, len(stream.ref.name)) for stream in listed] == [("", len(name))]
    assert not any(line.startswith("DELETE") for line in engine.temper.seen)


async def test_the_token_goes_as_a_whole_and_a_wrong_one_is_told() -> None:
    async with fake_ovenmediaengine() as engine:
        engine.token = "another"
        async with adapter_for(engine) as server:
            with pytest.raises(MediaServerRefused) as refusal:
                await server.probe()
    assert refusal.value.reason == "unauthorized"


async def test_a_secret_that_is_missing_is_told_by_its_place() -> None:
    engine = FakeOvenMediaEngine()
    engine.url = "http://127.0.0.1:1"
    server = adapter_for(engine, webhook_secret={"env": "NOT_THERE"})

    with pytest.raises(ConfigError, match="webhook_secret"):
        await server.__aenter__()


async def test_what_deserves_a_second_look_is_told() -> None:
    async with watched(webhook_secret=None) as (engine, server):
        assert ["webhook_secret" in warning for warning in await server.probe()] == [True]
        assert not server.capabilities.synchronous_block
        assert not server.capabilities.gate_down_refuses
        engine.apps["studio", "app"] = {}
        engine.temper.always[DELETE] = Bad(status=403)

        warnings = await server.probe()

        with pytest.raises(GateRequestError):
            server.parse_gate_request(RawGateRequest("application/json", b"{}"))
    assert len(warnings) == 3
    assert engine.deleted == ["/v1/vhosts/default/apps/app/streams/livecordon-probe"]


def server_for(**settings: object) -> OvenMediaEngineMediaServer:
    engine = FakeOvenMediaEngine()
    engine.url = "http://127.0.0.1:3333"
    return adapter_for(engine, **settings)


def test_watchers_pull_from_the_address_of_the_streams_virtual_host() -> None:
    server = server_for(
        hls_urls={"default": "http://127.0.0.1:3333/", "studio": "https://studio.example:3334"},
        hls_path="/{app}/{name}/ts:master.m3u8",
    )

    assert server.pull_url(CAM) == "http://127.0.0.1:3333/app/cam/ts:master.m3u8"
    assert (
        server.pull_url(StreamRef("edge", "studio/app", "cam")) == "https://studio.example:3334/app/cam/ts:master.m3u8"
    )
    with pytest.raises(UnsafeCallRefused):
        server.pull_url(StreamRef("edge", "third/app", "cam"))


@pytest.mark.parametrize(
    "name", ["{app}", "{name}", "a b", "a/b", "a%62", "a?b", "a#b", "a+b", "é", "", ".", "..", "a\n"]
)
def test_a_name_that_an_address_cannot_carry_is_refused(name: str) -> None:
    with pytest.raises(UnsafeCallRefused):
        server_for().pull_url(StreamRef("edge", "app", name))
    with pytest.raises(UnsafeCallRefused):
        server_for().pull_url(StreamRef("edge", name, "cam"))


@pytest.mark.parametrize("path", ["{app}/llhls.m3u8", "{name}.m3u8", "{app}/{name}?x=1", "{name}/{app}", ""])
def test_a_playlists_path_names_application_and_stream(path: str) -> None:
    with pytest.raises(ValidationError):
        server_for(hls_path=path)
