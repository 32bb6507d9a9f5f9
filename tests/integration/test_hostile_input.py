"""What strangers send, to the real daemon: each is refused or skipped, and a healthy stream beside it stays watched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
import pytest_asyncio
from markupsafe import escape

from monitor.demo.nginx import RealNginx
from monitor.demo.stage import free_port
from monitor.servers.factory import build_server
from monitor.vocabulary import StreamRef
from monitor.web.display import displayable
from tests.fakes import hostile
from tests.fakes.daemon import RealDaemon, ffmpeg_copying
from tests.fakes.hostile import Sending
from tests.fakes.nginx import entry_for, section_for
from tests.fakes.publishers import RelayPublisher, transport_stream
from tests.fakes.raw_http import dial
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

MARK = "zq7f"
"""Stands in every hostile name, so that a leak of any of them is found by looking for it."""

DEADLINE_S = 40.0
BODY_BYTES = 50 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Site:
    """A daemon that watches a relay of its own (and never acts on it) and an nginx (and cuts there at once)."""

    folder: Path
    daemon: RealDaemon
    nginx: RealNginx
    relay_url: str

    async def stream(self, server: str, name: str) -> Any:
        """Return what the API says of a live stream, or None."""
        wanted = StreamRef(server, "live", name).stream_id
        streams = (await self.daemon.get("/api/v1/streams"))["streams"]
        return next((stream for stream in streams if stream["stream_id"] == wanted), None)

    async def in_state(self, name: str, *states: str) -> Any:
        """Wait until a stream on the relay is in one of these states."""

        async def look() -> Any:
            stream = await self.stream("relay", name)
            return stream if stream is not None and stream["state"] in states else None

        return await eventually(look, deadline_s=DEADLINE_S, interval_s=0.1)

    async def gone(self, server: str, name: str) -> None:
        """Wait until a stream is live no more."""

        async def look() -> bool:
            return await self.stream(server, name) is None

        await eventually(look, deadline_s=DEADLINE_S, interval_s=0.1)

    def watch_states(self, name: str) -> list[str]:
        """Return the log's lines on the watch state of a stream on the relay."""
        stream_id = StreamRef("relay", "live", name).stream_id
        return [line for line in self.daemon.log.splitlines() if "watch_state" in line and stream_id in line]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory, calm: Path) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("hostile")
    port, relay_port = free_port(), free_port()
    relay_url = f"http://127.0.0.1:{relay_port}"
    (folder / "nginx").mkdir()
    async with AsyncExitStack() as stack:
        nginx = await stack.enter_async_context(
            RealNginx(folder / "nginx", gate_url=f"http://127.0.0.1:{port}/gate/edge")
        )
        config = {
            "web": {"listen": f"127.0.0.1:{port}"},
            # One watcher: whatever is hostile shares a process with what is healthy.
            "watch": {"watchers": 1, "open_timeout": "6s", "read_timeout": "3s"},
            "servers": [
                {
                    "name": "relay",
                    "kind": "embedded",
                    "url": relay_url,
                    "list_interval": "500ms",
                    "protocol": "observe",
                },
                entry_for(nginx, list_interval="500ms", protocol="immediate"),
            ],
        }
        daemon = await stack.enter_async_context(RealDaemon(folder, config))
        await stack.enter_async_context(ffmpeg_copying(calm, f"{relay_url}/live/healthy"))
        await eventually(lambda: daemon.scored("healthy"), deadline_s=DEADLINE_S)
        yield Site(folder, daemon, nginx, relay_url)
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log
        assert MARK not in daemon.log


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def nothing_else_is_harmed(site: Site) -> AsyncIterator[None]:
    """Around every test: same processes, and the healthy stream never late."""
    processes = (site.daemon.pid, site.daemon.watcher_pids())
    assert site.daemon.running
    seen: list[str] = []

    async def look() -> None:
        while True:
            healthy = await site.stream("relay", "healthy")
            seen.append(f"{healthy['state']}, {healthy['freshness']}" if healthy else "gone")
            await asyncio.sleep(0.2)

    looking = asyncio.create_task(look())
    yield
    await eventually(lambda: site.daemon.scored("healthy"), deadline_s=DEADLINE_S)
    looking.cancel()
    await asyncio.wait([looking])
    assert looking.cancelled()
    assert set(seen) == {"watching, fresh"}
    assert (site.daemon.pid, site.daemon.watcher_pids()) == processes


