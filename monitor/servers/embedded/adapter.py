"""The embedded relay, in this process or in another one, through its control interface."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
from yarl import URL

from monitor.config.servers import EmbeddedServer
from monitor.errors import GateRequestError, MediaServerRefused, UnsafeCallRefused
from monitor.servers.control import Answer, ControlClient
from monitor.servers.embedded.relay import CONTROL_APP, Relay
from monitor.servers.embedded.wire import Cuts, GateQuestion, Holds, Listing
from monitor.servers.port import Capabilities, CutResult, GateReply, GateRequest, HoldResult, LiveStream, RawGateRequest
from monitor.vocabulary import StreamRef

_T = TypeVar("_T")

_MAX_ANSWER_BYTES = 4 * 1024 * 1024
_MAX_GATE_BODY_BYTES = 16 * 1024
_DEFAULT_PORT = 80
# Any later time cannot be a date.
_LAST_TIMESTAMP_S = 4_102_444_800.0


class EmbeddedMediaServer:
    """The adapter for the embedded relay; see `MediaServer` for what the methods promise.

    Args:
        section: Its entry in the configuration.
        gate_url: Where a relay that this adapter serves asks before it lets somebody publish.
    """

    def __init__(self, section: EmbeddedServer, *, gate_url: str | None = None) -> None:
        self._section = section
        self._gate_url = gate_url
        self._base_url = section.url.rstrip("/")
        self._client = ControlClient(
            timeout_s=section.request_timeout, max_answer_bytes=_MAX_ANSWER_BYTES, second=section.second_control
        )
        self._exit = AsyncExitStack()

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self._section.name

    @property
    def kind(self) -> str:
        """``embedded``."""
        return self._section.kind

    @property
    def relay_url(self) -> str:
        """Base address of the relay, to be followed by /app/name; with port 0, known once entered."""
        return self._base_url

    @property
    def capabilities(self) -> Capabilities:
        """What the relay can do."""
        return Capabilities(
            cut=True, synchronous_block=True, publisher_address=True, gate_down_refuses=False, hold=True
        )

    async def __aenter__(self) -> Self:
        """Open the control client and, where the configuration says so, run the relay.

        Raises:
            MediaServerUnreachable: the relay cannot listen on its address.
        """
        async with AsyncExitStack() as stack:
            if self._section.serve:
                parts = urlsplit(self._section.url)
                port = _DEFAULT_PORT if parts.port is None else parts.port
                relay = await stack.enter_async_context(Relay(parts.hostname or "127.0.0.1", port, self._gate_url))
                self._base_url = relay.url
            await self._client.open()
            stack.push_async_callback(self._client.close)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    async def probe(self) -> tuple[str, ...]:
        """List once, and say what the relay is not for."""
        await self.list_streams()
        return ("the embedded relay is for demo and tests only",)

    async def list_streams(self) -> tuple[LiveStream, ...]:
        """Return every publication that the relay has let in."""
        answer = await self._client.get(URL(f"{self._base_url}/{CONTROL_APP}/streams"))
        listing = _decode(answer, Listing)
        return tuple(
            LiveStream(
                StreamRef(self.name, each.app, each.name),
                session=each.session,
                publisher_address=each.address,
                started_at=_time(each.started_at),
                viewers=each.viewers,
                held=each.held,
            )
            for each in listing.streams
        )

    def pull_url(self, ref: StreamRef) -> str:
        """Return the relay's address for whoever watches over the stream, held or not, with both parts percent-encoded."""
        if not {ref.app, ref.name}.isdisjoint({"", ".", ".."}) or ref.app == CONTROL_APP:
            raise UnsafeCallRefused("this name would lead to another address on the relay")
        if not (_is_text(ref.app) and _is_text(ref.name)):
            raise UnsafeCallRefused("the stream's name cannot be encoded")
        return f"{self._base_url}/{CONTROL_APP}/watch/{quote(ref.app, safe='')}/{quote(ref.name, safe='')}"

    async def cut(self, ref: StreamRef, session: str | None = None) -> CutResult:
        """Have the relay throw the publisher out, and list to verify."""
        command = _command(ref, session)
        answer = await self._client.post_json(URL(f"{self._base_url}/{CONTROL_APP}/cut"), command)
        matched = _decode(answer, Cuts).matched
        if await self._listed(ref, session):
            return CutResult(matched, verified=False, detail="The relay still lists the stream.")
        return CutResult(
            matched, verified=True, detail="The publisher was dropped." if matched else "The stream was gone already."
        )

    async def hold(self, ref: StreamRef, session: str | None = None) -> HoldResult:
        """Have the relay give viewers nothing, and list to verify."""
        return await self._hold(ref, session, held=True)

    async def release(self, ref: StreamRef, session: str | None = None) -> HoldResult:
        """Have the relay give viewers the stream again, and list to verify."""
        return await self._hold(ref, session, held=False)

    async def _hold(self, ref: StreamRef, session: str | None, *, held: bool) -> HoldResult:
        command = _command(ref, session) | {"held": held}
        answer = await self._client.post_json(URL(f"{self._base_url}/{CONTROL_APP}/hold"), command)
        matched = _decode(answer, Holds).matched
        if any(stream.held is not held for stream in await self._listed(ref, session)):
            return HoldResult(matched, verified=False, detail="The relay lists the stream as it was.")
        done = "Viewers see nothing now." if held else "Viewers see the stream again."
        return HoldResult(matched, verified=True, detail=done if matched else "The stream was gone already.")

    async def _listed(self, ref: StreamRef, session: str | None) -> list[LiveStream]:
        return [
            stream
            for stream in await self.list_streams()
            if stream.ref == ref and session in {None, "", stream.session}
        ]

    def parse_gate_request(self, request: RawGateRequest) -> GateRequest:
        """Read the relay's JSON question."""
        if request.content_type.partition(";")[0].strip().lower() != "application/json":
            raise GateRequestError("the relay's question is not JSON")
        if len(request.body) > _MAX_GATE_BODY_BYTES:
            raise GateRequestError("the relay's question is too large")
        try:
            question = msgspec.json.decode(request.body, type=GateQuestion)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise GateRequestError("the relay's question lacks fields") from None
        if not question.app or not question.name:
            raise GateRequestError("the relay's question names no stream")
        return GateRequest(
            call=question.call,
            ref=StreamRef(self.name, question.app, question.name),
            session=question.session,
            publisher_address=question.address,
        )

    def gate_reply(self, request: GateRequest | None, *, allow: bool) -> GateReply:  # noqa: ARG002 - the port's signature
        """Build 204 or 403."""
        return GateReply(204) if allow else GateReply(403)


def _command(ref: StreamRef, session: str | None) -> dict[str, object]:
    if not ref.app or not ref.name:
        raise UnsafeCallRefused("the application or the stream has no name")
    if not (_is_text(ref.app) and _is_text(ref.name)):
        raise UnsafeCallRefused("the stream's name cannot be encoded")
    return {"app": ref.app, "name": ref.name, "session": session or None}


def _is_text(name: str) -> bool:
    """Whether the name is text at all; half a surrogate pair is not."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _decode(answer: Answer, shape: type[_T]) -> _T:
    if answer.status != 200:
        raise MediaServerRefused(f"the relay answered with status {answer.status}", reason="bad_status")
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise MediaServerRefused("this is no answer of the relay's", reason="not_a_listing") from None


def _time(timestamp_s: float) -> datetime | None:
    return datetime.fromtimestamp(timestamp_s, UTC) if 0 <= timestamp_s <= _LAST_TIMESTAMP_S else None
