"""Media servers that keep publishers out by themselves hear of every block, and of its end, however often they fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

from monitor.effects.block_teller import BlockTeller
from monitor.effects.blocklist import BlockList
from monitor.errors import MediaServerError, MediaServerUnreachable, UnsafeCallRefused
from monitor.store.blocks import BlockRecord
from monitor.vocabulary import StreamRef
from tests.fakes.clock import START, ManualClock
from tests.fakes.media_server import FakeServer

CAM, OTHER = StreamRef("edge", "live", "cam"), StreamRef("edge", "live", "other")
T = START.timestamp()


@dataclass
class Fortress(FakeServer):
    """A server that keeps publishers out by itself, or fails."""

    takes_blocks: bool = True
    barred: dict[StreamRef, float] = field(default_factory=dict)
    told: list[tuple[str, StreamRef]] = field(default_factory=list)
    fails: list[MediaServerError] = field(default_factory=list)

    async def block(self, ref: StreamRef, until: datetime) -> None:
        self.told.append(("block", ref))
        if self.fails:
            raise self.fails.pop(0)
        self.barred[ref] = until.timestamp()

    async def unblock(self, ref: StreamRef) -> None:
        self.told.append(("unblock", ref))
        if self.fails:
            raise self.fails.pop(0)
        del self.barred[ref]


@asynccontextmanager
async def telling(blocks: BlockList, server: FakeServer, clock: ManualClock, *dry: str) -> AsyncIterator[None]:
    task = asyncio.create_task(BlockTeller(blocks, {server.name: server}, clock, dry).run())
    await clock.advance(0)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def made() -> tuple[ManualClock, BlockList, Fortress]:
    clock = ManualClock()
    return clock, BlockList(clock), Fortress()


async def test_each_block_is_told_once_and_taken_back() -> None:
    clock, blocks, server = made()
    blocks.change(CAM, T + 100)
    blocks.change(StreamRef("elsewhere", "live", "cam"), T + 100)
    async with telling(blocks, server, clock):
        assert server.barred == {CAM: T + 100}
        blocks.change(OTHER, T + 50)
        await clock.advance(1)
        blocks.change(CAM, None)
        await clock.advance(10)

        assert server.barred == {OTHER: T + 50}
        assert server.told == [("block", CAM), ("block", OTHER), ("unblock", CAM)]


async def test_a_longer_block_is_told_anew_and_one_that_ends_by_itself_is_left_alone() -> None:
    clock, blocks, server = made()
    blocks.change(CAM, T + 5)
    async with telling(blocks, server, clock):
        blocks.extend(CAM, T + 8)
        await clock.advance(1)
        assert server.barred == {CAM: T + 8}
        await clock.advance(20)
        blocks.change(OTHER, T + 100)
        await clock.advance(1)

        assert server.told == [("block", CAM), ("block", CAM), ("block", OTHER)]


async def test_a_server_that_does_not_answer_is_told_until_it_does() -> None:
    clock, blocks, server = made()
    server.fails = [MediaServerUnreachable("away") for _ in range(3)]
    blocks.change(CAM, T + 1000)
    async with telling(blocks, server, clock):
        await clock.advance(1)
        assert server.barred == {}
        await clock.advance(10)
        assert server.barred == {CAM: T + 1000}
        assert len(server.told) == 4

        server.fails = [MediaServerUnreachable("away")]
        blocks.change(CAM, None)
        await clock.advance(10)
        assert server.barred == {}


async def test_a_name_that_cannot_be_told_does_not_stand_in_the_way_of_others() -> None:
    clock, blocks, server = made()
    server.fails = [UnsafeCallRefused("no")]
    blocks.change(CAM, T + 1000)
    blocks.change(OTHER, T + 1000)
    async with telling(blocks, server, clock):
        await clock.advance(100)

        assert server.barred == {OTHER: T + 1000}
        assert len(server.told) == 2


async def test_blocks_that_the_store_has_replaced_are_told() -> None:
    clock, blocks, server = made()
    blocks.change(CAM, T + 1000)
    async with telling(blocks, server, clock):
        blocks.replace([record(OTHER, T + 500)])
        await clock.advance(1)

        assert server.barred == {OTHER: T + 500}


async def test_nothing_is_told_in_a_dry_run_or_where_there_is_no_way() -> None:
    for change in (lambda _: ("edge",), without_a_way):
        clock, blocks, server = made()
        dry = change(server)
        blocks.change(CAM, T + 1000)
        async with telling(blocks, server, clock, *dry):
            await clock.advance(5)
        assert server.told == []


def without_a_way(server: Fortress) -> tuple[str, ...]:
    server.takes_blocks = False
    return ()


def record(ref: StreamRef, until: float) -> BlockRecord:
    return BlockRecord("1", ref.server, ref.app, ref.name, T, until, None, None, "daemon", "")
