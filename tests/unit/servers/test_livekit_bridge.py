"""What a hidden subscriber sees, shown to watchers; and the process in which it runs."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import platform
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from typing_extensions import override
from yarl import URL

from monitor.clock import SystemClock
from monitor.errors import ConfigError, MediaServerUnreachable
from monitor.servers.contract.suite import can_be_watched
from monitor.servers.livekit import adapter as adapter_module
from monitor.servers.livekit import bridge as bridge_module
from monitor.servers.livekit.adapter import LiveKitMediaServer
from monitor.servers.livekit.bridge import Bridge
from monitor.servers.livekit.bridge_process import BridgeProcess
from monitor.servers.livekit.pictures import Picture
from monitor.vocabulary import StreamRef
from tests.fakes.fake_livekit import FakeLiveKit
from tests.fakes.livekit_site import ENVIRON, livekit_section
from tests.fakes.waiting import eventually


class Rooms:
    """A subscriber of the test's own: pictures of whoever is in `present`, three times as fast as they are taken."""

    def __init__(self) -> None:
        self.present: set[tuple[str, str]] = set()
        self.joined = 0
        self.left = 0

    @asynccontextmanager
    async def subscribe(self, room: str, identity: str) -> AsyncIterator[AsyncIterator[Picture]]:
        if room == "closed":
            raise MediaServerUnreachable("no")
        self.joined += 1
        try:
            yield self._pictures(room, identity)
        finally:
            self.left += 1

    async def _pictures(self, room: str, identity: str) -> AsyncIterator[Picture]:
        number = 0
        if room == "mute":
            await asyncio.Event().wait()
        while (room, identity) in self.present:
            picture = np.full((120, 160, 3), (number * 8) % 256, np.uint8)
            yield Picture(picture, number / 10)
            number += 1
            await asyncio.sleep(0.03)


@asynccontextmanager
async def bridge(rooms: Rooms, *, max_streams: int = 4) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with Bridge(rooms.subscribe, listener, key="sesame", server="edge", max_streams=max_streams):
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def status_of(url: str) -> int:
    async with aiohttp.ClientSession() as client, client.get(URL(url, encoded=True)) as answer:
        return answer.status


async def test_watchers_see_a_participant_until_they_leave() -> None:
    rooms = Rooms()
    rooms.present.add(("stage", "anne@home"))
    async with bridge(rooms) as url:
        address = f"{url}/stage/anne%40home?key=sesame"
        assert await can_be_watched(address, frames=12)
        async with aiohttp.ClientSession() as client, client.get(URL(address, encoded=True)) as answer:
            assert (await answer.content.readexactly(188))[0] == 0x47
            rooms.present.clear()
            await asyncio.wait_for(answer.content.read(), 5)

        async def nobody_is_left() -> bool:
            return rooms.joined == rooms.left == 2

        assert await eventually(nobody_is_left)


async def test_only_who_has_the_key_sees_anything() -> None:
    rooms = Rooms()
    rooms.present.add(("stage", "anne"))
    async with bridge(rooms) as url:
        for query in ("", "?key=", "?key=guess", "?key=%FF"):
            assert await status_of(f"{url}/stage/anne{query}") == 403

    assert rooms.joined == 0


async def test_who_is_not_there_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "_FIRST_PICTURE_S", 0.05)
    rooms = Rooms()
    async with bridge(rooms) as url:
        assert await status_of(f"{url}/stage/nobody?key=sesame") == 404
        assert await status_of(f"{url}/mute/anne?key=sesame") == 404
        assert await status_of(f"{url}/closed/anne?key=sesame") == 502

    assert rooms.joined == rooms.left == 2


async def test_there_is_a_most_of_streams() -> None:
    rooms = Rooms()
    rooms.present.add(("stage", "anne"))
    async with (
        bridge(rooms, max_streams=1) as url,
        aiohttp.ClientSession() as client,
        client.get(f"{url}/stage/anne?key=sesame") as first,
    ):
        await first.content.readexactly(188)
        assert await status_of(f"{url}/stage/anne?key=sesame") == 503


