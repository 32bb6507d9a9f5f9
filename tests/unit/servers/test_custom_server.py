"""Programs and webhooks of an operator's own, on their bad days; the contract suite has their good ones."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from monitor.config.servers import CustomServer
from monitor.errors import (
    ConfigError,
    GateRequestError,
    MediaServerError,
    MediaServerRefused,
    MediaServerUnreachable,
    UnsafeCallRefused,
)
from monitor.servers.command import ask_program
from monitor.servers.custom import adapter as adapter_module
from monitor.servers.custom.adapter import CustomMediaServer
from monitor.servers.custom.wire import answer_question, read_listing, read_question
from monitor.servers.port import GateRequest, RawGateRequest
from monitor.vocabulary import StreamRef
from tests.fakes.custom_site import ENVIRON, custom_section

CAM = StreamRef("edge", "live", "cam")
UNTIL = datetime(2026, 12, 24, 18, 0, tzinfo=UTC)


def entry(**settings: object) -> dict[str, Any]:
    return {"app": "live", "name": "cam", "session": "17", **settings}


def listing(*streams: dict[str, Any]) -> bytes:
    return json.dumps({"streams": streams}).encode()


def python(code: str, *arguments: str) -> dict[str, list[str]]:
    return {"command": [sys.executable, "-I", "-S", "-c", code, *arguments]}


@dataclass
class Hooks:
    """An operator's service: answers as told, and remembers what it was asked."""

    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        status, body = self.answers.get(self.asked[-1]["call"], (200, b""))
        return web.Response(status=status, body=body)


@asynccontextmanager
async def edge(hooks: Hooks, *calls: str, **settings: object) -> AsyncIterator[CustomMediaServer]:
    app = web.Application()
    app.router.add_post("/", hooks.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    webhook = {"webhook": f"http://127.0.0.1:{runner.addresses[0][1]}/"}
    section = custom_section(**{f"on_{call}": webhook for call in ("list", *calls)} | settings)
    try:
        async with CustomMediaServer(section, environ=ENVIRON) as server:
            yield server
    finally:
        await runner.cleanup()


def test_a_list_is_read_with_all_that_it_may_say() -> None:
    (one,) = read_listing(
        listing(
            entry(
                url="rtsp://10.0.0.9/x?token=1",
                publisher_address="2001:DB8::1",
                started_at="2026-11-24T03:00:00+01:00",
                viewers=3,
                video="H264 1280x720",
                held=True,
                more="is passed over",
            )
        ),
        server="edge",
    )

    assert (one.stream.ref, one.stream.session, one.stream.publisher_address) == (CAM, "17", "2001:db8::1")
    assert one.stream.started_at == datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
    assert (one.stream.viewers, one.stream.video, one.stream.held) == (3, "H264 1280x720", True)
    assert one.url == "rtsp://10.0.0.9/x?token=1"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "this is no JSON document"),
        (b"<html>", "this is no JSON document"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `streams`"),
        (listing({"app": "live", "name": "cam"}), "missing required field `session` - at `$.streams[0]`"),
        (listing(entry(), entry(session=17)), "Expected `str`, got `int` - at `$.streams[1].session`"),
        (listing(entry(session="")), "1 to 1024 characters - at `$.streams[0]`"),
        (listing(entry(name="x" * 1025)), "1 to 1024 characters - at `$.streams[0]`"),
        (listing(entry(url="file:///etc/passwd")), "url is no address that is watched - at `$.streams[0]`"),
        (listing(entry(url="concat:a|b")), "url is no address that is watched"),
        (listing(entry(started_at="2026-11-24T03:00:00")), "started_at is neither Unix time nor"),
        (listing(entry(started_at=1e300)), "started_at is neither Unix time nor"),
        (listing(entry(), entry()), "one publication is listed twice"),
        (b'{"streams": [], "streams": []}', "this is no JSON document"),
    ],
)
def test_a_list_that_is_not_as_agreed_says_where(answer: bytes, why: str) -> None:
    with pytest.raises(MediaServerRefused) as caught:
        read_listing(answer, server="edge")

    assert caught.value.reason == "not_as_agreed"
    assert str(caught.value).startswith("on_list did not answer as agreed: ")
    assert why in str(caught.value)


