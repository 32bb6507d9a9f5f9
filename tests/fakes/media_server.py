"""A media server in memory: tests put streams on it and script how it answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from monitor.errors import GateRequestError
from monitor.servers.port import (
    Capabilities,
    CutResult,
    GateReply,
    GateRequest,
    HoldResult,
    LiveStream,
    MediaServer,
    RawGateRequest,
    cannot_hold,
)
from monitor.vocabulary import StreamRef

Answer = CutResult | Exception
HoldAnswer = HoldResult | Exception


def live(name: str = "cam1", session: str = "s1", *, server: str = "edge") -> LiveStream:
    """One publication."""
    return LiveStream(StreamRef(server, "live", name), session)


@dataclass
class FakeServer:
    """Cuts as `cuts` says, in turn, the last one for ever; without any, as an obedient server would."""

    name: str = "edge"
    kind: str = "fake"
    streams: dict[str, LiveStream] = field(default_factory=dict)
    cuts: list[Answer] = field(default_factory=list)
    listing_error: Exception | None = None
    address_error: Exception | None = None
    can_cut: bool = True
    can_hold: bool = True
    seen_while_held: bool = True
    holds: list[HoldAnswer] = field(default_factory=list)
    hold_commands: list[tuple[str, StreamRef, str | None]] = field(default_factory=list)
    commands: list[tuple[StreamRef, str | None]] = field(default_factory=list)
    listed: int = 0
    held: asyncio.Event | None = None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            cut=self.can_cut,
            synchronous_block=True,
            publisher_address=False,
            gate_down_refuses=False,
            hold=self.can_hold,
            seen_while_held=self.seen_while_held,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    async def probe(self) -> tuple[str, ...]:
        return ()

    async def list_streams(self) -> tuple[LiveStream, ...]:
        self.listed += 1
        if self.listing_error is not None:
            raise self.listing_error
        return tuple(self.streams.values())

    def pull_url(self, ref: StreamRef) -> str:
        if self.address_error is not None:
            raise self.address_error
        return f"rtmp://edge/{ref.app}/{ref.name}"

    async def cut(self, ref: StreamRef, session: str | None = None) -> CutResult:
        self.commands.append((ref, session))
        if self.held is not None:
            await self.held.wait()
        answer = self.cuts[min(len(self.commands), len(self.cuts)) - 1] if self.cuts else CutResult(1, verified=True)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def hold(self, ref: StreamRef, session: str | None = None) -> HoldResult:
        return await self._hold("hold", ref, session)

    async def release(self, ref: StreamRef, session: str | None = None) -> HoldResult:
        return await self._hold("release", ref, session)

    async def _hold(self, word: str, ref: StreamRef, session: str | None) -> HoldResult:
        if not self.can_hold:
            raise cannot_hold()
        self.hold_commands.append((word, ref, session))
        if self.held is not None:
            await self.held.wait()
        count = len(self.hold_commands)
        answer = self.holds[min(count, len(self.holds)) - 1] if self.holds else HoldResult(1, verified=True)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def parse_gate_request(self, request: RawGateRequest) -> GateRequest:
        call, _, name = request.body.decode().partition(" ")
        if not name:
            raise GateRequestError("no name")
        return GateRequest(call=call, ref=StreamRef(self.name, "live", name) if call != "connect" else None)

    def gate_reply(self, request: GateRequest | None, *, allow: bool) -> GateReply:
        return GateReply(200 if allow else 403, b"unread" if request is None else b"")


_: type[MediaServer] = FakeServer
