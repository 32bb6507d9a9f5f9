"""The embedded relay as publishers, viewers and strangers meet it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import ClientSession

from monitor.config.servers import EmbeddedServer
from monitor.errors import GateRequestError, MediaServerRefused, MediaServerUnreachable, UnsafeCallRefused
from monitor.servers.embedded import publication
from monitor.servers.embedded import relay as relay_module
from monitor.servers.embedded.adapter import EmbeddedMediaServer
from monitor.servers.embedded.relay import Relay
from monitor.servers.port import GateReply, GateRequest, RawGateRequest
from monitor.vocabulary import StreamRef
from tests.fakes.hook import HookServer
from tests.fakes.publishers import RelayPublisher, transport_stream
from tests.fakes.reading import can_be_watched, read_frames
from tests.fakes.waiting import eventually


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async with Relay() as running:
        yield running


async def listed(relay: Relay, client: ClientSession) -> list[dict[str, Any]]:
    async with client.get(f"{relay.url}/control/streams") as answer:
        streams: list[dict[str, Any]] = (await answer.json())["streams"]
        return streams


async def live(relay: Relay, client: ClientSession, count: int = 1) -> list[dict[str, Any]]:
    async def look() -> list[dict[str, Any]] | None:
        streams = await listed(relay, client)
        ready = [stream for stream in streams if stream["received_bytes"] > 3_000]
        return ready if len(ready) == count else None

    return await eventually(look)


async def nobody(relay: Relay, client: ClientSession) -> None:
    async def look() -> bool:
        return await listed(relay, client) == []

    await eventually(look)


async def test_a_viewer_who_joins_late_has_a_picture_at_once(relay: Relay, client: ClientSession) -> None:
    encoder = RelayPublisher(f"{relay.url}/live/cam")
    await live(relay, client)

    began_s = time.monotonic()
    (frame,) = await asyncio.to_thread(read_frames, f"{relay.url}/live/cam", 1)

    assert frame.key_frame
    assert time.monotonic() - began_s < 2
    await encoder.stop()


async def test_viewers_get_an_end_when_the_publication_ends(relay: Relay, client: ClientSession) -> None:
    packets = transport_stream(seconds=2)
    gate = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield packets
        await gate.wait()

    async def publish() -> int:
        async with client.put(f"{relay.url}/live/cam", data=body()) as answer:
            return answer.status

    publishing = asyncio.create_task(publish())
    await live(relay, client)
    async with client.get(f"{relay.url}/live/cam") as viewer:
        assert viewer.content_type == "video/mp2t"
        first = await viewer.content.readexactly(188)
        gate.set()
        rest = await asyncio.wait_for(viewer.content.read(), 5)

    assert first[0] == 0x47
    assert len(rest) % 188 == 0
    assert await publishing == 200
    await nobody(relay, client)


async def test_a_second_publisher_is_refused_and_the_first_goes_on(relay: Relay, client: ClientSession) -> None:
    first = RelayPublisher(f"{relay.url}/live/cam")
    (stream,) = await live(relay, client)

    async with client.post(f"{relay.url}/live/cam", data=b"G" * 188) as answer:
        assert answer.status == 409

    assert [each["session"] for each in await listed(relay, client)] == [stream["session"]]
    assert first.live
    await first.stop()


async def test_a_viewer_of_nothing_gets_404(relay: Relay, client: ClientSession) -> None:
    for path in ("/live/cam", "/", "/live", "/live/a/b", "/control/other"):
        async with client.get(f"{relay.url}{path}") as answer:
            assert answer.status == 404, path


@pytest.mark.parametrize("path", ["/control/cam", "/live/" + "x" * 256, "/live/%2E%2E"])
async def test_names_that_would_confuse_addresses_cannot_be_published(
    relay: Relay, client: ClientSession, path: str
) -> None:
    async with client.put(f"{relay.url}{path}", data=b"G" * 188) as answer:
        assert answer.status in {404, 405}


async def test_what_is_no_transport_stream_is_refused(relay: Relay, client: ClientSession) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"\0" * 1024

    try:
        async with client.put(f"{relay.url}/live/cam", data=body()) as answer:
            assert answer.status == 415
    except aiohttp.ClientConnectionError:
        pass  # it may hang up before we have sent everything
    await nobody(relay, client)


async def test_a_publisher_who_falls_silent_is_thrown_out(
    relay: Relay, client: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "_IDLE_TIMEOUT_S", 0.2)
    never = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield transport_stream(seconds=1)
        await never.wait()

    try:
        async with client.put(f"{relay.url}/live/cam", data=body()) as answer:
            assert answer.status == 408
    except aiohttp.ClientConnectionError:
        pass
    await nobody(relay, client)


async def test_a_publisher_whose_connection_breaks_is_gone(relay: Relay, client: ClientSession) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", int(relay.url.rpartition(":")[2]))
    head = b"PUT /live/cam HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    packets = transport_stream(seconds=2)
    writer.write(head + b"%x\r\n%b\r\n" % (len(packets), packets))
    await live(relay, client)

    writer.transport.abort()

    await nobody(relay, client)


async def test_a_viewer_who_does_not_read_is_dropped_and_others_are_not(
    relay: Relay, client: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "_WAITING_FOR_VIEWER_BYTES", 400_000)
    packets = transport_stream()
    more = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield packets
        await more.wait()
        for _ in range(200):
            for offset in range(0, len(packets), 100_000):
                yield packets[offset : offset + 100_000]
                await asyncio.sleep(0)

    publishing = asyncio.create_task(_put(client, f"{relay.url}/live/cam", body()))
    await live(relay, client)
    port = int(relay.url.rpartition(":")[2])
    with socket.socket() as sleeper:
        sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sleeper.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sleeper, ("127.0.0.1", port))
        await asyncio.get_running_loop().sock_sendall(sleeper, b"GET /live/cam HTTP/1.1\r\nHost: x\r\n\r\n")

        async def watched() -> bool:
            return any(stream["viewers"] == 1 for stream in await listed(relay, client))

        await eventually(watched)
        more.set()

        async def dropped() -> bool:
            streams = await listed(relay, client)
            return bool(streams) and all(stream["viewers"] == 0 for stream in streams)

        await eventually(dropped, interval_s=0.01)
    publishing.cancel()
    await asyncio.wait([publishing])


async def _put(client: ClientSession, url: str, body: AsyncIterator[bytes]) -> None:
    async with client.put(url, data=body):
        pass


async def test_more_publishers_and_viewers_than_allowed_are_refused(client: ClientSession) -> None:
    async with Relay(max_publications=1, max_viewers=1) as relay:
        encoder = RelayPublisher(f"{relay.url}/live/cam")
        await live(relay, client)

        async with client.put(f"{relay.url}/live/other", data=b"G" * 188) as answer:
            assert answer.status == 503
        async with client.get(f"{relay.url}/live/cam") as viewer:
            assert viewer.status == 200
            async with client.get(f"{relay.url}/live/cam") as second:
                assert second.status == 503
        await encoder.stop()


async def test_a_cut_is_an_end_for_viewers_and_the_name_is_free_at_once(relay: Relay, client: ClientSession) -> None:
    first = RelayPublisher(f"{relay.url}/live/cam")
    (stream,) = await live(relay, client)
    async with client.get(f"{relay.url}/live/cam") as viewer:
        command = {"app": "live", "name": "cam", "session": stream["session"]}
        async with client.post(f"{relay.url}/control/cut", json=command) as answer:
            assert await answer.json() == {"matched": 1}
        assert await listed(relay, client) == []
        await asyncio.wait_for(viewer.content.read(), 5)

    await asyncio.wait_for(first.ended(), 5)
    second = RelayPublisher(f"{relay.url}/live/cam")
    (again,) = await live(relay, client)
    assert again["session"] != stream["session"]
    await second.stop()


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b'{"app":"live","name":"cam"}', "text/plain", 415),
        (b"app=live&name=cam", "application/x-www-form-urlencoded", 415),
        (b"not json", "application/json", 400),
        (b'{"app":"live"}', "application/json", 400),
        (b'{"app":"live","name":"cam","all":true}', "application/json", 400),
        (b'{"app":["live"],"name":"cam"}', "application/json", 400),
        (b'{"app":"live","name":"' + b"x" * 20_000 + b'"}', "application/json", 413),
        (b'{"app":"live","name":"nobody"}', "application/json", 200),
        (b'{"app":"","name":""}', "application/json", 200),
    ],
)
async def test_commands_are_read_strictly(
    relay: Relay, client: ClientSession, body: bytes, content_type: str, status: int
) -> None:
    encoder = RelayPublisher(f"{relay.url}/live/cam")
    await live(relay, client)

    async with client.post(f"{relay.url}/control/cut", data=body, headers={"Content-Type": content_type}) as answer:
        assert answer.status == status
        if status == 200:
            assert await answer.json() == {"matched": 0}

    assert encoder.live
    await encoder.stop()


async def test_the_gate_is_asked_before_anything_is_shown(client: ClientSession) -> None:
    asked: list[Any] = []

    def decide(raw: RawGateRequest) -> GateReply:
        asked.append(json.loads(raw.body))
        return GateReply(200 if asked[-1]["name"] == "welcome" else 403)

    async with HookServer(decide) as hook, Relay(gate_url=hook.url) as relay:
        encoder = RelayPublisher(f"{relay.url}/live/welcome")
        (stream,) = await live(relay, client)
        async with client.put(f"{relay.url}/live/banned", data=b"G" * 188) as answer:
            assert answer.status == 403
        assert [each["name"] for each in await listed(relay, client)] == ["welcome"]
        await encoder.stop()

    assert asked[0] == {
        "call": "publish",
        "app": "live",
        "name": "welcome",
        "session": stream["session"],
        "address": "127.0.0.1",
    }


async def test_who_waits_for_the_gate_is_not_there_yet(client: ClientSession) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def ponder(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await go_on.wait()
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(ponder, "127.0.0.1", 0) as gate:
        gate_url = f"http://127.0.0.1:{gate.sockets[0].getsockname()[1]}/gate"
        async with Relay(gate_url=gate_url) as relay:
            encoder = RelayPublisher(f"{relay.url}/live/cam")
            await asyncio.wait_for(asked.wait(), 5)

            assert await listed(relay, client) == []
            async with client.get(f"{relay.url}/live/cam") as answer:
                assert answer.status == 404
            async with client.post(f"{relay.url}/control/cut", json={"app": "live", "name": "cam"}) as answer:
                assert await answer.json() == {"matched": 0}
            # The name is taken all the same, or two could be let in under it.
            async with client.put(f"{relay.url}/live/cam", data=b"G" * 188) as answer:
                assert answer.status == 409

            go_on.set()
            await live(relay, client)
            await encoder.stop()


@pytest.mark.parametrize("fail_open", [True, False])
async def test_a_gate_that_is_down_lets_in_or_keeps_out_as_told(client: ClientSession, fail_open: bool) -> None:
    async with Relay(gate_url="http://127.0.0.1:1/gate", fail_open=fail_open) as relay:
        packets = transport_stream(seconds=1)
        async with client.put(f"{relay.url}/live/cam", data=packets) as answer:
            assert answer.status == (200 if fail_open else 403)


async def test_leaving_throws_everybody_out(client: ClientSession) -> None:
    async with Relay() as relay:
        encoder = RelayPublisher(f"{relay.url}/live/cam")
        await live(relay, client)
        viewer = await client.get(f"{relay.url}/live/cam")
    await asyncio.wait_for(encoder.ended(), 5)
    await asyncio.wait_for(viewer.read(), 5)
    viewer.close()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get(f"{relay.url}/live/cam")


async def test_a_port_in_use_is_said_plainly(relay: Relay) -> None:
    port = int(relay.url.rpartition(":")[2])
    section = EmbeddedServer.model_validate({"kind": "embedded", "name": "edge", "url": f"http://127.0.0.1:{port}"})

    with pytest.raises(MediaServerUnreachable, match="in use") as failure:
        async with EmbeddedMediaServer(section):
            pass
    assert not failure.value.retryable


def adapter(relay: Relay) -> EmbeddedMediaServer:
    return EmbeddedMediaServer(
        EmbeddedServer.model_validate({"kind": "embedded", "name": "edge", "url": relay.url, "serve": False})
    )


@pytest.mark.parametrize("name", ["a b", "a/b", "a%2Fb", "a?b#c", "é\u4e2d", "a&b=c", "x\r\ny", "..x", "'\"<>"])
async def test_any_name_is_published_listed_watched_and_cut(relay: Relay, client: ClientSession, name: str) -> None:
    ref = StreamRef("edge", "live", name)
    async with adapter(relay) as server:
        path = f"{relay.url}/live/{quote(name, safe='')}"
        encoder, other = RelayPublisher(path), RelayPublisher(f"{relay.url}/live/other")
        await live(relay, client, 2)

        assert {stream.ref for stream in await server.list_streams()} == {ref, StreamRef("edge", "live", "other")}
        assert await can_be_watched(server.pull_url(ref))
        assert (await server.cut(ref)).matched == 1
        assert [stream.ref.name for stream in await server.list_streams()] == ["other"]
        await encoder.stop()
        await other.stop()


async def test_a_held_stream_is_seen_by_watchers_alone_and_those_who_stayed_see_it_again(
    relay: Relay, client: ClientSession
) -> None:
    encoder = RelayPublisher(f"{relay.url}/live/cam")
    await live(relay, client)
    async with (
        adapter(relay) as server,
        client.get(f"{relay.url}/live/cam") as viewer,
        client.get(server.pull_url(StreamRef("edge", "live", "cam"))) as watcher,
    ):
        assert (await listed(relay, client))[0]["viewers"] == 1, "a watcher is none"
        await asyncio.wait_for(viewer.content.readexactly(188), 5)
        assert (await server.hold(StreamRef("edge", "live", "cam"))).verified
        with pytest.raises(TimeoutError):
            # What was sent before may still be on its way.
            await asyncio.wait_for(_drain(viewer), 1.5)
        await asyncio.wait_for(_read_bytes(watcher, 200_000), 15)
        async with client.get(f"{relay.url}/live/cam") as late:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(late.content.readexactly(1), 0.5)
        assert (await server.release(StreamRef("edge", "live", "cam"))).verified
        assert (await asyncio.wait_for(viewer.content.readexactly(188), 5))[0] == 0x47
    await encoder.stop()


async def _drain(answer: aiohttp.ClientResponse) -> None:
    while True:
        await answer.content.readany()
        if answer.content.at_eof():
            return


async def _read_bytes(answer: aiohttp.ClientResponse, count: int) -> None:
    read = 0
    while read < count:
        read += len(await answer.content.readany())


@pytest.mark.parametrize(
    ("app", "name"), [("", "x"), ("live", ""), ("live", ".."), (".", "x"), ("control", "cut"), ("live", "\ud800")]
)
async def test_names_that_lead_elsewhere_have_no_address(relay: Relay, app: str, name: str) -> None:
    with pytest.raises(UnsafeCallRefused):
        adapter(relay).pull_url(StreamRef("edge", app, name))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"streams":[{"app":"live"}]}', b"\xff", b'{"streams":[{"app":1}]}']
)
async def test_what_is_no_listing_is_refused(body: bytes) -> None:
    async def handle(request: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(body=body)

    app = aiohttp.web.Application()
    app.router.add_get("/control/streams", handle)
    runner = aiohttp.web.AppRunner(app, access_log=None)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    section = EmbeddedServer.model_validate({"kind": "embedded", "name": "edge", "url": url, "serve": False})
    try:
        async with EmbeddedMediaServer(section) as server:
            with pytest.raises(MediaServerRefused):
                await server.list_streams()
    finally:
        await runner.cleanup()


QUESTION = {"call": "publish", "app": "live", "name": "cam", "session": "ab", "address": "192.0.2.7"}


async def test_the_relays_question_is_read(relay: Relay) -> None:
    request = adapter(relay).parse_gate_request(RawGateRequest("application/json", json.dumps(QUESTION).encode()))

    assert request == GateRequest("publish", StreamRef("edge", "live", "cam"), "ab", "192.0.2.7")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", json.dumps(QUESTION).encode()),
        ("application/json", b""),
        ("application/json", b"[1]"),
        ("application/json", json.dumps(QUESTION | {"name": ""}).encode()),
        ("application/json", json.dumps(QUESTION | {"app": None}).encode()),
        ("application/json", json.dumps(QUESTION | {"name": "x" * 20_000}).encode()),
        ("application/json", b"\xff"),
    ],
)
async def test_a_question_that_is_none_is_refused(relay: Relay, content_type: str, body: bytes) -> None:
    with pytest.raises(GateRequestError):
        adapter(relay).parse_gate_request(RawGateRequest(content_type, body))