async def test_random_bytes_are_refused_by_the_relay(site: Site) -> None:
    async with Sending(f"{site.relay_url}/live/random") as sending:
        sending.send(b"\0" + hostile.random_packets().replace(b"G", b"x"))
        assert await sending.ended() in (415, None)
    await site.gone("relay", "random")


async def packets_of_random_bytes_cannot_be_opened(site: Site) -> None:
    async with Sending(f"{site.relay_url}/live/packets") as sending:
        sending.send(hostile.random_packets(), over_s=40)
        stream = await site.in_state("packets", "failed")
        assert stream["last_scores"] == {}
        assert stream["detail"]
    await site.gone("relay", "packets")


async def pictures_of_random_bytes_have_no_scores(site: Site) -> None:
    async with Sending(f"{site.relay_url}/live/spoilt") as sending:
        sending.send(hostile.with_random_pictures(transport_stream()), over_s=40)
        stream = await site.in_state("spoilt", "failed", "stalled")
        assert stream["last_scores"] == {}
    await site.gone("relay", "spoilt")


async def video_that_breaks_off_in_mid_packet_is_stalled_and_then_gone(site: Site) -> None:
    packets = transport_stream()
    async with Sending(f"{site.relay_url}/live/broken-off") as sending:
        sending.send(packets[: len(packets) // 5 // 188 * 188 + 77], over_s=4)
        await site.in_state("broken-off", "stalled")
        sending.finish()
        assert await sending.ended() == 200
    await site.gone("relay", "broken-off")
    assert any("state=watching" in line for line in site.watch_states("broken-off"))


async def sound_alone_has_no_video_to_watch(site: Site) -> None:
    sound = site.folder / "sound.ts"
    sound.write_bytes(hostile.sound_only())
    async with ffmpeg_copying(sound, f"{site.relay_url}/live/sound"):
        stream = await site.in_state("sound", "failed")
        assert stream["detail"] == "the source carries no video that can be watched"
        assert stream["last_scores"] == {}


async def a_stream_that_sends_nothing_is_reported_and_thrown_out(site: Site) -> None:
    reader, writer = await dial(site.relay_url)
    writer.write(b"PUT /live/nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    stream = await site.in_state("nothing", "failed", "stalled")
    assert stream["last_scores"] == {}
    # The relay has no patience with it either.
    async with asyncio.timeout(DEADLINE_S):
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()
    await site.gone("relay", "nothing")


async def a_picture_beyond_the_budget_fails_its_stream(site: Site) -> None:
    async with Sending(f"{site.relay_url}/live/huge") as sending:
        sending.send(hostile.pictures_of(8320, 64))
        stream = await site.in_state("huge", "failed")
        assert stream["detail"] == "pictures of 8320x64 pixels are over the limit"
        assert any("picture_too_large" in line for line in site.watch_states("huge"))


async def a_picture_that_grows_beyond_the_budget_fails_its_stream(site: Site) -> None:
    async with Sending(f"{site.relay_url}/live/growing") as sending:
        sending.send(transport_stream(seconds=8), over_s=8)
        sending.send(hostile.pictures_of(8320, 64), over_s=4)
        stream = await site.in_state("growing", "failed")
        assert stream["detail"] == "pictures of 8320x64 pixels are over the limit"
        assert any("state=watching" in line for line in site.watch_states("growing"))


async def test_each_way_of_being_broken_is_said_and_costs_only_its_own_stream(site: Site) -> None:
    async with asyncio.TaskGroup() as group:
        for prove in (
            packets_of_random_bytes_cannot_be_opened,
            pictures_of_random_bytes_have_no_scores,
            video_that_breaks_off_in_mid_packet_is_stalled_and_then_gone,
            sound_alone_has_no_video_to_watch,
            a_stream_that_sends_nothing_is_reported_and_thrown_out,
            a_picture_beyond_the_budget_fails_its_stream,
            a_picture_that_grows_beyond_the_budget_fails_its_stream,
        ):
            group.create_task(prove(site))


AWKWARD_NAMES = [
    f"../../{MARK}",
    f"{MARK}&name=innocent&call=play",
    f"{MARK} with blanks",
    f"{MARK}\nlevel=info event=forged",
    f"{MARK}\r\nX-Forged: yes",
    f"{MARK}'\"`;$(reboot)",
    f"<script>alert('{MARK}')</script>",
    f"{MARK}\u202e\u4f60\u597d\U0001f525",
    f"{MARK}\0nul",
    f"{MARK}%00%2e%2e%2f",
    f"{MARK}{{{{7*7}}}}#?/{'y' * 200}",
]


async def test_awkward_names_are_watched_and_shown_and_told_to_nobody_else(site: Site) -> None:
    publishers = [RelayPublisher(f"{site.relay_url}/live/{quote(name, safe='')}") for name in AWKWARD_NAMES]
    try:

        async def all_scored() -> bool:
            streams = [await site.stream("relay", name) for name in AWKWARD_NAMES]
            return all(stream is not None and stream["last_scores"] for stream in streams)

        await eventually(all_scored, deadline_s=DEADLINE_S, interval_s=0.2)
        page = await site.daemon.text("/")
        for name in AWKWARD_NAMES:
            title = displayable(f"live/{name}")
            assert (await site.stream("relay", name))["title"] == title
            assert str(escape(title)) in page
        assert f"<script>alert('{MARK}')" not in page
        assert "\u202e" not in page
        assert MARK not in await site.daemon.text("/metrics")
        assert MARK not in site.daemon.log
        assert all(MARK not in path.name for path in site.folder.rglob("*"))
    finally:
        for publisher in publishers:
            await publisher.stop()


@pytest.mark.parametrize("name", ["x" * 5000, "%2e%2e", "..", "%F0%9F%94%A5" * 400])
async def test_names_that_no_address_should_have_are_refused_by_the_relay(site: Site, name: str) -> None:
    async with Sending(f"{site.relay_url}/live/{name}") as sending:
        sending.send(transport_stream()[:18_800])
        sending.finish()
        assert await sending.ended() in (400, 404)


async def test_a_violent_stream_with_an_awkward_name_is_cut_and_its_neighbours_are_not(
    site: Site, brawl: Path, calm: Path
) -> None:
    violent = f"{MARK}&name=innocent\"<b>'/../;x=%00"
    neighbours = ["innocent", MARK, f"{MARK}&name=innocent"]
    address = f"{site.nginx.rtmp_url}/live/ignored"
    async with AsyncExitStack() as stack:
        edge = await stack.enter_async_context(build_server(section_for(site.nginx), gate_url=""))
        around = [await stack.enter_async_context(ffmpeg_copying(calm, address, name=name)) for name in neighbours]

        async def sessions() -> dict[str, str] | None:
            found = {stream.ref.name: stream.session for stream in await edge.list_streams()}
            return {name: found[name] for name in neighbours} if found.keys() >= set(neighbours) else None

        before = await eventually(sessions, deadline_s=DEADLINE_S)
        loud = await stack.enter_async_context(ffmpeg_copying(brawl, address, name=violent))
        async with asyncio.timeout(DEADLINE_S):
            assert await loud.wait() != 0

        stream_id = StreamRef("edge", "live", violent).stream_id

        async def contained() -> Any:
            incidents = await site.daemon.incidents()
            return next((i for i in incidents if (i["stream_id"], i["state"]) == (stream_id, "contained")), None)

        incident = await eventually(contained, deadline_s=DEADLINE_S)
        detail = await site.daemon.get(f"/api/v1/incidents/{incident['incident_id']}")
        assert [effect["outcome"] for effect in detail["effects"] if effect["kind"] == "cut"] == ["succeeded"]
        assert detail["evidence"]
        page = await site.daemon.text(f"/incidents/{incident['incident_id']}")
        assert str(escape(violent)) in page
        assert violent not in page

        again = await stack.enter_async_context(ffmpeg_copying(calm, address, name=violent))
        async with asyncio.timeout(DEADLINE_S):
            assert await again.wait() != 0
        assert await sessions() == before
        assert [one.returncode for one in around] == [None, None, None]
        blocks = (await site.daemon.get("/api/v1/blocks"))["blocks"]
        assert stream_id in [block["stream_id"] for block in blocks]
        assert not {StreamRef("edge", "live", name).stream_id for name in neighbours} & {
            block["stream_id"] for block in blocks
        }
        assert MARK not in site.daemon.log
        assert MARK not in await site.daemon.text("/metrics")
        data = list((site.folder / "data").rglob("*"))
        assert any("evidence" in str(path) for path in data)
        assert all(MARK not in path.name for path in data)


@pytest.mark.parametrize("name", [f"{MARK} blank", f"{MARK}\n{MARK}", f"{MARK}\u4f60"])
async def test_names_under_which_nobody_could_watch_are_kept_out(site: Site, calm: Path, name: str) -> None:
    before = unwatchable_refusals(site)
    address = f"{site.nginx.rtmp_url}/live/ignored"
    async with ffmpeg_copying(calm, address, name=name) as refused, asyncio.timeout(DEADLINE_S):
        assert await refused.wait() != 0
    assert unwatchable_refusals(site) == before + 1
    assert MARK not in site.daemon.log


def unwatchable_refusals(site: Site) -> int:
    return site.daemon.log.count(" unwatchable_publish_refused ")


FORM = "application/x-www-form-urlencoded"


@asynccontextmanager
async def blocked(site: Site, name: str) -> AsyncIterator[None]:
    body = {"server": "edge", "app": "live", "name": name, "for": "1h", "why": "the test wants it out"}
    status, answer = await site.daemon.post("/api/v1/blocks", body)
    assert status == 201, answer
    yield
    assert await site.daemon.delete(f"/api/v1/blocks/{answer['stream_id']}", {"why": "the test is over"}) == 204


async def ask_gate(site: Site, body: bytes, content_type: str = FORM) -> int:
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{site.daemon.url}/gate/edge", data=body, headers={"Content-Type": content_type}) as answer,
    ):
        return answer.status


ASKED = b"app=live&call=publish&addr=127.0.0.1&clientid=7&name="


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        pytest.param(ASKED + b"welcome", FORM, 200, id="welcome"),
        pytest.param(ASKED + b"banned", FORM, 403, id="banned"),
        pytest.param(ASKED + b"banned&name=innocent", FORM, 403, id="a second name"),
        pytest.param(ASKED + b"banned&name=innocent&call=play&app=other", FORM, 403, id="a second call"),
        pytest.param(ASKED + b"innocent&name=banned", FORM, 200, id="somebody else's name appended"),
        pytest.param(ASKED + b"%62anned", FORM, 403, id="escaped"),
        pytest.param(ASKED[:-5], FORM, 403, id="no name"),
        pytest.param(ASKED, FORM, 403, id="an empty name"),
        pytest.param(b"", FORM, 403, id="nothing"),
        pytest.param(ASKED + b"welcome", "text/plain", 403, id="no form"),
        pytest.param(b'{"app":"live","name":"welcome","call":"publish"}', "application/json", 403, id="json"),
        pytest.param(ASKED + b"\xff\xfe\xfa", FORM, 403, id="raw bytes that are no UTF-8"),
        pytest.param(ASKED + b"%ff%fe%fa%00%0a", FORM, 403, id="escaped bytes that are no UTF-8"),
        pytest.param(ASKED + b"x" * 20_000, FORM, 403, id="too long"),
        pytest.param(b"&".join([b"name=banned"] * 1000) + b"&" + ASKED + b"welcome", FORM, 403, id="a thousand names"),
    ],
)
async def test_the_gate_takes_the_media_servers_word_only(
    site: Site, body: bytes, content_type: str, status: int
) -> None:
    async with blocked(site, "banned"):
        assert await ask_gate(site, body, content_type) == status


