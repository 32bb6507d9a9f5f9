"""The LiveKit adapter against a server that answers as recorded, also on its bad days."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from monitor.errors import ConfigError, MediaServerRefused, MediaServerUnreachable, UnsafeCallRefused
from monitor.servers.livekit import adapter as adapter_module
from monitor.servers.livekit.adapter import HELD, LiveKitMediaServer
from monitor.servers.port import LiveStream
from monitor.vocabulary import StreamRef
from tests.fakes.fake_livekit import FakeLiveKit
from tests.fakes.livekit_site import ENVIRON, livekit_section
from tests.fakes.misbehaving import Bad
from tests.fakes.sites import free_port

ANNE = StreamRef("edge", "stage", "anne")
SERVICE = "POST /twirp/livekit.RoomService"
ROOMS = f"{SERVICE}/ListRooms"
PARTICIPANTS = f"{SERVICE}/ListParticipants"
UPDATE = f"{SERVICE}/UpdateParticipant"
REMOVE = f"{SERVICE}/RemoveParticipant"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_module, "_VERIFY_DELAYS_S", (0.0, 0.01, 0.02, 0.1))


@asynccontextmanager
async def running(
    livekit: FakeLiveKit | None = None, **settings: object
) -> AsyncIterator[tuple[FakeLiveKit, LiveKitMediaServer]]:
    async with livekit or FakeLiveKit() as fake:
        entry = {"request_timeout": "10s"} | settings
        async with LiveKitMediaServer(livekit_section(fake, **entry), environ=ENVIRON) as server:
            yield fake, server


async def only(server: LiveKitMediaServer) -> LiveStream:
    (stream,) = await server.list_streams()
    return stream


def changes(livekit: FakeLiveKit) -> list[str]:
    return [method for method, _ in livekit.calls if not method.startswith("List")]


async def test_a_stream_is_who_publishes_video() -> None:
    async with running() as (livekit, server):
        anne = await livekit.join("stage", "anne")
        await livekit.join("stage", "listener", video=False)
        await livekit.join("stage", "livecordon", hidden=True)
        await livekit.join("stage", "EG_1", kind="EGRESS")
        await livekit.join("attic", "bob", kind="INGRESS", encryption="GCM")

        streams = {stream.ref: stream for stream in await server.list_streams()}

    assert set(streams) == {ANNE, StreamRef("edge", "attic", "bob")}
    assert streams[ANNE].session == anne.sid
    assert (streams[ANNE].viewers, streams[ANNE].video, streams[ANNE].publisher_address) == (1, "VP8 160x120", None)
    assert streams[ANNE].started_at == datetime.fromtimestamp(anne.joined_at, UTC)
    assert streams[StreamRef("edge", "attic", "bob")].video == "VP8 160x120 end-to-end encrypted"


async def test_every_call_has_a_token_for_itself() -> None:
    # The fake refuses tokens that allow other rooms, or calls, than the one that is made.
    async with running() as (livekit, server):
        await livekit.join("stage", "anne")
        await livekit.join("attic", "anne")

        await server.hold(ANNE)
        await server.release(ANNE)
        await server.cut(ANNE)

        assert [stream.ref.app for stream in await server.list_streams()] == ["attic"]


async def test_many_rooms_are_looked_into() -> None:
    async with running() as (livekit, server):
        for number in range(40):
            await livekit.join(f"room{number}", "anne")

        assert len(await server.list_streams()) == 40


async def test_a_room_that_ends_between_the_two_listings_is_empty() -> None:
    async with running() as (livekit, server):
        await livekit.join("stage", "anne")
        not_found = b'{"code":"not_found","msg":"requested room does not exist"}'
        livekit.temper.planned[PARTICIPANTS] = [Bad(status=404, body=not_found)]

        assert await server.list_streams() == ()


@pytest.mark.parametrize(
    ("bad", "error", "reason"),
    [
        (Bad(hang=True), MediaServerUnreachable, "timeout"),
        (Bad(reset=True), MediaServerUnreachable, "unreachable"),
        (Bad(reset=True, after_bytes=20), MediaServerUnreachable, "unreachable"),
        (Bad(status=401, body=b"invalid token"), MediaServerRefused, "unauthorized"),
        (Bad(status=403), MediaServerRefused, "unauthorized"),
        (Bad(status=503, body=b'{"code":"unavailable","msg":"x"}'), MediaServerRefused, "bad_status"),
        (Bad(status=404, body=b'{"code":"bad_route","msg":"x"}'), MediaServerRefused, "bad_status"),
        (Bad(status=404, body=b"404 page not found"), MediaServerRefused, "bad_status"),
        (Bad(status=200, body=b'{"code":"internal","msg":"x"}'), MediaServerRefused, "not_a_listing"),
        (Bad(status=200, body=b"<html>"), MediaServerRefused, "not_a_listing"),
        (Bad(status=200, body=b'{"rooms":[{}],"participants":[{}]}'), MediaServerRefused, "not_a_listing"),
    ],
    ids=["hangs", "resets", "half", "401", "403", "503", "route", "404", "error_in_200", "html", "shape"],
)
@pytest.mark.parametrize("method", [ROOMS, PARTICIPANTS], ids=["rooms", "participants"])
async def test_what_is_no_listing_is_never_taken_for_an_empty_one(
    method: str, bad: Bad, error: type[Exception], reason: str
) -> None:
    async with running(request_timeout="300ms" if bad.hang else "10s") as (livekit, server):
        await livekit.join("stage", "anne")
        livekit.temper.always[method] = bad

        with pytest.raises(error) as failure:
            await server.list_streams()

    assert getattr(failure.value, "reason", "") == reason
    assert "stage" not in str(failure.value)


async def test_no_rooms_at_all_is_an_empty_listing() -> None:
    async with running() as (livekit, server):
        livekit.temper.always[ROOMS] = Bad(status=200, body=b'{"rooms":null}')

        assert await server.list_streams() == ()


async def test_a_wrong_secret_is_told_as_such() -> None:
    async with FakeLiveKit() as livekit:
        section = livekit_section(livekit)
        async with LiveKitMediaServer(section, environ={"LIVEKIT": "another-secret-of-32-characters!!"}) as server:
            with pytest.raises(MediaServerRefused) as refusal:
                await server.probe()

    assert refusal.value.reason == "unauthorized"


async def test_without_its_secret_it_does_not_start() -> None:
    server = LiveKitMediaServer(livekit_section(FakeLiveKit(api_url="http://127.0.0.1:1")), environ={})

    with pytest.raises(ConfigError):
        await server.__aenter__()


async def test_a_hold_takes_the_right_to_publish_and_nothing_else() -> None:
    async with running() as (livekit, server):
        anne = await livekit.join("stage", "anne")
        anne.attributes["colour"] = "green"
        before = dict(anne.permission)

        result = await server.hold(ANNE, anne.sid)

        assert (result.matched, result.verified) == (1, True)
        assert anne.permission == before | {"can_publish": False}
        assert anne.attributes == {"colour": "green", HELD: "true"}
        assert (await only(server)).held
        assert anne.live

        result = await server.release(ANNE, anne.sid)

        assert (result.matched, result.verified) == (1, True)
        assert (anne.permission, anne.attributes) == (before, {"colour": "green"})
        assert not (await only(server)).held


async def test_a_hold_is_known_after_a_restart() -> None:
    async with running() as (livekit, server):
        await livekit.join("stage", "anne")
        await server.hold(ANNE)
        async with LiveKitMediaServer(livekit_section(livekit), environ=ENVIRON) as later:
            assert (await only(later)).held

            assert (await later.release(ANNE)).matched == 1


@pytest.mark.parametrize("marks_can_be_set", [True, False])
async def test_a_hold_is_known_where_its_mark_is_taken_off_or_was_never_set(marks_can_be_set: bool) -> None:
    async with running(FakeLiveKit(marks_can_be_set=marks_can_be_set)) as (livekit, server):
        anne = await livekit.join("stage", "anne")
        await server.hold(ANNE)
        anne.attributes.clear()

        assert (await only(server)).held
        assert (await server.release(ANNE)).matched == 1


async def test_whoever_was_never_allowed_to_publish_is_not_released_into_it() -> None:
    async with running() as (livekit, server):
        listener = await livekit.join("stage", "anne", video=False)
        # Anybody may give themselves an attribute; it is no permission.
        listener.attributes[HELD] = ""

        held, released = await server.hold(ANNE), await server.release(ANNE)

        assert (held.matched, held.verified, released.matched, released.verified) == (0, True, 0, True)
        assert changes(livekit) == []
        assert listener.permission["can_publish"] is False


async def test_a_hold_is_left_by_joining_anew() -> None:
    async with running() as (livekit, server):
        anne = await livekit.join("stage", "anne")
        await server.hold(ANNE)
        again = await livekit.join("stage", "anne")

        stream = await only(server)

        assert (stream.session, stream.held) == (again.sid, False)
        assert (await server.release(ANNE, anne.sid)).matched == 0


async def test_a_hold_or_cut_of_an_earlier_session_touches_nobody() -> None:
    async with running() as (livekit, server):
        await livekit.join("stage", "anne")

        assert (await server.hold(ANNE, "PA_earlier")).matched == 0
        assert (await server.cut(ANNE, "PA_earlier")).matched == 0
        assert changes(livekit) == []


async def test_where_the_right_cannot_be_taken_the_tracks_are_muted_which_proves_nothing() -> None:
    async with running(FakeLiveKit(refuses_updates=True)) as (livekit, server):
        anne = await livekit.join("stage", "anne")

        result = await server.hold(ANNE)

        assert (result.matched, result.verified) == (1, False)
        assert anne.muted == {f"TR_A{anne.sid}", f"TR_V{anne.sid}"}
        assert "undo" in result.detail


async def test_a_hold_that_changes_nothing_is_not_verified() -> None:
    async with running() as (livekit, server):
        await livekit.join("stage", "anne")
        livekit.temper.always[UPDATE] = Bad(status=200, body=b"{}")

        assert not (await server.hold(ANNE)).verified


async def test_a_hold_of_somebody_who_leaves_meanwhile_is_done() -> None:
    async with running() as (livekit, server):
        anne = await livekit.join("stage", "anne")

        def leave(line: str) -> None:
            if line.startswith(UPDATE):
                livekit.rooms["stage"].clear()
                anne._over.set()

        livekit.temper.before = leave
        result = await server.hold(ANNE)

        assert (result.matched, result.verified) == (0, True)


async def test_a_removal_whose_answer_is_lost_is_unreachable_and_found_done_afterwards() -> None:
    async with running() as (livekit, server):
        await livekit.join("stage", "anne")
        livekit.temper.planned[REMOVE] = [Bad(loses_answer=True)]

        with pytest.raises(MediaServerUnreachable):
            await server.cut(ANNE)

        again = await server.cut(ANNE)
        assert (again.matched, again.verified) == (0, True)
        assert changes(livekit) == ["RemoveParticipant"]


@pytest.mark.parametrize(
    ("bad", "matched"),
    [
        (Bad(status=200, body=b"{}"), 1),
        (Bad(status=404, body=b'{"code":"not_found","msg":"participant does not exist"}'), 0),
    ],
    ids=["nothing_happens", "stale"],
)
async def test_an_answer_is_no_proof_while_they_are_in_the_room(bad: Bad, matched: int) -> None:
    async with running() as (livekit, server):
        await livekit.join("stage", "anne")
        livekit.temper.always[REMOVE] = bad

        result = await server.cut(ANNE)

    assert (result.matched, result.verified) == (matched, False)


@pytest.mark.parametrize(
    "bad",
    [
        Bad(status=404, body=b'{"code":"bad_route","msg":"x"}'),
        Bad(status=200, body=b'{"code":"internal","msg":"x"}'),
        Bad(status=500, body=b'{"code":"internal","msg":"x"}'),
    ],
    ids=["route", "error_in_200", "500"],
)
async def test_a_removal_that_is_refused_says_so(bad: Bad) -> None:
    async with running() as (livekit, server):
        await livekit.join("stage", "anne")
        livekit.temper.always[REMOVE] = bad

        with pytest.raises(MediaServerRefused):
            await server.cut(ANNE)


async def test_somebody_listed_for_a_moment_after_the_removal_is_waited_for() -> None:
    async with running(FakeLiveKit(linger_s=0.03)) as (livekit, server):
        await livekit.join("stage", "anne")

        result = await server.cut(ANNE)

    assert (result.matched, result.verified) == (1, True)


@pytest.mark.parametrize("app", ["", "stage"])
@pytest.mark.parametrize("name", ["", "\ud800"])
async def test_calls_that_name_nobody_are_refused_before_anything_is_sent(app: str, name: str) -> None:
    async with running() as (livekit, server):
        for act in (server.cut, server.hold, server.release):
            with pytest.raises(UnsafeCallRefused):
                await act(StreamRef("edge", app, name))

        assert livekit.calls == []


async def test_only_the_one_participant_is_named_whatever_they_call_themselves() -> None:
    async with running() as (livekit, server):
        hostile = 'anne","room":"attic'
        await livekit.join("stage", hostile)
        await livekit.join("attic", "anne")
        anne = await livekit.join("stage", "anne")

        result = await server.cut(StreamRef("edge", "stage", hostile))

        assert (result.matched, result.verified) == (1, True)
        assert livekit.calls[1] == ("RemoveParticipant", {"room": "stage", "identity": hostile})
        assert anne.live
        assert len(await server.list_streams()) == 2


@pytest.mark.parametrize(
    ("template", "identity", "expected"),
    [
        ("rtsp://h:8554/livekit/{room}/{identity}", "anne-1", "rtsp://h:8554/livekit/stage/anne-1"),
        ("https://h/{room}/{identity}/x.m3u8", "anne@home", "https://h/stage/anne%40home/x.m3u8"),
        ("https://h/{identity}/{room}.flv", "{room}", "https://h/%7Broom%7D/stage.flv"),
    ],
)
def test_the_address_is_made_from_the_template(template: str, identity: str, expected: str) -> None:
    server = LiveKitMediaServer(livekit_section(FakeLiveKit(api_url="http://h"), watch_url=template), environ=ENVIRON)

    assert server.pull_url(StreamRef("edge", "stage", identity)) == expected


@pytest.mark.parametrize(
    ("template", "identity"),
    [
        ("rtsp://h/{room}/{identity}", "anne@home"),
        ("rtsp://h/{room}/{identity}", ".."),
        ("rtmp://h/{room}/{identity}", "anne marie"),
        ("https://h/{room}/{identity}", "../x"),
        ("https://h/{room}/{identity}", "a%2fb"),
        ("https://h/{room}/{identity}", "a\\b"),
        ("https://h/{room}/{identity}", ".."),
        ("https://h/{room}/{identity}", ""),
        ("https://h/{room}/{identity}", "x" * 300),
    ],
)
def test_names_that_would_lead_elsewhere_have_no_address(template: str, identity: str) -> None:
    server = LiveKitMediaServer(livekit_section(FakeLiveKit(api_url="http://h"), watch_url=template), environ=ENVIRON)

    with pytest.raises(UnsafeCallRefused):
        server.pull_url(StreamRef("edge", "stage", identity))


@pytest.mark.parametrize(
    "template", ["rtsp://h/{room}", "rtsp://h/{identity}", "ftp://h/{room}/{identity}", "{room}{identity}"]
)
def test_a_template_that_would_show_one_for_all_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="watch_url"):
        livekit_section(FakeLiveKit(api_url="http://h"), watch_url=template)


async def test_the_second_control_address_is_used_while_the_first_is_down() -> None:
    async with FakeLiveKit() as livekit:
        section = livekit_section(livekit, api_url=f"http://127.0.0.1:{free_port()}", second_control=livekit.api_url)
        async with LiveKitMediaServer(section, environ=ENVIRON) as server:
            await livekit.join("stage", "anne")

            assert (await server.cut(ANNE)).matched == 1
