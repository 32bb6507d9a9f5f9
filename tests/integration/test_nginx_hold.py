"""Held on a real nginx-rtmp: out of its viewers' sight, still watched, and given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from monitor.clock import SystemClock
from monitor.daemon.gate import Gate
from monitor.demo.nginx import RealNginx
from monitor.effects.blocklist import BlockList
from monitor.servers.nginx_rtmp.adapter import NginxRtmpMediaServer
from monitor.servers.port import GateReply, LiveStream, RawGateRequest
from monitor.vocabulary import StreamRef
from tests.fakes.hook import HookServer
from tests.fakes.nginx import section_for
from tests.fakes.publishers import ffmpeg_publishing
from tests.fakes.reading import can_be_watched
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(120)]

CAM = StreamRef("edge", "live", "cam")
KEY = b"k" * 32


@asynccontextmanager
async def guarded(
    directory: Path, *, workers: int = 1
) -> AsyncIterator[tuple[RealNginx, NginxRtmpMediaServer, BlockList]]:
    """Run nginx with a strict gate in front, and the adapter whose moves the gate must let pass."""
    blocks = BlockList(SystemClock())
    servers: dict[str, NginxRtmpMediaServer] = {}
    gate = Gate(servers, blocks, frozenset(), lambda _: None)

    async def decide(raw: RawGateRequest) -> GateReply:
        return await gate.decide("edge", raw)

    async with (
        HookServer(decide) as hook,
        RealNginx(directory, gate_url=hook.url, fail_open=False, workers=workers) as nginx,
        NginxRtmpMediaServer(section_for(nginx)) as server,
    ):
        server.use_key(KEY)
        servers["edge"] = server
        yield nginx, server, blocks


async def listed(server: NginxRtmpMediaServer) -> LiveStream | None:
    return next(iter(await server.list_streams()), None)


async def test_a_held_stream_is_hidden_watched_remembered_and_given_back(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (nginx, server, blocks):
        own_address = f"{nginx.rtmp_url}/live/cam"
        async with ffmpeg_publishing(own_address) as encoder:
            before = await eventually(lambda: listed(server))
            # Whoever is held may be blocked as well, and stays connected all the same.
            blocks.change(CAM, 4e9)

            result = await server.hold(CAM)

            assert (result.matched, result.verified) == (1, True)
            (held,) = await server.list_streams()
            assert (held.ref, held.session, held.held) == (CAM, before.session, True)
            assert server.pull_url(CAM) != own_address
            assert await can_be_watched(server.pull_url(CAM))
            assert not await can_be_watched(own_address, timeout_s=1.5)
            again = await server.hold(CAM)
            assert (again.matched, again.verified) == (0, True)

            async with NginxRtmpMediaServer(section_for(nginx)) as restarted:
                restarted.use_key(KEY)
                assert [stream.held for stream in await restarted.list_streams()] == [True]
                assert restarted.pull_url(CAM) == server.pull_url(CAM)

            blocks.change(CAM, None)
            async with ffmpeg_publishing(own_address) as second:
                # The name is free to nginx, but not to us: this is how a held publisher would step around it.
                assert await asyncio.wait_for(second.wait(), 10) != 0
            async with ffmpeg_publishing(server.pull_url(CAM)) as second:
                assert await asyncio.wait_for(second.wait(), 10) != 0

            result = await server.release(CAM, before.session)

            assert (result.matched, result.verified) == (1, True)
            (shown,) = await server.list_streams()
            assert (shown.ref, shown.session, shown.held) == (CAM, before.session, False)
            assert server.pull_url(CAM) == own_address
            assert await can_be_watched(own_address)
            assert encoder.returncode is None


async def test_a_held_stream_can_be_cut_and_others_are_left_alone(tmp_path: Path) -> None:
    async with (
        guarded(tmp_path) as (nginx, server, _),
        ffmpeg_publishing(f"{nginx.rtmp_url}/live/cam") as encoder,
        ffmpeg_publishing(f"{nginx.rtmp_url}/live/cam2") as innocent,
    ):

        async def both() -> bool:
            return len(await server.list_streams()) == 2

        await eventually(both)
        assert (await server.hold(CAM)).verified

        # A daemon that has just started, and has not listed yet, does not know that it is held.
        async with NginxRtmpMediaServer(section_for(nginx)) as restarted:
            restarted.use_key(KEY)
            first = await restarted.cut(CAM)
            result = first if first.verified else await restarted.cut(CAM)

        assert (result.matched, result.verified) == (1, True)
        assert await asyncio.wait_for(encoder.wait(), 10) != 0
        assert [stream.ref.name for stream in await server.list_streams()] == ["cam2"]
        assert innocent.returncode is None


async def test_two_workers_hold_what_they_find_and_claim_no_more(tmp_path: Path) -> None:
    async with (
        guarded(tmp_path, workers=2) as (nginx, server, _),
        ffmpeg_publishing(f"{nginx.rtmp_url}/live/cam") as encoder,
    ):
        await eventually(lambda: listed(server))

        async def held() -> bool:
            result = await server.hold(CAM)
            return result.verified

        await eventually(held)

        async def all_say_so() -> bool:
            seen = [stream.held for _ in range(8) for stream in await server.list_streams()]
            return bool(seen) and all(seen)

        assert await eventually(all_say_so)
        assert encoder.returncode is None

        async def released() -> bool:
            return (await server.release(CAM)).verified

        await eventually(released)
        assert encoder.returncode is None
