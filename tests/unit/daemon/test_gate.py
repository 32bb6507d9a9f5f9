from __future__ import annotations

import pytest

from monitor.daemon.gate import Gate
from monitor.effects.blocklist import BlockList
from monitor.errors import GateRequestError
from monitor.servers.port import RawGateRequest
from tests.fakes.clock import ManualClock
from tests.fakes.media_server import FakeServer
from tests.fakes.store import CAM1


class Standing:
    def __init__(self, *dry_run_servers: str) -> None:
        self.clock = ManualClock()
        self.blocks = BlockList(self.clock)
        self.let_in: list[str] = []
        self.gate = Gate({"edge": FakeServer()}, self.blocks, dry_run_servers, self.let_in.append)

    async def ask(self, body: str) -> int:
        return (await self.gate.decide("edge", RawGateRequest("text/plain", body.encode()))).status

    def bar(self) -> None:
        self.blocks.change(CAM1, self.clock.now().timestamp() + 60)


async def test_who_is_barred_stays_out_until_the_block_ends() -> None:
    made = Standing()
    made.bar()
    assert [await made.ask("publish cam1"), await made.ask("publish cam2")] == [403, 200]
    assert made.let_in == ["edge"]
    await made.clock.advance(60)
    assert await made.ask("publish cam1") == 200


async def test_calls_other_than_publish_are_let_through_without_a_look() -> None:
    made = Standing()
    made.bar()
    assert [await made.ask("play cam1"), await made.ask("connect x")] == [200, 200]
    assert made.let_in == []


async def test_a_dry_run_refuses_nobody() -> None:
    made = Standing("edge")
    made.bar()
    assert await made.ask("publish cam1") == 200


async def test_what_cannot_be_read_is_the_web_layers_to_answer() -> None:
    made = Standing()
    with pytest.raises(GateRequestError):
        await made.ask("publish")
    refusal, welcome = made.gate.reply("edge", allow=False), made.gate.reply("edge", allow=True)
    assert refusal is not None
    assert welcome is not None
    assert (refusal.status, welcome.status) == (403, 200)
    assert made.gate.reply("nobody", allow=False) is None


async def test_who_cannot_know_and_fails_closed_lets_nobody_in() -> None:
    made = Standing()
    sure = False
    made.gate = Gate({"edge": FakeServer()}, made.blocks, (), made.let_in.append, is_sure=lambda: sure)
    assert [await made.ask("publish cam2"), await made.ask("play cam2")] == [403, 200]
    sure = True
    assert await made.ask("publish cam2") == 200
