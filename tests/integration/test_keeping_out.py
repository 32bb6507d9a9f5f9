"""Twenty publishers on a real media server, three of them violent: those go, and stay away; nobody else notices."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor.demo.nginx import RealNginx
from monitor.demo.stage import free_port
from monitor.servers.factory import build_server
from monitor.servers.port import MediaServer
from tests.fakes.crowd import Insistent, insistent, ordinary
from tests.fakes.daemon import RealDaemon
from tests.fakes.nginx import entry_for, section_for
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(240)]

RECONNECTS = 50
FRAMES_PER_S = 25
OFF_WITHIN_S = 45.0
VIOLENT = ("alice", "bob", "carol")
CALM = tuple(f"user{chr(ord('a') + number)}-1" for number in range(17))


class Sightings:
    """Looks at the server ten times a second, past the daemon, for whoever should not be there."""

    def __init__(self, server: MediaServer) -> None:
        self._server = server
        self.last: dict[str, str] = {}
        self.seen: list[str] = []

    async def run(self) -> None:
        while True:
            self.last = {stream.ref.name: stream.session for stream in await self._server.list_streams()}
            self.seen += [name for name in self.last if name.startswith(VIOLENT)]
            await asyncio.sleep(0.1)


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


async def test_the_violent_stay_out_through_every_return_and_nobody_else_loses_a_frame(
    tmp_path: Path, brawl: Path, calm: Path
) -> None:
    port = free_port()
    (tmp_path / "nginx").mkdir()
    people = [Insistent(tuple(f"{name}-{number}" for number in (1, 1, 2, 3))) for name in VIOLENT]
    async with (
        RealNginx(tmp_path / "nginx", gate_url=f"http://127.0.0.1:{port}/gate/edge") as nginx,
        build_server(section_for(nginx), gate_url="") as server,
        RealDaemon(tmp_path, configuration(port, entry_for(nginx))) as daemon,
        ordinary(calm, f"{nginx.rtmp_url}/live", tmp_path, *CALM) as encoders,
        looking(server) as sightings,
    ):
        await eventually(lambda: daemon.scored(*CALM), deadline_s=90)
        sessions = {name: sightings.last[name] for name in CALM}
        before = {encoder.name: encoder.counters() for encoder in encoders}

        async with insistent(brawl, f"{nginx.rtmp_url}/live", *people):

            async def off() -> bool:
                return all(person.ends for person in people)

            await eventually(off, deadline_s=OFF_WITHIN_S)
            # The first publication of each was seen; from now on nobody is to see any of them.
            sightings.seen.clear()

            async def often() -> bool:
                return all(person.ends > RECONNECTS for person in people)

            await eventually(often, deadline_s=120)
        after = {encoder.name: encoder.counters() for encoder in encoders}

        assert sightings.seen == []
        # Refused at the gate, and not let in and thrown out again.
        assert max(person.longest_s for person in people) < 3.0
        assert {name: sightings.last[name] for name in CALM} == sessions
        for encoder in encoders:
            assert encoder.process.returncode is None
            first, last = before[encoder.name], after[encoder.name]
            assert last.lost == 0
            assert last.frames - first.frames == pytest.approx((last.seconds - first.seconds) * FRAMES_PER_S, abs=2)
            assert last.frames > first.frames

        incidents = await daemon.incidents()
        assert sorted(one["title"] for one in incidents) == [f"live/{name}-1" for name in VIOLENT]
        assert {one["state"] for one in incidents} == {"contained"}
        denied = re.search(r'gate_decisions_total\{decision="deny"\} (\d+)', await daemon.text("/metrics"))
        assert denied is not None
        assert int(denied[1]) >= len(VIOLENT) * RECONNECTS
        assert await daemon.scored(*CALM)
        assert await daemon.stop() == 0