async def test_a_blocked_name_stays_blocked_whatever_its_publisher_appends(site: Site, calm: Path) -> None:
    async with blocked(site, "banned"):
        for query in ("?name=innocent&addr=9.9.9.9&call=play", "?app=other&name=innocent", ""):
            async with ffmpeg_copying(calm, f"{site.nginx.rtmp_url}/live/banned{query}") as refused:
                async with asyncio.timeout(DEADLINE_S):
                    assert await refused.wait() != 0, query
        assert await site.stream("edge", "banned") is None
    async with ffmpeg_copying(calm, f"{site.nginx.rtmp_url}/live/banned?name=innocent"):
        await eventually(lambda: site.stream("edge", "banned"), deadline_s=DEADLINE_S)


def peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.parametrize(
    ("path", "content_type", "status"),
    [
        ("/gate/edge", FORM, b"403"),
        ("/api/v1/blocks", "application/json", b"413"),
        ("/api/v1/incidents/none/review", "application/json", b"413"),
        ("/login", FORM, b"413"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_fifty_megabytes_are_refused_at_once_and_not_kept(
    site: Site, path: str, content_type: str, status: bytes, *, chunked: bool
) -> None:
    before_kib = peak_kib(site.daemon.pid)
    began_s = time.monotonic()
    reader, writer = await dial(site.daemon.url)
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {BODY_BYTES}"
    host = urlsplit(site.daemon.url).netloc
    writer.write(f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\n{length}\r\n\r\n".encode())

    async def send() -> None:
        mebibyte = b"x" * 1024 * 1024
        for _ in range(BODY_BYTES // len(mebibyte)):
            writer.write(b"100000\r\n" + mebibyte + b"\r\n" if chunked else mebibyte)
            await writer.drain()

    sending = asyncio.create_task(send())
    async with asyncio.timeout(10):
        line = await reader.readline()
    assert time.monotonic() - began_s < 3
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.close()
    assert line.split()[1] == status
    assert peak_kib(site.daemon.pid) - before_kib < 8 * 1024


async def test_the_relays_commands_are_bounded_too(site: Site) -> None:
    before_kib = peak_kib(site.daemon.pid)
    reader, writer = await dial(site.relay_url)
    writer.write(b"POST /control/cut HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
    writer.write(b"Transfer-Encoding: chunked\r\n\r\n")

    async def send() -> None:
        for _ in range(50):
            writer.write(b"100000\r\n" + b" " * 1024 * 1024 + b"\r\n")
            await writer.drain()

    sending = asyncio.create_task(send())
    async with asyncio.timeout(10):
        assert (await reader.readline()).split()[1] == b"413"
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.close()
    assert peak_kib(site.daemon.pid) - before_kib < 8 * 1024


HALVES = [
    b"",
    b"GET /livez HTTP/1.1\r\nHost: 127",
    (
        b"POST /gate/edge HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 1000\r\n\r\napp=live"
    ),
    b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf",
]


async def test_a_hundred_half_open_connections_keep_nobody_else_from_an_answer(site: Site) -> None:
    writers = []
    try:
        for number in range(100):
            for url in (site.daemon.url, site.relay_url):
                _, writer = await dial(url)
                writer.write(HALVES[number % len(HALVES)])
                writers.append(writer)
        began_s = time.monotonic()
        assert (await site.daemon.text("/livez")).startswith("live")
        assert await ask_gate(site, ASKED + b"welcome") == 200
        assert time.monotonic() - began_s < 2
    finally:
        for writer in writers:
            writer.transport.abort()