def test_the_real_client_has_what_we_use() -> None:
    rtc = pytest.importorskip("livekit.rtc")
    from monitor.servers.livekit.subscriber import upright

    frame = rtc.VideoFrame(3, 2, rtc.VideoBufferType.RGB24, bytes(range(18)))
    # Held so that it has to be turned a quarter clockwise: what was on the left is above.
    turned = upright(frame, rtc.VideoRotation.VIDEO_ROTATION_90)

    assert turned.shape == (3, 2, 3)
    assert turned[0, :, 0].tolist() == [9, 0]
    assert upright(frame, rtc.VideoRotation.VIDEO_ROTATION_0)[0, 0].tolist() == [0, 1, 2]


async def test_the_process_joins_with_a_token_for_one_room_and_comes_back_when_it_dies() -> None:
    pytest.importorskip("livekit.rtc")
    asked: list[str] = []
    reached: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    def token_for(room: str) -> str:
        asked.append(room)
        return "t0ken"

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    api_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, BridgeProcess("edge", api_url, token_for, SystemClock()) as process:
        address = process.address.format(room="stage", identity="anne")
        assert await status_of(address) == 502
        assert asked == ["stage"]
        assert "t0ken" in reached[0]
        assert process.pid is not None
        environment, filters = await asyncio.to_thread(_state_of, process.pid)
        assert environment <= {
            *("PATH", "PYTHONPATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ"),
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
        }
        if platform.machine() in {"x86_64", "aarch64"}:
            # The kernel filters its system calls, and it may start nothing with more rights.
            assert filters == {"Seccomp": "2", "NoNewPrivs": "1"}

        os.kill(process.pid, signal.SIGKILL)
        # The connection waits for the next process.
        assert await status_of(address) == 502
        assert asked == ["stage", "stage"]
        last = process.pid

    assert last is not None
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)


def _state_of(pid: int) -> tuple[set[str], dict[str, str]]:
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except PermissionError:
        # It lets nobody of its own user look, either.
        entries = []
    lines = [line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    filters = {line[0].rstrip(":"): line[1] for line in lines if line[0] in {"Seccomp:", "NoNewPrivs:"}}
    return {entry.partition(b"=")[0].decode() for entry in entries if entry}, filters


async def test_without_the_extra_and_without_an_address_it_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_module, "is_installed", lambda: False)
    section = livekit_section(FakeLiveKit(api_url="http://127.0.0.1:1"), watch_url=None)

    with pytest.raises(ConfigError) as failure:
        await LiveKitMediaServer(section, environ=ENVIRON).__aenter__()

    assert "livecordon[livekit]" in str(failure.value)


async def test_without_an_address_watchers_see_by_the_hidden_subscriber(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[str] = []

    class NoProcess(BridgeProcess):
        @override
        async def _run(self, listener: socket.socket) -> int:
            tokens.append(self._token_for("stage"))
            await asyncio.Event().wait()
            return 0

    monkeypatch.setattr(adapter_module, "BridgeProcess", NoProcess)
    monkeypatch.setattr(adapter_module, "is_installed", lambda: True)
    section = livekit_section(FakeLiveKit(api_url="http://127.0.0.1:1"), watch_url=None)
    async with LiveKitMediaServer(section, environ=ENVIRON) as server:
        first, second = (URL(server.pull_url(StreamRef("edge", "stage", name))) for name in ("anne", "bob"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert (first.host, first.path, second.path) == ("127.0.0.1", "/stage/anne", "/stage/bob")
    assert len(first.query["key"]) > 20
    claims = json.loads(base64.urlsafe_b64decode(tokens[0].split(".")[1] + "=="))
    assert claims["video"] == {
        "roomJoin": True,
        "room": "stage",
        "hidden": True,
        "canSubscribe": True,
        "canPublish": False,
        "canPublishData": False,
    }
    assert claims["exp"] - time.time() < 61