async def test_whoever_is_meant_is_asked_for_with_what_the_list_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_module, "_VERIFY_DELAYS_S", (0.0,))
    hooks = Hooks({"list": (200, listing(entry(publisher_address="10.0.0.9"), entry(name="other", session="18")))})
    async with edge(hooks, "cut") as server:
        result = await server.cut(CAM)

    cuts = [asked for asked in hooks.asked if asked["call"] == "cut"]
    about = {"server": "edge", "app": "live", "name": "cam", "session": "17", "address": "10.0.0.9"}
    assert cuts == [{"call": "cut", **about}]
    # An empty answer is a yes; but the stream is still listed.
    assert (result.matched, result.verified) == (1, False)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b"", "bad_status"),
        (301, b"", "bad_status"),
        (401, b"", "unauthorized"),
        (200, b"done", "not_as_agreed"),
        (200, b'{"matched": 7}', "not_as_agreed"),
        (200, b'{"matched": "1"}', "not_as_agreed"),
    ],
)
async def test_an_answer_that_is_no_yes_is_no_success(status: int, body: bytes, reason: str) -> None:
    hooks = Hooks({"list": (200, listing(entry())), "cut": (status, body)})
    async with edge(hooks, "cut") as server:
        with pytest.raises(MediaServerRefused) as caught:
            await server.cut(CAM)

    assert caught.value.reason == reason
    assert "cam" not in str(caught.value)


async def test_a_stream_that_is_held_already_needs_nothing() -> None:
    hooks = Hooks({"list": (200, listing(entry(held=True)))})
    async with edge(hooks, "hold", "release") as server:
        held = await server.hold(CAM)

    assert (held.matched, held.verified) == (1, True)
    assert {asked["call"] for asked in hooks.asked} == {"list"}


async def test_blocks_are_passed_on_with_their_end() -> None:
    hooks = Hooks()
    async with edge(hooks, "block", "unblock") as server:
        assert server.takes_blocks
        await server.block(CAM, UNTIL)
        await server.unblock(CAM)
    async with edge(Hooks()) as without:
        assert not without.takes_blocks

    about = {"server": "edge", "app": "live", "name": "cam"}
    assert hooks.asked == [
        {"call": "block", "until": "2026-12-24T18:00:00+00:00", **about},
        {"call": "unblock", **about},
    ]


async def test_without_a_way_nothing_is_claimed() -> None:
    hooks = Hooks({"list": (200, listing(entry()))})
    async with edge(hooks) as server:
        result = await server.cut(CAM)
        assert (result.matched, result.verified) == (0, False)
        assert await server.probe() == ("streams are watched but cannot be cut: set on_cut",)
        for refused in (server.hold, server.release):
            with pytest.raises(MediaServerRefused, match="cannot hold"):
                await refused(CAM)
    assert {asked["call"] for asked in hooks.asked} == {"list"}


async def test_an_address_from_the_list_goes_before_the_pattern_and_unsafe_names_have_none() -> None:
    hooks = Hooks({"list": (200, listing(entry(url="rtmp://h/by-list"), entry(name="a b", session="18")))})
    async with edge(hooks, pull_url="rtsp://h/{app}/{name}") as server:
        assert server.pull_url(CAM) == "rtsp://h/live/cam"
        await server.list_streams()
        assert server.pull_url(CAM) == "rtmp://h/by-list"
        for name in ("a b", "..", "a/b", "a?b", "a%2fb", "{app}", ""):
            with pytest.raises(UnsafeCallRefused):
                server.pull_url(StreamRef("edge", "live", name))


