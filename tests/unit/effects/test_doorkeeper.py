from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from monitor.effects.blocklist import BlockList
from monitor.effects.doorkeeper import Doorkeeper
from monitor.effects.last_resort import LastResort
from monitor.errors import MediaServerUnreachable
from monitor.servers.port import CutResult, LiveStream
from monitor.store import audit
from monitor.vocabulary import StreamRef
from tests.fakes.clock import ManualClock
from tests.fakes.media_server import FakeServer, live
from tests.fakes.store import CAM1, FlakyDatabase, flaky_store


class Door:
    def __init__(
        self, database: FlakyDatabase, dry_run_servers: Collection[str], command: tuple[str, ...] = ()
    ) -> None:
        self.database = database
        self.clock = ManualClock()
        self.blocks = BlockList(self.clock)
        self.incidents: set[str] = set()
        self.gone: set[str] = set()
        self.proved: list[StreamRef] = []
        self.last_resort = LastResort({"edge": command}, lambda _: live())
        self.keeper = Doorkeeper(
            database,
            self.blocks,
            self.clock,
            dry_run_servers=dry_run_servers,
            is_contained=lambda stream_id: stream_id in self.incidents,
            containment=self,
        )

    def is_live(self, publication: LiveStream) -> bool:
        return publication.session not in self.gone

    def on_gone(self, ref: StreamRef) -> None:
        self.proved.append(ref)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.002)
                await self.clock.advance(0.2)

    async def idle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0.001)
            await self.clock.advance(0.5)


@asynccontextmanager
async def door(path: Path, dry_run_servers: Collection[str] = (), command: tuple[str, ...] = ()) -> AsyncIterator[Door]:
    async with flaky_store(path / "store.sqlite3") as database:
        made = Door(database, dry_run_servers, command)
        made.blocks.change(CAM1, made.clock.now().timestamp() + 3600)
        task = asyncio.create_task(made.keeper.run())
        try:
            yield made
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.wait({task})


async def test_a_barred_publisher_that_is_live_is_cut_and_the_log_says_so(tmp_path: Path) -> None:
    async with door(tmp_path) as made:
        server = FakeServer(cuts=[MediaServerUnreachable("no"), CutResult(1, verified=True)])
        made.keeper.on_live(server, live())
        await made.until(lambda: made.database.written == 1)
        assert server.commands == [(CAM1, "s1"), (CAM1, "s1")]
        assert made.proved == [CAM1]
        async with made.database.reading() as connection:
            (entry,) = await audit.entries(connection)
        assert (entry.actor, entry.action, entry.detail["dropped"]) == ("daemon", "block_enforced", 1)


async def test_nobody_else_is_touched(tmp_path: Path) -> None:
    async with door(tmp_path) as made:
        server = FakeServer()
        made.keeper.on_live(server, live("cam2"))
        made.incidents.add(CAM1.stream_id)  # its protocol decides
        made.keeper.on_live(server, live())
        made.incidents.clear()
        server.can_cut = False
        made.keeper.on_live(server, live())
        await made.idle()
        assert server.commands == []


async def test_a_block_that_is_lifted_ends_the_attempts(tmp_path: Path) -> None:
    async with door(tmp_path) as made:
        server = FakeServer(cuts=[MediaServerUnreachable("no")])
        made.keeper.on_live(server, live())
        await made.until(lambda: len(server.commands) == 1)
        made.blocks.change(CAM1, None)
        await made.idle()
        assert len(server.commands) == 1


async def test_dry_run_only_says_it(tmp_path: Path, logged: list[MutableMapping[str, Any]]) -> None:
    async with door(tmp_path, {"edge"}) as made:
        server = FakeServer()
        made.keeper.on_live(server, live())
        await made.idle()
        assert server.commands == []
    (event,) = [one for one in logged if one["event"] == "barred_publisher_is_live"]
    assert event["dry_run"] is True
    assert "cam1" not in str(event)


@pytest.mark.parametrize("answer", [MediaServerUnreachable("no"), ZeroDivisionError(), CutResult(0, verified=False)])
async def test_a_server_that_does_not_obey_is_told_again_ever_more_slowly_and_shelters_nobody_else(
    tmp_path: Path, answer: CutResult | Exception
) -> None:
    async with door(tmp_path) as made:
        server = FakeServer(cuts=[answer])
        made.keeper.on_live(server, live())
        made.keeper.on_live(server, live())
        await made.until(lambda: made.database.written == 1)
        assert REGISTRY.get_sample_value("livecordon_barred_live") == 1
        told = len(server.commands)
        assert told == 3
        for _ in range(100):
            await asyncio.sleep(0.001)
            await made.clock.advance(1.0)
        assert told + 3 <= len(server.commands) <= told + 8
        made.keeper.on_live(other := FakeServer(), live(session="s2"))
        await made.until(lambda: len(other.commands) == 1)


async def test_it_gives_up_when_the_publication_is_over(tmp_path: Path) -> None:
    async with door(tmp_path) as made:
        server = FakeServer(cuts=[MediaServerUnreachable("no")])
        made.keeper.on_live(server, live())
        await made.until(lambda: len(server.commands) == 4)
        made.gone.add("s1")
        for _ in range(70):
            await asyncio.sleep(0.001)
            await made.clock.advance(1.0)
        assert len(server.commands) <= 5
        assert REGISTRY.get_sample_value("livecordon_barred_live") == 0


async def test_the_operators_own_way_is_tried_once_when_the_server_does_not_obey(tmp_path: Path) -> None:
    mark = tmp_path / "cut"
    async with door(tmp_path, command=("/bin/sh", "-c", f'echo "$0 $1" >> {mark}', "{name}", "{session}")) as made:
        server = FakeServer(cuts=[MediaServerUnreachable("no")])
        made.keeper.on_live(server, live())
        await made.until(lambda: made.database.written == 1)
        async with made.database.reading() as connection:
            (entry,) = await audit.entries(connection)
        assert entry.detail["emergency_command"] == "ran"
        await made.until(lambda: len(server.commands) > 4)
    assert mark.read_text() == "cam1 s1\n"


async def test_a_block_by_hand_cuts_whatever_a_protocol_does(tmp_path: Path) -> None:
    async with door(tmp_path) as made:
        server = FakeServer(cuts=[CutResult(1, verified=True)])
        made.incidents.add(CAM1.stream_id)
        made.keeper.on_live(server, live(), by_hand=True)
        await made.until(lambda: made.database.written == 1)
        assert server.commands == [(CAM1, "s1")]


async def test_a_cut_that_fails_is_in_the_log_too(tmp_path: Path) -> None:
    async with door(tmp_path) as made:
        server = FakeServer(cuts=[MediaServerUnreachable("no") for _ in range(9)])
        made.keeper.on_live(server, live())
        await made.until(lambda: made.database.written == 1)
        async with made.database.reading() as connection:
            (entry,) = await audit.entries(connection)
        assert (entry.action, entry.detail["reason"]) == ("block_not_enforced", "unreachable")
