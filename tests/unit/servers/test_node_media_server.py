"""What Node-Media-Server's adapter makes of its answers, the awkward ones too; a real one runs in tests/integration."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from monitor.config.servers import NodeMediaServer
from monitor.errors import (
    ConfigError,
    GateRequestError,
    MediaServerRefused,
    MediaServerUnreachable,
    UnsafeCallRefused,
)
from monitor.servers.control import Answer
from monitor.servers.node_media_server import adapter as adapter_module
from monitor.servers.node_media_server.adapter import NodeMediaServerAdapter
from monitor.servers.node_media_server.gate import notification_reply, parse_notification
from monitor.servers.node_media_server.listing import read_address, read_streams
from monitor.servers.node_media_server.names import stream_address
from monitor.servers.port import GateRequest, RawGateRequest
from monitor.vocabulary import StreamRef
from tests.fakes.clock import ManualClock

ENVIRON = {"SECRET": "a password"}
SESSION = "mwu49r1vteuj4nyu"


def listed(key: str = "/live/cam", status: str = "publishing", **publisher: Any) -> dict[str, Any]:
    """One entry as a real server sent it."""
    _, app, name = key.split("/")[:3]
    told = {
        "id": SESSION,
        "ip": "127.0.0.1:45014",
        "protocol": "rtmp",
        "createTime": 1795489803572,
        "videoCodec": 7,
        "videoWidth": 320,
        "videoHeight": 240,
        "videoFramerate": 15,
        "audioChannels": 1,
        "inBytes": 20109,
    }
    return {
        "key": key,
        "app": app,
        "name": name,
        "status": status,
        "publisher": told | publisher,
        "subscribers": 2,
        "outBytes": 0,
        "inBps": 16444,
        "outBps": 0,
        "recording": False,
    }


def answer(*streams: dict[str, Any]) -> Answer:
    data = {"streams": streams, "total": len(streams)}
    return Answer(200, json.dumps({"success": True, "data": data, "message": "…"}).encode())


@dataclass
class FakeApi:
    """Answers as the real one does; what it says can be changed."""

    streams: list[dict[str, Any]] = field(default_factory=list)
    password: str = "a password"
    tokens: list[str] = field(default_factory=list)
    valid: set[str] = field(default_factory=set)
    login_status: int | None = None
    login_body: dict[str, Any] | None = None
    closing_status: int = 200
    closes: bool = True
    asked: list[str] = field(default_factory=list)

    async def log_in(self, request: web.Request) -> web.Response:
        self.asked.append("login")
        if self.login_status is not None or self.login_body is not None:
            return web.json_response(self.login_body or {"success": False}, status=self.login_status or 200)
        if (await request.json()) != {"username": "admin", "password": self.password}:
            return web.json_response({"success": False, "data": {}}, status=401)
        token = f"token-{len(self.tokens)}"
        self.tokens.append(token)
        self.valid.add(token)
        return web.json_response({"success": True, "data": {"token": token, "expiresIn": "24h"}})

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.raw_path}")
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.valid:
            return web.json_response({"success": False, "code": "UNAUTHORIZED"}, status=401)
        if request.method == "DELETE":
            if self.closes and self.closing_status == 200:
                self.streams.clear()
            return web.json_response({"success": self.closing_status == 200}, status=self.closing_status)
        return web.json_response({"success": True, "data": {"streams": self.streams, "total": len(self.streams)}})


@asynccontextmanager
async def edge(api: FakeApi) -> AsyncIterator[tuple[NodeMediaServerAdapter, ManualClock]]:
    app = web.Application()
    app.router.add_post("/api/v1/login", api.log_in)
    app.router.add_route("*", "/api/v1/{rest:.*}", api.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    clock = ManualClock()
    section = section_at(f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        async with NodeMediaServerAdapter(section, clock=clock, environ=ENVIRON) as server:
            yield server, clock
    finally:
        await runner.cleanup()


def section_at(url: str, **settings: object) -> NodeMediaServer:
    entry = {
        "kind": "node_media_server",
        "name": "edge",
        "api_url": url,
        "password": {"env": "SECRET"},
        "rtmp_url": "rtmp://127.0.0.1:1935/",
    }
    return NodeMediaServer.model_validate(entry | settings)


def test_a_listing_is_read_with_all_that_is_known() -> None:
    (stream,) = read_streams(answer(listed()), server="edge")

    assert stream.ref == StreamRef("edge", "live", "cam")
    assert (stream.session, stream.publisher_address, stream.viewers) == (SESSION, "127.0.0.1", 2)
    assert stream.started_at == datetime(2026, 11, 24, 3, 10, 3, 572000, UTC)
    assert stream.video == "H264 320x240"


def test_streams_that_are_over_are_not_live_and_those_of_an_unknown_state_are() -> None:
    idle = listed("/live/c", "idle") | {"publisher": None}
    streams = read_streams(
        answer(listed("/live/a", "reconnecting"), listed("/live/b"), idle, listed("/live/d", "paused")), server="edge"
    )

    assert [stream.ref.name for stream in streams] == ["b", "d"]


@pytest.mark.parametrize(
    ("metadata", "video"),
    [
        ({"videoCodec": 12, "videoWidth": 1920, "videoHeight": 1080}, "HEVC 1920x1080"),
        ({"videoCodec": None, "videoWidth": None, "videoHeight": None}, ""),
        ({"videoCodec": "<b>", "videoWidth": "x", "videoHeight": {}}, ""),
        ({"videoCodec": 1e308, "videoWidth": -1, "videoHeight": 10**9}, ""),
        ({"videoCodec": [7], "createTime": "yesterday"}, "320x240"),
        ({"videoCodec": True, "createTime": 1e300}, "320x240"),
    ],
)
def test_whatever_a_publisher_says_of_its_video_the_rest_is_read(metadata: dict[str, Any], video: str) -> None:
    first, second = read_streams(answer(listed("/live/a", **metadata), listed("/live/b")), server="edge")

    assert first.video == video
    assert second.ref.name == "b"


def test_a_longer_path_is_not_taken_for_the_stream_whose_name_it_begins_with() -> None:
    first, second = read_streams(answer(listed("/live/cam"), listed("/live/cam/more")), server="edge")

    assert first.ref != second.ref
    with pytest.raises(UnsafeCallRefused):
        stream_address("rtmp://h", second.ref.app, second.ref.name, secret=None, expires_at=0)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.9:5000", "203.0.113.9"),
        ("::ffff:203.0.113.9:5000", "203.0.113.9"),
        ("2001:db8::1:5000", "2001:db8::1"),
        ("127.0.0.1", None),
        ("", None),
        ("undefined:undefined", None),
        ("host:80", None),
    ],
)
def test_an_address_comes_with_a_port_or_is_made_up(text: str, address: str | None) -> None:
    assert read_address(text) == address


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data":{"streams":[{"key":1}]}}', b"<html>", b"[" * 100_000])
def test_another_answer_is_no_empty_listing(body: bytes) -> None:
    with pytest.raises(MediaServerRefused):
        read_streams(Answer(200, body), server="edge")


def notification(**fields: object) -> RawGateRequest:
    sent = {
        "id": SESSION,
        "ip": "203.0.113.9:37738",
        "app": "live",
        "name": "cam",
        "query": {"name": "other", "token": "secret"},
        "protocol": "rtmp",
        "createtime": 1795489803572,
        "endtime": 0,
        "inbytes": 3400,
        "outbytes": 0,
        "filePath": "",
        "action": "prePublish",
    }
    return RawGateRequest("text/plain;charset=UTF-8", json.dumps(sent | fields).encode())


def test_whoever_begins_to_publish_is_decided_on() -> None:
    assert parse_notification("edge", notification()) == GateRequest(
        call="publish", ref=StreamRef("edge", "live", "cam"), session=SESSION, publisher_address="203.0.113.9"
    )


@pytest.mark.parametrize(
    ("action", "news"), [("postPublish", True), ("donePublish", True), ("prePlay", False), ("doneRecord", False)]
)
def test_everything_else_is_only_noted(action: str, news: bool) -> None:
    request = parse_notification("edge", notification(action=action, name=None))

    assert (request.call, request.ref, request.news) == (action, None, news)


@pytest.mark.parametrize(
    "request_",
    [
        RawGateRequest("text/plain", b"call=publish&app=live&name=cam"),
        RawGateRequest("text/plain", b"[]"),
        RawGateRequest("text/plain", b"\xff"),
        notification(action=None),
        notification(action="pre\nPublish"),
        notification(name="../cam"),
        notification(name=""),
        notification(app=["live"]),
        RawGateRequest("text/plain", notification().body.replace(b'"app"', b'"name": "other", "app"')),
    ],
)
def test_what_cannot_be_understood_is_refused(request_: RawGateRequest) -> None:
    with pytest.raises(GateRequestError):
        parse_notification("edge", request_)


def test_yes_is_exactly_200() -> None:
    assert notification_reply(allow=True).status == 200
    assert notification_reply(allow=False).status == 403


def test_an_address_is_signed_as_the_server_checks_it() -> None:
    signed = stream_address("rtmp://h:1935/", "live", "cam", secret="key", expires_at=1000)

    # printf /live/cam-1000-key | md5sum
    assert signed == "rtmp://h:1935/live/cam?sign=1000-08fca8e9c49f214f5c542b81d27c3551"


async def test_one_login_serves_many_calls_and_a_token_that_has_ended_is_replaced_once() -> None:
    api = FakeApi([listed()])
    async with edge(api) as (server, _):
        await server.list_streams()
        await server.list_streams()
        assert api.asked.count("login") == 1

        api.valid.clear()
        assert len(await server.list_streams()) == 1
        assert api.asked.count("login") == 2


async def test_a_refused_login_is_tried_again_after_ever_longer_pauses() -> None:
    api = FakeApi(password="another")
    async with edge(api) as (server, clock):
        tried: list[int] = []
        for minute in range(40):
            for _ in range(3):
                with pytest.raises(MediaServerRefused) as caught:
                    await server.list_streams()
                assert (caught.value.reason, caught.value.retryable) == ("unauthorized", True)
            if api.asked.count("login") > len(tried):
                tried.append(minute)
            await clock.advance(60)
        assert tried == [0, 1, 3, 7, 15, 30]

        api.password = "a password"
        await clock.advance(900)
        assert await server.list_streams() == ()


async def test_a_login_that_fails_otherwise_is_no_refusal() -> None:
    api = FakeApi(login_status=502)
    async with edge(api) as (server, _):
        with pytest.raises(MediaServerRefused) as caught:
            await server.list_streams()
        assert caught.value.reason == "bad_status"
        api.login_status = None
        assert await server.list_streams() == ()

    api = FakeApi(login_body={"success": True, "data": {"token": "a\r\nX: 1"}})
    async with edge(api) as (server, _):
        with pytest.raises(MediaServerRefused) as caught:
            await server.list_streams()
        assert caught.value.reason == "not_a_listing"


async def test_a_cut_closes_the_one_session_by_its_number() -> None:
    api = FakeApi([listed()])
    async with edge(api) as (server, _):
        result = await server.cut(StreamRef("edge", "live", "cam"))

    assert (result.matched, result.verified) == (1, True)
    assert [asked for asked in api.asked if asked.startswith("DELETE")] == [f"DELETE /api/v1/sessions/{SESSION}"]


async def test_a_session_that_stays_listed_is_not_cut_whatever_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_module, "_VERIFY_DELAYS_S", (0.0, 0.0))
    api = FakeApi([listed()], closing_status=404)
    async with edge(api) as (server, _):
        result = await server.cut(StreamRef("edge", "live", "cam"))
        assert (result.matched, result.verified) == (0, False)
        api.closing_status = 500
        with pytest.raises(MediaServerRefused):
            await server.cut(StreamRef("edge", "live", "cam"))


@pytest.mark.parametrize("session", ["../streams", "a/b", "x", "", "MWU49R1VTEUJ4NYU"])
async def test_nothing_but_a_session_number_goes_into_a_call(session: str) -> None:
    api = FakeApi([listed(id=session)])
    async with edge(api) as (server, _):
        with pytest.raises(UnsafeCallRefused):
            await server.cut(StreamRef("edge", "live", "cam"))
        if session:
            with pytest.raises(UnsafeCallRefused):
                await server.cut(StreamRef("edge", "live", "cam"), session)
    assert not any(asked.startswith("DELETE") for asked in api.asked)


async def test_errors_name_neither_password_nor_stream() -> None:
    async with NodeMediaServerAdapter(section_at("http://127.0.0.1:1"), environ=ENVIRON) as server:
        with pytest.raises(MediaServerUnreachable) as caught:
            await server.cut(StreamRef("edge", "live", "cam-secret"))
    assert "secret" not in str(caught.value)
    assert "a password" not in str(caught.value)


@pytest.mark.parametrize("missing", ["password", "play_secret"])
def test_a_secret_that_is_not_there_is_named(missing: str) -> None:
    section = section_at("http://127.0.0.1:1", **{missing: {"env": "NOWHERE"}})
    with pytest.raises(ConfigError, match=f"server edge: {missing}: .*is not set"):
        NodeMediaServerAdapter(section, environ=ENVIRON)
