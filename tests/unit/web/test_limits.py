"""What hostile and broken clients can do to the server: as little as possible."""

from __future__ import annotations

import asyncio
import resource

import aiohttp
import pytest

from monitor.web import body as body_module
from monitor.web import gate as gate_module
from monitor.web import server as server_module
from monitor.web.server import WebServer
from monitor.web.settings import WebSettings
from tests.fakes.raw_http import dial, talk
from tests.fakes.web_daemon import FakeDaemon, incident


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize(
    ("path", "status"), [("/api/v1/incidents/inc-0001/review", 413), ("/gate/studio", 403), ("/login", 413)]
)
async def test_a_huge_announced_body_is_refused_before_it_is_sent(open_web: WebServer, path: str, status: int) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 52428800\r\n\r\n"
    )
    reader, writer = await dial(open_web.url)
    writer.write(head.encode())
    async with asyncio.timeout(5):
        line = await reader.readline()
    writer.close()
    assert line.split()[1] == str(status).encode()


@pytest.mark.parametrize("path", ["/api/v1/incidents/inc-0001/review", "/gate/studio"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_fifty_megabytes_are_refused_and_not_kept(
    open_web: WebServer, daemon: FakeDaemon, path: str, *, chunked: bool
) -> None:
    daemon.open(incident(1))
    before = peak_kib()
    mebibyte = b"x" * 1024 * 1024
    reader, writer = await dial(open_web.url)
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 52428800"
    writer.write(
        b"POST " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + length
    )
    writer.write(b"\r\n\r\n")

    async def send() -> None:
        for _ in range(50):
            writer.write(b"100000\r\n" + mebibyte + b"\r\n" if chunked else mebibyte)
            await writer.drain()

    sending = asyncio.create_task(send())
    async with asyncio.timeout(10):
        line = await reader.readline()
    assert line.split()[1] in (b"413", b"403")
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.close()
    assert peak_kib() - before < 20 * 1024
    assert daemon.gate_requests == []


async def test_a_chunk_too_many_is_refused(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    limit = WebSettings().max_body_bytes

    async def chunks(total: int) -> object:
        for _ in range(total // 1024):
            yield b"x" * 1024

    url = open_web.url + "/api/v1/incidents/inc-0001/review"
    headers = {"Content-Type": "application/json"}
    async with http.post(url, data=chunks(limit), headers=headers) as reply:
        assert reply.status == 400  # It was read in full, and is no JSON.
    async with http.post(url, data=chunks(limit + 1024), headers=headers) as reply:
        assert reply.status == 413
        assert reply.headers["Connection"] == "close"


@pytest.mark.parametrize("path", ["/login", "/gate/studio", "/api/v1/incidents/inc-0001/review"])
async def test_half_a_body_is_given_up_and_others_are_served_meanwhile(
    open_web: WebServer, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(gate_module, "BODY_DEADLINE_S", 0.3)
    monkeypatch.setattr(body_module.read_body, "__defaults__", (0.3,))
    reader, writer = await dial(open_web.url)
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 100\r\n\r\nhalf".encode()
    )
    async with http.get(open_web.url + "/livez") as reply:
        assert reply.status == 200
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    assert answer.split()[1] in (b"408", b"403")


@pytest.mark.parametrize("half", [b"", b"GET /api", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n"])
async def test_half_a_head_is_hung_up_on(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, half: bytes) -> None:
    monkeypatch.setattr(server_module, "IDLE_TIMEOUT_S", 0.3)
    async with WebServer(
        WebSettings(), daemon=daemon, incidents=daemon, blocks=daemon, quiet=daemon, gate=daemon
    ) as web:
        await talk(web.url, half)  # Ends only because the server hangs up.


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 20000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: b\r\n" * 200 + b"\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    ],
    ids=["line", "field", "fields", "smuggling", "negative", "tls", "two-hosts"],
)
async def test_bad_heads_are_400(open_web: WebServer, head: bytes) -> None:
    assert (await talk(open_web.url, head)).split()[1] == b"400"


@pytest.mark.parametrize("path", ["/", "/api/v1/streams", "/livez", "/nowhere", "/static/livecordon.js", "/metrics"])
async def test_every_reply_carries_the_security_headers(
    open_web: WebServer, http: aiohttp.ClientSession, path: str
) -> None:
    async with http.get(open_web.url + path) as reply:
        policy = reply.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Referrer-Policy"] == "same-origin"
        assert reply.headers["Server"] == "livecordon"
        assert "Access-Control-Allow-Origin" not in reply.headers
        if not path.startswith("/static/"):
            assert reply.headers["Cache-Control"] == "no-store"


async def test_preflights_get_no_permission(open_web: WebServer, http: aiohttp.ClientSession) -> None:
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    async with http.options(open_web.url + "/api/v1/blocks", headers=headers) as reply:
        assert reply.status == 405
        assert "Access-Control-Allow-Origin" not in reply.headers
