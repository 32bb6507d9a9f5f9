"""The SRS adapter against a fake that answers as SRS was seen to, on its bad days too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from monitor.errors import ConfigError, MediaServerRefused, MediaServerUnreachable, UnsafeCallRefused
from monitor.servers.srs import adapter as adapter_module
from monitor.servers.srs.adapter import SrsMediaServer
from monitor.vocabulary import StreamRef
from tests.fakes.misbehaving import Bad
from tests.fakes.srs import FakeSrs, fake_srs
from tests.fakes.srs_site import srs_section
from tests.fakes.waiting import eventually

CAM = StreamRef("edge", "live", "cam")
LISTING = "GET /api/v1/streams/"
CLIENT = "GET /api/v1/clients/"
KICK = "DELETE /api/v1/clients/"


@asynccontextmanager
async def watched(**settings: object) -> AsyncIterator[tuple[FakeSrs, SrsMediaServer]]:
    async with fake_srs() as srs, SrsMediaServer(srs_section(srs, **settings)) as server:
        yield srs, server


async def test_every_stream_is_listed_although_srs_lists_ten_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_module, "_FIRST_COUNT", 16)
    async with watched() as (srs, server):
        for number in range(70):
            srs.add(f"cam{number}")

        streams = await server.list_streams()
        srs.temper.seen.clear()
        await server.list_streams()

    assert {stream.ref.name for stream in streams} == {f"cam{number}" for number in range(70)}
    # It remembers how many there were.
    assert len(srs.temper.seen) == 1


async def test_more_streams_than_can_be_read_are_no_short_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_module, "_FIRST_COUNT", 10)
    monkeypatch.setattr(adapter_module, "_MOST_COUNTED", 10)
    async with watched() as (srs, server):
        for number in range(11):
            srs.add(f"cam{number}")

        with pytest.raises(MediaServerRefused) as refusal:
            await server.list_streams()
    assert refusal.value.reason == "answer_too_large"


async def test_each_publisher_is_looked_up_once() -> None:
    async with watched() as (srs, server):
        srs.add("cam", ip="192.0.2.7")
        await server.list_streams()
        srs.add("other", ip="2001:db8::1")
        streams = await server.list_streams()

        addresses = {stream.ref.name: stream.publisher_address for stream in streams}
        looked_up = [line for line in srs.temper.seen if line.startswith(CLIENT)]
    assert addresses == {"cam": "192.0.2.7", "other": "2001:db8::1"}
    assert len(looked_up) == 2


@pytest.mark.parametrize(
    "bad",
    [
        Bad(hang=True),
        Bad(status=500),
        Bad(status=200, body=b"{}"),
        Bad(status=200, body=b'{"code":2049}'),
        Bad(reset=True),
    ],
    ids=["hangs", "500", "no_code", "gone", "reset"],
)
async def test_a_publisher_who_cannot_be_looked_up_is_listed_without_an_address_and_asked_again(bad: Bad) -> None:
    async with watched(request_timeout="1s") as (srs, server):
        srs.add("cam", ip="192.0.2.7")
        srs.temper.always[CLIENT] = bad

        (stream,) = await server.list_streams()
        srs.temper.always.clear()
        (later,) = await server.list_streams()

    assert (stream.ref, stream.publisher_address, stream.started_at) == (CAM, None, None)
    assert later.publisher_address == "192.0.2.7"
    assert later.started_at is not None


async def test_a_stream_that_only_viewers_hold_on_to_is_not_live() -> None:
    async with watched() as (srs, server):
        stale = srs.add("cam", active=False)
        assert await server.list_streams() == ()

        result = await server.cut(CAM, stale)

    assert (result.matched, result.verified) == (0, True)
    assert srs.clients_kicked == []


async def test_the_stale_number_of_an_earlier_publisher_is_not_kicked() -> None:
    async with watched() as (srs, server):
        srs.keep_kicked = True
        first = await srs.publish("cam")
        (stream,) = await server.list_streams()
        await server.cut(CAM, stream.session)
        second = await srs.publish("cam")

        again = await server.cut(CAM, stream.session)

        assert not first.live
        assert second.live
        assert (again.matched, again.verified) == (0, True)
        assert srs.clients_kicked == [stream.session]


async def test_virtual_hosts_are_told_apart_and_learnt_as_they_come() -> None:
    async with watched() as (srs, server):
        srs.add("cam")
        srs.vhosts["vid-7"] = "studio.example"
        srs.add("cam", vhost="studio.example")
        streams = await server.list_streams()
        other = await srs.publish("cam", vhost="studio.example", app="show")

        await server.cut(StreamRef("edge", "studio.example/show", "cam"))
        left = await server.list_streams()

    assert {stream.ref.app for stream in streams} == {"live", "studio.example/live"}
    assert not other.live
    assert {stream.ref.app for stream in left} == {"live", "studio.example/live"}


async def test_a_stream_on_an_unknown_virtual_host_is_no_reason_to_leave_it_out() -> None:
    async with watched() as (srs, server):
        srs.add("cam", vhost="nowhere")

        with pytest.raises(MediaServerRefused):
            await server.list_streams()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Bad(status=401), "unauthorized"),
        (Bad(status=500), "bad_status"),
        (Bad(status=302), "bad_status"),
        (Bad(status=200), "not_a_listing"),
        (Bad(status=200, body=b"<html>\xff"), "not_a_listing"),
        (Bad(status=200, body=b'{"code":0,"streams":[{"name":7}]}'), "not_a_listing"),
        (Bad(status=200, body=b'{"streams":[]}'), "not_a_listing"),
        (Bad(status=200, body=b"[" * 100_000), "not_a_listing"),
        (Bad(status=200, body=b'{"code":1061}'), "error_code"),
    ],
)
async def test_what_is_no_listing_is_refused_and_not_taken_for_an_empty_one(bad: Bad, reason: str) -> None:
    async with watched() as (srs, server):
        srs.temper.always[LISTING] = bad

        with pytest.raises(MediaServerRefused) as refusal:
            await server.list_streams()
        with pytest.raises(MediaServerRefused):
            await server.cut(CAM)
    assert refusal.value.reason == reason
    assert srs.clients_kicked == []


@pytest.mark.parametrize("bad", [Bad(hang=True), Bad(reset=True), Bad(reset=True, after_bytes=30)])
async def test_no_complete_answer_counts_as_unreachable(bad: Bad) -> None:
    async with watched(request_timeout="300ms") as (srs, server):
        srs.add("cam")
        srs.temper.always[LISTING] = bad

        with pytest.raises(MediaServerUnreachable):
            await server.list_streams()


async def test_a_huge_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_module, "_MAX_ANSWER_BYTES", 10_000)
    async with watched() as (srs, server):
        srs.temper.always[LISTING] = Bad(status=200, body=b" " * 20_000)

        with pytest.raises(MediaServerRefused) as refusal:
            await server.list_streams()
    assert refusal.value.reason == "answer_too_large"


async def test_a_kick_that_found_nobody_is_no_success_while_the_stream_is_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapter_module, "_VERIFY_DELAYS_S", (0.0, 0.01))
    async with watched() as (srs, server):
        srs.add("cam")
        srs.temper.always[KICK] = Bad(status=200, body=b'{"code":2049}')

        result = await server.cut(CAM)

    assert (result.matched, result.verified) == (0, False)


async def test_a_kick_that_was_answered_with_success_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapter_module, "_VERIFY_DELAYS_S", (0.0, 0.01))
    async with watched() as (srs, server):
        encoder = await srs.publish("cam")
        srs.deaf_to_kicks = True

        result = await server.cut(CAM)

        assert encoder.live
    assert (result.matched, result.verified) == (1, False)


@pytest.mark.parametrize("body", [b'{"code":400}', b'{"code":"0"}', b"0", b""])
async def test_a_kick_that_was_answered_otherwise_is_refused(body: bytes) -> None:
    async with watched() as (srs, server):
        srs.add("cam")
        srs.temper.always[KICK] = Bad(status=200, body=body)

        with pytest.raises(MediaServerRefused):
            await server.cut(CAM)


async def test_a_kick_whose_answer_is_lost_is_unreachable_and_hits_nobody_else_when_repeated() -> None:
    async with watched() as (srs, server):
        encoder, bystander = await srs.publish("cam"), await srs.publish("other")
        srs.temper.planned[KICK] = [Bad(loses_answer=True)]

        with pytest.raises(MediaServerUnreachable):
            await server.cut(CAM)
        again = await server.cut(CAM)

        assert not encoder.live
        assert bystander.live
    assert (again.matched, again.verified) == (0, True)


@pytest.mark.parametrize("bad", [Bad(reset=True), Bad(loses_answer=True), Bad(reset=True, after_bytes=10)])
async def test_nothing_is_sent_twice_of_itself(bad: Bad) -> None:
    async with watched() as (srs, server):
        srs.temper.planned[LISTING] = [bad]

        with pytest.raises(MediaServerUnreachable):
            await server.list_streams()

    assert len(srs.temper.seen) == 1


async def test_a_publisher_who_comes_back_during_the_cut_is_left_to_the_next_cut() -> None:
    async with watched() as (srs, server):
        first = await srs.publish("cam")
        (stream,) = await server.list_streams()
        successor: list[str] = []

        def come_back(line: str) -> None:
            if line.startswith(LISTING) and not first.live and not successor:
                successor.append(srs.add("cam"))

        srs.temper.before = come_back
        this_one = await server.cut(CAM, stream.session)
        whoever = await server.cut(CAM)

    assert (this_one.matched, this_one.verified) == (1, True)
    assert (whoever.matched, whoever.verified) == (1, True)
    assert srs.clients_kicked == [stream.session, *successor]


@pytest.mark.parametrize("cid", ["", "../streams", "a?b", "a/b", "a%2Fb"])
async def test_a_client_that_might_stand_for_others_is_never_put_into_a_call(cid: str) -> None:
    async with watched() as (srs, server):
        srs.add("cam", cid=cid)
        (stream,) = await server.list_streams()

        with pytest.raises(UnsafeCallRefused):
            await server.cut(CAM)

    assert stream.session == ""
    assert not any(line.startswith("DELETE") for line in srs.temper.seen)


async def test_names_that_only_look_alike_are_cut_by_session() -> None:
    async with watched() as (srs, server):
        # Bytes that are no UTF-8 read the same whichever they are.
        one, other = srs.add("cam\udcff"), srs.add("cam\udcfe")
        ref = StreamRef("edge", "live", "cam\N{REPLACEMENT CHARACTER}")
        assert [stream.ref for stream in await server.list_streams()] == [ref, ref]

        with pytest.raises(UnsafeCallRefused):
            await server.cut(ref)
        result = await server.cut(ref, other)

        assert [stream.session for stream in await server.list_streams()] == [one]
    assert (result.matched, result.verified) == (1, True)


async def test_the_hook_is_answered_as_srs_wants_it_and_publishing_goes_on_without_a_gate_only_where_it_did() -> None:
    async with watched() as (srs, server):
        running = await srs.publish("cam")
        srs.hook_url = "http://127.0.0.1:9/gate"

        refused = await srs.publish("other")

        assert running.live
        assert not refused.live
        assert [stream.ref for stream in await server.list_streams()] == [CAM]


async def test_a_login_is_sent_with_every_call() -> None:
    async with fake_srs() as srs:
        srs.login = "admin:s3cret"
        section = srs_section(srs, username="admin", password={"env": "SRS_PASSWORD"})
        async with SrsMediaServer(section, environ={"SRS_PASSWORD": "s3cret"}) as server:
            encoder = await srs.publish("cam")
            assert await server.probe() == ()
            (stream,) = await server.list_streams()
            assert stream.publisher_address == "127.0.0.1"
            await server.cut(CAM)
            assert not encoder.live
        async with SrsMediaServer(section, environ={"SRS_PASSWORD": "wrong"}) as server:
            with pytest.raises(MediaServerRefused) as refusal:
                await server.probe()
    assert refusal.value.reason == "unauthorized"


@pytest.mark.parametrize("environ", [{}, {"SRS_PASSWORD": ""}, {"SRS_PASSWORD": "with:colon"}])
def test_a_password_that_is_missing_or_can_never_fit_is_a_mistake(environ: dict[str, str]) -> None:
    section = srs_section(
        FakeSrs(), api_url="http://127.0.0.1:1", flv_url=None, username="a", password={"env": "SRS_PASSWORD"}
    )

    with pytest.raises(ConfigError) as mistake:
        SrsMediaServer(section, environ=environ)
    assert "with:colon" not in str(mistake.value)


async def test_a_server_that_refuses_kicks_is_watched_with_a_warning() -> None:
    async with watched() as (srs, server):
        srs.temper.always[KICK] = Bad(status=405)

        (warning,) = await server.probe()

    assert "cannot be cut" in warning


async def test_listings_and_cuts_at_once_do_not_get_in_each_others_way() -> None:
    async with watched() as (srs, server):
        encoders = [await srs.publish(f"cam{number}") for number in range(12)]

        cuts = [server.cut(StreamRef("edge", "live", f"cam{number}")) for number in range(0, 12, 2)]
        listings = [server.list_streams() for _ in range(6)]
        results, _ = await asyncio.gather(asyncio.gather(*cuts), asyncio.gather(*listings))

        assert all(result.verified for result in results)
        assert [encoder.live for encoder in encoders] == [False, True] * 6
        assert await eventually(lambda: _has(server, 6))


async def _has(server: SrsMediaServer, count: int) -> bool:
    return len(await server.list_streams()) == count


def server_for(**settings: object) -> SrsMediaServer:
    entry = FakeSrs()
    entry.url = "http://127.0.0.1:1985"
    return SrsMediaServer(srs_section(entry, **settings))


@pytest.mark.parametrize(
    ("settings", "ref", "address"),
    [
        ({"flv_url": None}, CAM, "rtmp://127.0.0.1:1935/live/cam?vhost=__defaultVhost__"),
        ({"flv_url": None}, StreamRef("edge", "a.b/live", "cam"), "rtmp://127.0.0.1:1935/live/cam?vhost=a.b"),
        (
            {"flv_url": None},
            StreamRef("edge", "__defaultVhost__/live/room", "cam.flv"),
            "rtmp://127.0.0.1:1935/live/room/cam.flv?vhost=__defaultVhost__",
        ),
        ({"flv_url": "http://127.0.0.1:8080/"}, CAM, "http://127.0.0.1:8080/live/cam.flv"),
        (
            {"flv_url": "http://127.0.0.1:8080"},
            StreamRef("edge", "live", "k=+@~.-_"),
            "http://127.0.0.1:8080/live/k=+@~.-_.flv",
        ),
        # HTTP-FLV has no place for a virtual host.
        (
            {"flv_url": "http://127.0.0.1:8080"},
            StreamRef("edge", "a.b/live", "cam"),
            "rtmp://127.0.0.1:1935/live/cam?vhost=a.b",
        ),
    ],
)
def test_watchers_pull_from_where_the_entry_says(settings: dict[str, object], ref: StreamRef, address: str) -> None:
    assert server_for(**settings).pull_url(ref) == address


@pytest.mark.parametrize("flv_url", [None, "http://127.0.0.1:8080"])
@pytest.mark.parametrize(
    ("app", "name"),
    [
        ("live", "a b"),
        ("live", "a/b"),
        ("live", "a?vhost=b"),
        ("live", "a#b"),
        ("live", "a%62"),
        ("live", "a,b"),
        ("live", "a...vhost...b"),
        ("live", "é"),
        ("live", "x" * 256),
        ("live?a", "cam"),
        ("live=a", "cam"),
        ("live,a", "cam"),
        ("__defaultVhost__/../live", "cam"),
        ("__defaultVhost__/live/", "cam"),
        ("__defaultVhost__//live", "cam"),
        ("a b/live", "cam"),
        ("/live", "cam"),
    ],
)
def test_a_name_that_an_address_cannot_carry_is_refused(flv_url: str | None, app: str, name: str) -> None:
    with pytest.raises(UnsafeCallRefused):
        server_for(flv_url=flv_url).pull_url(StreamRef("edge", app, name))