async def test_a_program_gets_json_and_safe_arguments_only(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    code = f"import sys; open({str(seen)!r}, 'w').write(sys.stdin.read() + repr(sys.argv[1:])); print()"
    hostile = entry(name="$(reboot); -rf", session="18")
    list_call = python("import sys; print(sys.argv[1])", listing(entry(), hostile).decode())
    section = custom_section(on_list=list_call, on_cut=python(code, "--name={name}"))
    async with CustomMediaServer(section, environ=ENVIRON) as server:
        with pytest.raises(UnsafeCallRefused):
            await server.cut(StreamRef("edge", "live", "$(reboot); -rf"))
        assert not seen.exists()
        await server.cut(CAM)

    question, arguments = seen.read_text().split("\n")
    assert json.loads(question) == {"server": "edge", "app": "live", "name": "cam", "session": "17", "call": "cut"}
    assert arguments == "['--name=cam']"


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        ("raise SystemExit(3)", MediaServerRefused, "command_failed"),
        ("raise SystemExit(75)", MediaServerUnreachable, "unreachable"),
        ("import time; time.sleep(60)", MediaServerUnreachable, "timeout"),
        ("while True: print('x' * 10000)", MediaServerRefused, "answer_too_large"),
    ],
)
async def test_a_program_that_fails_says_how(code: str, error: type[MediaServerError], reason: str) -> None:
    with pytest.raises(error) as caught:
        await ask_program(
            python(code)["command"], b"{}", what="the command of on_list", timeout_s=1.0, max_answer_bytes=100_000
        )

    assert caught.value.reason == reason
    assert str(caught.value).startswith("the command of on_list ")


async def test_a_program_need_not_read_its_question_and_one_that_is_missing_is_named() -> None:
    large = b"x" * 4_000_000
    answer = await ask_program(python("print('{}')")["command"], large, what="it", timeout_s=10.0, max_answer_bytes=100)
    assert answer == b"{}\n"
    with pytest.raises(MediaServerRefused, match="it cannot be started"):
        await ask_program(["/no/such/program"], b"", what="it", timeout_s=1.0, max_answer_bytes=1)


def question(**fields: object) -> RawGateRequest:
    asked = {"call": "publish", "app": "live", "name": "cam", "session": "17", "address": "10.0.0.9"}
    return RawGateRequest("application/json", json.dumps(asked | fields).encode())


def test_the_gate_decides_where_the_server_waits_and_is_told_where_it_does_not() -> None:
    assert read_question("edge", question(), decides=True) == GateRequest("publish", CAM, "17", "10.0.0.9")
    assert read_question("edge", question(), decides=False) == GateRequest("told", CAM, "17", "10.0.0.9", news=True)
    assert read_question("edge", question(call="done"), decides=True).news
    assert [answer_question(allow=allow).status for allow in (True, False)] == [200, 403]
    assert json.loads(answer_question(allow=False).body) == {"allow": False}


@pytest.mark.parametrize(
    "request_", [RawGateRequest("", b""), question(name=""), question(app=None), question(session=1)]
)
def test_a_question_that_names_no_stream_is_refused(request_: RawGateRequest) -> None:
    with pytest.raises(GateRequestError):
        read_question("edge", request_, decides=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"on_hold": {"command": ["x"]}}, "name both on_hold and on_release"),
        ({"on_block": {"command": ["x"]}}, "name both on_block and on_unblock"),
        ({"on_cut": {}}, "name either command or webhook"),
        ({"on_cut": {"command": ["x"], "webhook": "http://h/"}}, "name either command or webhook"),
        ({"promises": ["synchronous_block"]}, "name pull_url"),
        ({"second_control": "http://127.0.0.2:9000"}, "called as they are written"),
        ({"pull_url": "rtsp://h/{app}"}, "pattern"),
        ({"pull_url": "rtsp://h/{app}/{name}?token=x"}, "pattern"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        custom_section(**{"on_list": {"command": ["x"]}} | settings)


@pytest.mark.parametrize("environ", [{}, {"HOOK_TOKEN": "a\u00e9b"}])
def test_a_token_that_cannot_be_sent_is_refused(environ: dict[str, str]) -> None:
    section: CustomServer = custom_section(on_list={"command": ["x"]})
    with pytest.raises(ConfigError, match="server edge: webhook_token: "):
        CustomMediaServer(section, environ=environ)
