"""Several media servers that carry the same streams, as one: watched on one of them, contained on all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

import structlog

from monitor.errors import MediaServerError
from monitor.servers.port import (
    Capabilities,
    CutResult,
    EndsStreams,
    GateReply,
    GateRequest,
    HidesNames,
    HoldResult,
    KeepsTheDoor,
    LiveStream,
    MediaServer,
    RawGateRequest,
    TakesBlocks,
)
from monitor.vocabulary import StreamRef

_log = structlog.get_logger()

_Said = TypeVar("_Said")
_Result = TypeVar("_Result", CutResult, HoldResult)


class ClusterMediaServer:
    """The servers of one cluster; see `MediaServer` for what the methods promise.

    A stream that several members list is one stream. It is read from the first of them that lists it, and a cut, hold or
    release is sent to every member and proved on each. A member that does not answer keeps its streams, and keeps a cut from
    being taken for done: viewers may still be there.

    Args:
        members: Open already; each lists its streams under the cluster's name. The first asks the gate under that name.
        names: The members' own names, in the same order.
    """

    def __init__(self, members: Sequence[MediaServer], names: Sequence[str]) -> None:
        self._members = tuple(zip(names, members, strict=True))
        self._lead = members[0]
        self._listings: dict[str, tuple[LiveStream, ...]] = {}
        self._chosen: dict[StreamRef, str] = {}
        self._silent: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The name of the first member, under which the cluster's streams are known."""
        return self._lead.name

    @property
    def kind(self) -> str:
        """The first member's adapter."""
        return self._lead.kind

    @property
    def capabilities(self) -> Capabilities:
        """What all members can do."""
        all_of = [member.capabilities for _, member in self._members]
        return replace(
            self._lead.capabilities,
            cut=all(one.cut for one in all_of),
            synchronous_block=all(one.synchronous_block for one in all_of),
            publisher_address=any(one.publisher_address for one in all_of),
            gate_down_refuses=all(one.gate_down_refuses for one in all_of),
            hold=all(one.hold for one in all_of),
        )

    @property
    def trouble(self) -> str:
        """Why some member's last listing could not be had, in a word; empty if all answered."""
        return next(iter(self._silent.values()), "")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    async def probe(self) -> tuple[str, ...]:
        """Check every member; fails only if all do."""
        found = await self._ask(lambda member: member.probe())
        warnings = [f"{name}: {warning}" for name, said in found.items() for warning in said]
        return (*warnings, *(f"{name} does not answer" for name, _ in self._members if name not in found))

    async def list_streams(self) -> tuple[LiveStream, ...]:
        """Return each stream once, with the viewers of all members; fails only if no member answers."""
        answers = await self._ask(lambda member: member.list_streams())
        self._listings |= answers
        shown: dict[StreamRef, dict[str, LiveStream]] = {}
        for name, _ in self._members:
            for stream in self._listings.get(name, ()):
                shown.setdefault(stream.ref, {}).setdefault(name, stream)
        self._chosen = {
            ref: before if (before := self._chosen.get(ref)) in on else next(iter(on)) for ref, on in shown.items()
        }
        return tuple(
            replace(
                on[self._chosen[ref]],
                session=f"{self._chosen[ref]}/{on[self._chosen[ref]].session}",
                viewers=sum(stream.viewers for stream in on.values()),
                held=all(stream.held for stream in on.values()),
            )
            for ref, on in shown.items()
        )

    def pull_url(self, ref: StreamRef) -> str:
        """Return the address on the member from which the stream is read."""
        chosen = self._chosen.get(ref)
        return next((member for name, member in self._members if name == chosen), self._lead).pull_url(ref)

    async def cut(self, ref: StreamRef, session: str | None = None) -> CutResult:
        """Cut it on every member: the publication meant where it is, and whatever carries it elsewhere."""
        results = await self._everywhere(session, lambda member, own: member.cut(ref, own))
        return CutResult(*_together(results))

    async def hold(self, ref: StreamRef, session: str | None = None) -> HoldResult:
        """Hold it on every member."""
        results = await self._everywhere(session, lambda member, own: member.hold(ref, own))
        return HoldResult(*_together(results))

    async def release(self, ref: StreamRef, session: str | None = None) -> HoldResult:
        """Show it on every member again."""
        results = await self._everywhere(session, lambda member, own: member.release(ref, own))
        return HoldResult(*_together(results))

    def parse_gate_request(self, request: RawGateRequest) -> GateRequest:
        """Read what the first member asks; the others have addresses of their own at the gate."""
        return self._lead.parse_gate_request(request)

    def gate_reply(self, request: GateRequest | None, *, allow: bool) -> GateReply:
        """Word the answer to the first member."""
        return self._lead.gate_reply(request, allow=allow)

    async def refusal(self, request: RawGateRequest, asked: GateRequest) -> GateReply | None:
        """Ask the first member's adapter; see `KeepsTheDoor`."""
        return await self._lead.refusal(request, asked) if isinstance(self._lead, KeepsTheDoor) else None

    def use_key(self, key: bytes) -> None:
        """Give the key to whoever hides names; see `HidesNames`."""
        for _, member in self._members:
            if isinstance(member, HidesNames):
                member.use_key(key)

    def mark_ended(self, ref: StreamRef) -> None:
        """Tell whoever cannot see it; see `EndsStreams`."""
        for _, member in self._members:
            if isinstance(member, EndsStreams):
                member.mark_ended(ref)

    @property
    def takes_blocks(self) -> bool:
        """Whether any member can keep publishers out by itself; see `TakesBlocks`."""
        return any(isinstance(member, TakesBlocks) and member.takes_blocks for _, member in self._members)

    async def block(self, ref: StreamRef, until: datetime) -> None:
        """Have all members that can do so keep a publisher out; see `TakesBlocks`."""
        await asyncio.gather(*(member.block(ref, until) for member in self._blocking()))

    async def unblock(self, ref: StreamRef) -> None:
        """Have all members that kept a publisher out let them in; see `TakesBlocks`."""
        await asyncio.gather(*(member.unblock(ref) for member in self._blocking()))

    def _blocking(self) -> list[TakesBlocks]:
        return [member for _, member in self._members if isinstance(member, TakesBlocks) and member.takes_blocks]

    async def _ask(
        self, question: Callable[[MediaServer], Awaitable[tuple[_Said, ...]]]
    ) -> dict[str, tuple[_Said, ...]]:
        """Ask all members at once; return who answered what.

        Raises:
            MediaServerError: nobody answered; the first member's reason.
        """
        said = await asyncio.gather(*(question(member) for _, member in self._members), return_exceptions=True)
        answers: dict[str, tuple[_Said, ...]] = {}
        silent: dict[str, str] = {}
        failures: list[MediaServerError] = []
        for (name, _), answer in zip(self._members, said, strict=True):
            if isinstance(answer, MediaServerError):
                failures.append(answer)
                silent[name] = answer.reason
            elif isinstance(answer, BaseException):
                raise answer
            else:
                answers[name] = answer
        for name in silent.keys() - self._silent.keys():
            _log.error("cluster_member_does_not_answer", server=self.name, member=name, reason=silent[name])
        self._silent = silent
        if not answers:
            raise failures[0]
        return answers

    async def _everywhere(
        self, session: str | None, command: Callable[[MediaServer, str | None], Awaitable[_Result]]
    ) -> list[_Result]:
        """Send a command to all members at once; a session counts on its own member only.

        Raises:
            MediaServerError: a member did not take it. All others have been told by then.
        """
        owner, _, own = (session or "").partition("/")
        done = await asyncio.gather(
            *(command(member, own if own and name == owner else None) for name, member in self._members),
            return_exceptions=True,
        )
        for (name, _), result in zip(self._members, done, strict=True):
            if isinstance(result, MediaServerError):
                _log.warning("cluster_member_not_told", server=self.name, member=name, reason=result.reason)
        if failure := next((result for result in done if isinstance(result, BaseException)), None):
            raise failure
        return [result for result in done if not isinstance(result, BaseException)]


def _together(results: Sequence[CutResult | HoldResult]) -> tuple[int, bool, str]:
    unproved = next((result.detail for result in results if not result.verified), None)
    return (
        sum(result.matched for result in results),
        unproved is None,
        f"On all {len(results)} servers." if unproved is None else unproved,
    )
