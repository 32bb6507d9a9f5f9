from __future__ import annotations

import asyncio
from ipaddress import ip_network
from urllib.parse import urlsplit

import aiohttp
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from monitor.errors import StoreError
from monitor.servers.port import GateReply
from monitor.web import gate as gate_module
from monitor.web.server import WebServer
from monitor.web.settings import Listen, WebSettings
from tests.fakes.raw_http import talk
from tests.fakes.web_daemon import FakeDaemon

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def count(decision: str) -> float:
    return REGISTRY.get_sample_value("livecordon_gate_decisions_total", {"decision": decision}) or 0.0


def over_http_1_0(url: str, body: bytes, *, keep: bool = False) -> bytes:
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    connection = "Keep-Alive" if keep else "Close"
    return (
        f"POST {target} HTTP/1.0\r\nHost: {parts.netloc}\r\nConnection: {connection}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@pytest.mark.parametrize("keep", [False, True])
async def test_the_connection_is_closed_so_that_nginx_decides(
    open_web: WebServer, daemon: FakeDaemon, *, keep: bool
) -> None:
    url = open_web.gate_url("studio")
    began = asyncio.get_running_loop().time()
    reply = await talk(url, over_http_1_0(url, b"call=publish&name=cam1", keep=keep))
    assert asyncio.get_running_loop().time() - began < 2
    assert reply.startswith(b"HTTP/1.0 200 ")
    assert reply.endswith(b"\r\n\r\nok")
    assert daemon.gate_requests[0][0] == "studio"
    assert daemon.gate_requests[0][1].body == b"call=publish&name=cam1"
    assert daemon.gate_requests[0][1].content_type == "application/x-www-form-urlencoded"


async def test_http_1_1_keep_alive_is_closed_too(open_web: WebServer) -> None:
    url = open_web.gate_url("studio")
    request = over_http_1_0(url, b"name=x").replace(b"HTTP/1.0", b"HTTP/1.1").replace(b"Close", b"keep-alive")
    reply = await talk(url, request)
    assert reply.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close" in reply


async def test_the_adapters_denial_goes_out_as_it_is(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.gate_reply = GateReply(200, b'{"code":403}', "application/json")
    async with http.post(open_web.gate_url("studio"), data=b"name=x", headers=FORM) as reply:
        assert (reply.status, await reply.read()) == (200, b'{"code":403}')
        assert reply.headers["Content-Type"] == "application/json"


async def test_get_requests_carry_their_query_first_value_first(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.gate_error = None
    async with http.get(open_web.gate_url("studio") + "?name=banned&call=publish&name=innocent") as reply:
        assert reply.status == 403  # The fake reads bodies only.
    assert daemon.gate_requests[0][1].query == {"name": "banned", "call": "publish"}


@pytest.mark.parametrize("body", [b"", b"\0\xff" * 100, b"call=publish", b"&&&&===", b"{" * 1000])
async def test_bad_input_is_denied_never_an_error(
    open_web: WebServer, http: aiohttp.ClientSession, body: bytes
) -> None:
    before = count("malformed")
    async with http.post(open_web.gate_url("studio"), data=body, headers=FORM) as reply:
        assert (reply.status, await reply.read()) == (403, b"no")
    assert count("malformed") == before + 1


@pytest.mark.parametrize(
    "error", [StoreError("disk full"), ZeroDivisionError("name=secret-key"), KeyError("secret-key")]
)
async def test_our_own_failure_lets_live_streaming_go_on_and_is_loud(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession, error: Exception
) -> None:
    daemon.gate_error = error
    before = count("error")
    with capture_logs() as logs:
        async with http.post(open_web.gate_url("studio"), data=b"name=secret-key", headers=FORM) as reply:
            assert (reply.status, await reply.read()) == (200, b"open")
    assert count("error") == before + 1
    loud = [line for line in logs if line["log_level"] == "error"]
    assert [line["event"] for line in loud] == ["gate_failed_open"]
    assert "secret-key" not in str(logs)


async def test_a_decision_that_hangs_fails_open_in_time(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> GateReply:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(gate_module, "DECISION_DEADLINE_S", 0.1)
    monkeypatch.setattr(daemon, "decide", hang)
    async with http.post(open_web.gate_url("studio"), data=b"name=x", headers=FORM) as reply:
        assert (reply.status, await reply.read()) == (200, b"open")


async def test_an_unknown_server_is_refused_and_its_name_not_logged(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    with capture_logs() as logs:
        async with http.post(open_web.url + "/gate/no-such", data=b"name=x", headers=FORM) as reply:
            assert reply.status == 404
    assert daemon.gate_requests == []
    assert "no-such" not in str(logs)
    assert [line["event"] for line in logs] == ["gate_asked_for_unknown_server"]


async def test_nothing_of_a_request_is_logged(open_web: WebServer, http: aiohttp.ClientSession) -> None:
    with capture_logs() as logs:
        for body in (b"name=secret-key&x=secret-arg", b"secret-key"):
            async with http.post(open_web.gate_url("studio") + "?secret=q", data=body, headers=FORM) as reply:
                await reply.read()
    assert "secret" not in str(logs)


async def test_the_gates_token_is_asked_for_and_kept_from_adapters(
    daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    settings = WebSettings(gate_token="gate/token?+&0123456789")
    async with WebServer(settings, daemon=daemon, incidents=daemon, blocks=daemon, quiet=daemon, gate=daemon) as web:
        for url in (f"{web.url}/gate/studio", f"{web.url}/gate/studio?token=wrong", f"{web.url}/gate/studio?token="):
            async with http.post(url, data=b"name=x", headers=FORM) as reply:
                assert reply.status == 401
                assert reply.headers["Connection"] == "close"
        assert daemon.gate_requests == []
        from yarl import URL

        headers = {**FORM, "Authorization": "Bearer other", "Cookie": "a=b", "Host": "livecordon.internal:8930"}
        async with http.post(URL(web.gate_url("studio"), encoded=True), data=b"name=x", headers=headers) as reply:
            assert reply.status == 200
    raw = daemon.gate_requests[0][1]
    assert raw.query == {}
    assert raw.headers["host"] == "livecordon.internal:8930"
    assert {"authorization", "cookie"}.isdisjoint(raw.headers)


async def test_a_signature_without_a_scheme_reaches_the_adapter(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    headers = {**FORM, "Authorization": "e30.e30.sig"}
    async with http.post(f"{open_web.url}/gate/studio", data=b"name=x", headers=headers) as reply:
        assert reply.status == 200

    assert daemon.gate_requests[0][1].headers["authorization"] == "e30.e30.sig"


async def test_a_web_page_cannot_ask_the_gate(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    headers = {**FORM, "Origin": "http://evil.example"}
    async with http.post(open_web.gate_url("studio"), data=b"name=x", headers=headers) as reply:
        assert reply.status == 403
    assert daemon.gate_requests == []


async def test_a_second_address_serves_the_gate_alone(daemon: FakeDaemon, http: aiohttp.ClientSession) -> None:
    settings = WebSettings(gate_listen=Listen("127.0.0.1", 0))
    async with WebServer(settings, daemon=daemon, incidents=daemon, blocks=daemon, quiet=daemon, gate=daemon) as web:
        gate_url = web.gate_url("studio")
        assert not gate_url.startswith(web.url + "/")
        async with http.post(gate_url, data=b"name=x", headers=FORM) as reply:
            assert reply.status == 200
        async with http.post(f"{web.url}/gate/studio", data=b"name=x", headers=FORM) as reply:
            assert reply.status == 404
        base = gate_url.removesuffix("/gate/studio")
        for path, status in (
            ("/livez", 200),
            ("/readyz", 200),
            ("/", 404),
            ("/api/v1/streams", 404),
            ("/metrics", 404),
        ):
            async with http.get(base + path) as reply:
                assert reply.status == status, path


async def test_ipv6_is_listened_on(daemon: FakeDaemon, http: aiohttp.ClientSession) -> None:
    settings = WebSettings(listen=Listen("::1", 0))
    async with WebServer(settings, daemon=daemon, incidents=daemon, blocks=daemon, quiet=daemon, gate=daemon) as web:
        assert web.url.startswith("http://[::1]:")
        async with http.get(web.url + "/api/v1/session") as reply:
            assert reply.status == 200


@pytest.mark.parametrize(
    ("peers", "token", "status"),
    [
        (("127.0.0.0/8",), None, 200),
        (("10.0.0.0/28",), None, 403),
        (("10.0.0.0/28",), "gate-token-0123456789", 401),
        (("127.0.0.1/32",), "gate-token-0123456789", 200),
    ],
)
async def test_only_peers_and_who_shows_the_token_are_answered(
    daemon: FakeDaemon, http: aiohttp.ClientSession, peers: tuple[str, ...], token: str | None, status: int
) -> None:
    settings = WebSettings(gate_token=token, gate_peers=tuple(ip_network(peer) for peer in peers))
    async with WebServer(settings, daemon=daemon, incidents=daemon, blocks=daemon, quiet=daemon, gate=daemon) as web:
        # What a proxy, or a liar, says of where a request comes from does not count.
        headers = {**FORM, "X-Forwarded-For": "10.0.0.1"}
        async with http.post(f"{web.url}/gate/studio", data=b"name=x", headers=headers) as reply:
            assert reply.status == status
        if token is not None:
            async with http.post(web.gate_url("studio"), data=b"name=x", headers=FORM) as reply:
                assert reply.status == 200


def test_a_peer_over_ipv4_is_known_on_a_socket_for_ipv6() -> None:
    settings = WebSettings(gate_peers=(ip_network("10.0.0.0/28"),))
    assert settings.is_gate_peer("::ffff:10.0.0.7")
    assert settings.is_gate_peer("10.0.0.7")
    assert not any(
        settings.is_gate_peer(address) for address in ("::ffff:10.0.0.16", "10.0.0.16", "", None, "fe80::1%eth0")
    )


async def test_a_web_page_on_a_peers_machine_cannot_ask_the_gate(
    daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    settings = WebSettings(gate_peers=(ip_network("127.0.0.0/8"),))
    async with WebServer(settings, daemon=daemon, incidents=daemon, blocks=daemon, quiet=daemon, gate=daemon) as web:
        headers = {**FORM, "Origin": "http://evil.example"}
        async with http.post(web.gate_url("studio"), data=b"name=x", headers=headers) as reply:
            assert reply.status == 403
    assert daemon.gate_requests == []
