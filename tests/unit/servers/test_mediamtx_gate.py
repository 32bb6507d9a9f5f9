"""The questions of MediaMTX's HTTP authentication: who comes in, where Livecordon answers alone and where it asks on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog.testing

from monitor.errors import GateRequestError
from monitor.servers.mediamtx import adapter as adapter_module
from monitor.servers.mediamtx.adapter import MediaMtxMediaServer
from monitor.servers.port import KeepsTheDoor, RawGateRequest
from monitor.vocabulary import StreamRef
from tests.fakes.fake_mediamtx import FakeMediaMtx, operators_authentication
from tests.fakes.mediamtx_site import gate_for, mediamtx_section
from tests.fakes.misbehaving import Bad, Temper

ENVIRON = {"PUBLISHER": "s3cret", "READER": "sesame", "OWN": "0wn"}
ACCOUNTS = [
    {"username": "studio", "password": {"env": "PUBLISHER"}},
    {"username": "desk", "password": {"env": "READER"}, "actions": ["read", "playback"]},
]
OWN = {"username": "livecordon", "password": {"env": "OWN"}}


def question(**fields: object) -> RawGateRequest:
    asked = {
        "ip": "192.0.2.7",
        "user": "",
        "password": "",
        "token": "",
        "action": "publish",
        "path": "live/cam",
        "protocol": "rtsp",
        "id": None,
        "query": "",
        "userAgent": "",
    }
    return RawGateRequest("application/json", json.dumps(asked | fields).encode())


def server_with(**settings: object) -> MediaMtxMediaServer:
    entry = {"api_url": "http://127.0.0.1:1", "pull_url": "rtsp://127.0.0.1:8554"} | settings
    return MediaMtxMediaServer(mediamtx_section(FakeMediaMtx(), **entry), environ=ENVIRON)


async def status(server: MediaMtxMediaServer, request: RawGateRequest) -> int:
    """Return what the gate answers to somebody who is not blocked."""
    asked = server.parse_gate_request(request)
    return (await server.refusal(request, asked) or server.gate_reply(asked, allow=True)).status


def test_the_daemons_gate_knows_that_this_server_leaves_more_to_it() -> None:
    assert isinstance(server_with(), KeepsTheDoor)


def test_a_question_is_read() -> None:
    key = "e0e1c3a1-5b0c-4d3f-8d6c-0a1b2c3d4e5f"
    asked = server_with().parse_gate_request(question(id=key, ip="::ffff:192.0.2.7", path="a/b/cam"))

    assert (asked.call, asked.ref, asked.session) == ("publish", StreamRef("edge", "a/b", "cam"), key)
    assert asked.publisher_address == "192.0.2.7"


def test_a_question_about_the_api_is_about_no_stream() -> None:
    asked = server_with().parse_gate_request(question(action="api", path="", ip="127.0.0.1"))

    assert (asked.call, asked.ref) == ("api", None)


@pytest.mark.parametrize(
    "request_",
    [
        RawGateRequest("text/plain", question().body),
        RawGateRequest("application/json", b"{"),
        RawGateRequest("application/json", b'{"path":"live/cam"}'),
        RawGateRequest("application/json", b'{"action":"publish","path":7}'),
        RawGateRequest("application/json", b"\xff"),
        RawGateRequest("application/json", b'{"action":"publish","path":"' + b"x" * 70_000 + b'"}'),
        question(path=""),
        question(path="/live/cam"),
        question(path="live/../cam"),
        question(path="live/cam\r\nx"),
    ],
)
def test_what_mediamtx_would_never_ask_is_refused(request_: RawGateRequest) -> None:
    with pytest.raises(GateRequestError):
        server_with().parse_gate_request(request_)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 200),
        ({"action": "read"}, 200),
        ({"action": "playback"}, 200),
        ({"action": "api", "path": "", "ip": "127.0.0.1"}, 200),
        ({"action": "api", "path": "", "ip": "::1"}, 200),
        ({"action": "api", "path": ""}, 401),
        ({"action": "api", "path": "", "user": "x", "password": "y"}, 403),
        ({"action": "metrics", "path": ""}, 401),
        ({"action": "api", "path": "", "user": "livecordon", "password": "0wn"}, 200),
        ({"action": "metrics", "path": "", "user": "livecordon", "password": "0wn"}, 403),
    ],
)
async def test_alone_and_without_accounts_all_is_as_mediamtx_has_it_by_itself(
    fields: dict[str, object], expected: int
) -> None:
    assert await status(server_with(**OWN), question(**fields)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # The first request of RTSP never carries a password, and a 403 would end it there.
        ({}, 401),
        ({"user": "studio", "password": "s3cret"}, 200),
        ({"user": "studio", "password": "wrong"}, 403),
        ({"user": "Studio", "password": "s3cret"}, 403),
        ({"user": "studio", "password": ""}, 403),
        ({"user": "desk", "password": "sesame"}, 403),
        ({"user": "desk", "password": "sesame", "action": "read"}, 200),
        ({"user": "studio", "password": "s3cret", "action": "read"}, 403),
        ({"token": "e30.e30.sig"}, 403),
        ({"user": "livecordon", "password": "0wn", "action": "read"}, 200),
        ({"user": "livecordon", "password": "0wn"}, 403),
        ({"user": "livecordon", "password": "0wn", "action": "api", "path": ""}, 200),
        ({"user": "stüdio", "password": "ß"}, 403),
    ],
)
async def test_alone_with_accounts_only_those_come_in(fields: dict[str, object], expected: int) -> None:
    assert await status(server_with(accounts=ACCOUNTS, **OWN), question(**fields)) == expected


def test_what_cannot_be_read_is_refused_where_a_password_was_due() -> None:
    assert server_with().gate_reply(None, allow=True).status == 200
    assert server_with(accounts=ACCOUNTS).gate_reply(None, allow=True).status == 403
    assert server_with(auth_url="http://127.0.0.1:1/").gate_reply(None, allow=True).status == 403
    asked = server_with().parse_gate_request(question())
    assert server_with(accounts=ACCOUNTS).gate_reply(asked, allow=False).status == 403


@asynccontextmanager
async def chained(temper: Temper | None = None, **settings: object) -> AsyncIterator[MediaMtxMediaServer]:
    async with (
        operators_authentication({"studio": "s3cret"}, temper=temper) as (url, _),
        server_with(auth_url=url, **OWN, **settings) as server,
    ):
        yield server


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 401),
        ({"user": "studio", "password": "s3cret"}, 200),
        ({"user": "studio", "password": "wrong"}, 403),
        ({"user": "studio", "password": "s3cret", "action": "read"}, 200),
        ({"user": "livecordon", "password": "0wn", "action": "read"}, 200),
        ({"user": "livecordon", "password": "0wn", "action": "api", "path": ""}, 200),
        ({"action": "api", "path": "", "ip": "127.0.0.1"}, 401),
    ],
)
async def test_chained_the_operators_own_authentication_decides(fields: dict[str, object], expected: int) -> None:
    async with chained() as server:
        assert await status(server, question(**fields)) == expected


async def test_chained_the_question_is_passed_on_as_it_came_and_our_own_calls_are_not() -> None:
    mine = question(user="studio", password="s3cret", query="a=1&b=2", userAgent="ÖBS")
    async with (
        operators_authentication({"studio": "s3cret"}) as (url, questions),
        server_with(auth_url=url, **OWN) as server,
    ):
        await status(server, mine)
        await status(server, question(user="livecordon", password="0wn", action="api", path=""))

    assert questions == [json.loads(mine.body)]


@pytest.mark.parametrize(
    "bad",
    [Bad(hang=True), Bad(reset=True), Bad(status=500), Bad(status=302), Bad(status=200, body=b"x" * 100_000)],
    ids=["hangs", "resets", "500", "redirects", "endless"],
)
async def test_nobody_comes_in_while_the_operators_authentication_does_not_answer(
    bad: Bad, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_module, "_LONGEST_QUESTION_S", 0.2)
    temper = Temper(always={"POST /auth": bad})
    # However patient the control interface is asked: the publish gate lets in whom it has not decided on after 2 s.
    async with chained(temper, request_timeout="60s") as server, asyncio.timeout(20):
        with structlog.testing.capture_logs() as logs:
            assert await status(server, question(user="studio", password="s3cret")) == 403

    assert "s3cret" not in str(logs)


async def test_a_failure_of_our_own_lets_nobody_in_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def defect(*_arguments: object) -> None:
        raise RuntimeError("s3cret")

    async with chained() as server:
        monkeypatch.setattr(server._rules, "_ask_operator", defect)
        with structlog.testing.capture_logs() as logs:
            assert await status(server, question(user="studio", password="s3cret")) == 403

    assert [entry["event"] for entry in logs] == ["door_rules_failed"]
    assert "s3cret" not in str(logs)


async def test_an_rtsp_publisher_with_a_password_comes_in_at_the_second_request() -> None:
    servers: list[MediaMtxMediaServer] = []
    async with gate_for(servers, {"banned"}) as gate_url, FakeMediaMtx(auth_url=gate_url) as mediamtx:
        section = mediamtx_section(mediamtx, accounts=ACCOUNTS)
        async with MediaMtxMediaServer(section, environ=ENVIRON) as server:
            servers.append(server)
            login = {"user": "studio", "password": "s3cret"}
            rtsp = await mediamtx.publish("live/cam", kind="rtspSession", **login)
            rtmp = await mediamtx.publish("live/cam2", **login)
            banned = await mediamtx.publish("live/banned", kind="rtspSession", **login)
            stranger = await mediamtx.publish("live/cam3", kind="rtspSession")

            assert (rtsp.answers, rtmp.answers, banned.answers, stranger.answers) == ([401, 200], [200], [403], [401])
            # Our own calls were asked about as well, and let in.
            assert {stream.ref.name for stream in await server.list_streams()} == {"cam", "cam2"}
            assert server.pull_url(StreamRef("edge", "live", "cam")).startswith("http://livecordon:")


async def test_without_the_gate_nobody_publishes_and_the_api_answers_401() -> None:
    async with FakeMediaMtx(auth_url="http://127.0.0.1:1/gate/edge") as mediamtx:
        publisher = await mediamtx.publish("live/cam")

        assert not publisher.live
        assert publisher.answers == [403]
