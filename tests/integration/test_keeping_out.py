"""Twenty publishers on a real media server, three of them violent: those go, and stay away; nobody else notices."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from monitor.demo.nginx import RealNginx
from monitor.demo.stage import free_port
from monitor.servers.factory import build_server
from monitor.servers.node_media_server.adapter import NodeMediaServerAdapter
from monitor.servers.port import MediaServer
from tests.fakes.crowd import Insistent, insistent, ordinary
from tests.fakes.daemon import RealDaemon
from tests.fakes.nginx import entry_for, section_for
from tests.fakes.node_media_server import ENVIRON, RealNodeMediaServer
from tests.fakes.node_media_server import entry_for as nms_entry_for
from tests.fakes.node_media_server import section_for as nms_section_for
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.timeout(240)

FRAMES_PER_S = 25
LOOK_EVERY_S = 0.1
OFF_WITHIN_S = 45.0
VIOLENT = ("alice", "bob", "carol")
CALM = tuple(f"user{chr(ord('a') + number)}-1" for number in range(17))


class Sightings:
    """Looks at the server ten times a second, past the daemon, for whoever should not be there."""

    def __init__(self, server: MediaServer) -> None:
        self._server = server
        self.last: dict[str, str] = {}
        self.seen: dict[str, tuple[float, float]] = {}
        """When each publication of theirs was seen first and last, by its session."""

    async def run(self) -> None:
        while True:
            self.last = {stream.ref.name: stream.session for stream in await self._server.list_streams()}
            now_s = asyncio.get_running_loop().time()
            for session in (session for name, session in self.last.items() if name.startswith(VIOLENT)):
                self.seen[session] = (self.seen.get(session, (now_s,))[0], now_s)
            await asyncio.sleep(LOOK_EVERY_S)


@asynccontextmanager
async def looking(server: MediaServer) -> AsyncIterator[Sightings]:
    sightings = Sightings(server)
    task = asyncio.create_task(sightings.run())
    try:
        yield sightings
    finally:
        task.cancel()
        await asyncio.wait({task})


def configuration(port: int, entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "web": {"listen": f"127.0.0.1:{port}"},
        "servers": [entry],
        "protocol": {"default": "immediate"},
        "strikes": {"account_pattern": "^live/(?P<account>[a-z]+)-"},
    }


@dataclass(frozen=True, slots=True)
class Stage:
    """A real media server that asks, or tells, a daemon that is yet to come."""

    entry: dict[str, Any]
    server: MediaServer
    rtmp_url: str
    asks_first: bool
    """Whether it waits for the gate's answer; who is refused is on air for a moment otherwise."""
    returns: int
    """How often each of the violent comes back here; every return takes longer where it is let in first."""


@asynccontextmanager
async def nginx_stage(folder: Path, gate_url: str) -> AsyncIterator[Stage]:
    async with RealNginx(folder, gate_url=gate_url) as nginx, build_server(section_for(nginx), gate_url="") as server:
        yield Stage(entry_for(nginx), server, nginx.rtmp_url, asks_first=True, returns=50)


@asynccontextmanager
async def node_media_server_stage(folder: Path, gate_url: str) -> AsyncIterator[Stage]:
    async with (
        RealNodeMediaServer(folder, notify_url=gate_url) as nms,
        NodeMediaServerAdapter(nms_section_for(nms), environ=ENVIRON) as server,
    ):
        yield Stage(nms_entry_for(nms), server, nms.rtmp_url, asks_first=False, returns=20)


@pytest.mark.parametrize(
    "stage_in",
    [
        pytest.param(nginx_stage, id="nginx_rtmp", marks=pytest.mark.real_server),
        pytest.param(node_media_server_stage, id="node_media_server", marks=pytest.mark.node_media_server),
    ],
)
async def test_the_violent_stay_out_through_every_return_and_nobody_else_loses_a_frame(
    stage_in: Callable[[Path, str], AbstractAsyncContextManager[Stage]], tmp_path: Path, brawl: Path, calm: Path
) -> None:
    port = free_port()
    (tmp_path / "server").mkdir()
    people = [Insistent(tuple(f"{name}-{number}" for number in (1, 1, 2, 3))) for name in VIOLENT]
    async with (
        stage_in(tmp_path / "server", f"http://127.0.0.1:{port}/gate/edge") as stage,
        RealDaemon(tmp_path, configuration(port, stage.entry), environ=ENVIRON) as daemon,
        ordinary(calm, f"{stage.rtmp_url}/live", tmp_path, *CALM) as encoders,
        looking(stage.server) as sightings,
    ):
        await eventually(lambda: daemon.scored(*CALM), deadline_s=90)
        sessions = {name: sightings.last[name] for name in CALM}
        before = {encoder.name: encoder.counters() for encoder in encoders}

        async with insistent(brawl, f"{stage.rtmp_url}/live", *people):

            async def off() -> bool:
                return all(person.ends for person in people)

            await eventually(off, deadline_s=OFF_WITHIN_S)
            # The first publication of each was seen; from now on nobody is to see any of them.
            sightings.seen.clear()

            async def often() -> bool:
                return all(person.ends > stage.returns for person in people)

            await eventually(often, deadline_s=120)
        after = {encoder.name: encoder.counters() for encoder in encoders}

        if stage.asks_first:
            assert sightings.seen == {}
            # Refused at the gate, and not let in and thrown out again.
            assert max(person.longest_s for person in people) < 3.0
        else:
            shown_s = [last - first for first, last in sightings.seen.values()]
            assert sum(shown_s) / sum(person.ends for person in people) < 0.5
            assert max(shown_s) < 3.0
        assert {name: sightings.last[name] for name in CALM} == sessions
        for encoder in encoders:
            assert encoder.process.returncode is None
            first, last = before[encoder.name], after[encoder.name]
            assert last.lost == 0
            assert last.frames - first.frames == pytest.approx((last.seconds - first.seconds) * FRAMES_PER_S, abs=2)
            assert last.frames > first.frames

        incidents = await daemon.incidents()
        assert sorted(one["title"] for one in incidents) == [f"live/{name}-1" for name in VIOLENT]

        async def contained() -> bool:
            return {one["state"] for one in await daemon.incidents()} == {"contained"}

        # Whoever was on air for a moment just now is being cut.
        await eventually(contained)
        denied = re.search(r'gate_decisions_total\{decision="deny"\} (\d+)', await daemon.text("/metrics"))
        assert denied is not None
        assert int(denied[1]) >= len(VIOLENT) * stage.returns
        assert await daemon.scored(*CALM)
        assert await daemon.stop() == 0
