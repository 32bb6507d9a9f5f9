"""Media servers that leave more to the publish gate than blocks, and those that only tell it something."""

from __future__ import annotations

from dataclasses import dataclass, field

from typing_extensions import override

from monitor.clock import SystemClock
from monitor.daemon.gate import Gate
from monitor.effects.blocklist import BlockList
from monitor.servers.port import GateReply, GateRequest, RawGateRequest
from tests.fakes.media_server import FakeServer

ASKED = RawGateRequest("text/plain", b"publish cam1")


@dataclass
class ServerWithADoor(FakeServer):
    """Keeps out whoever asks for what is in `kept_out`."""

    kept_out: set[str] = field(default_factory=set)

    async def refusal(self, request: RawGateRequest, asked: GateRequest) -> GateReply | None:
        return GateReply(401) if asked.call in self.kept_out else None


class Newsmonger(FakeServer):
    """Tells instead of asking."""

    @override
    def parse_gate_request(self, request: RawGateRequest) -> GateRequest:
        return GateRequest(call="joined", ref=None, news=True)


def gate_of(server: FakeServer) -> tuple[Gate, list[str]]:
    hurried: list[str] = []
    return Gate({"edge": server}, BlockList(SystemClock()), (), hurried.append), hurried


async def test_the_servers_own_rules_keep_out_who_is_not_blocked() -> None:
    gate, hurried = gate_of(ServerWithADoor(kept_out={"publish"}))

    assert (await gate.decide("edge", ASKED)).status == 401
    assert hurried == []


async def test_readers_too_are_subject_to_the_servers_own_rules() -> None:
    gate, _ = gate_of(ServerWithADoor(kept_out={"read"}))

    assert (await gate.decide("edge", RawGateRequest("text/plain", b"read cam1"))).status == 401
    assert (await gate.decide("edge", ASKED)).status == 200


async def test_whoever_the_rules_let_in_is_looked_at_at_once() -> None:
    gate, hurried = gate_of(ServerWithADoor())

    assert (await gate.decide("edge", ASKED)).status == 200
    assert hurried == ["edge"]


async def test_news_have_the_server_listed_at_once() -> None:
    gate, hurried = gate_of(Newsmonger())

    assert (await gate.decide("edge", ASKED)).status == 200
    assert hurried == ["edge"]
