"""Any other media server, through programs and webhooks of the operator's own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from monitor.clock import Clock, SystemClock
from monitor.config.secrets import resolve_secret
from monitor.config.servers import CustomCall, CustomServer
from monitor.errors import ConfigError, Problem, UnsafeCallRefused
from monitor.servers.control import ControlClient
from monitor.servers.custom.calls import MAX_ANSWER_BYTES, Call, call_for
from monitor.servers.custom.wire import answer_question, read_count, read_listing, read_question
from monitor.servers.port import (
    Capabilities,
    CutResult,
    GateReply,
    GateRequest,
    HoldResult,
    LiveStream,
    RawGateRequest,
    cannot_hold,
)
from monitor.vocabulary import StreamRef

_VERIFY_DELAYS_S: Final = (0.0, 0.1, 0.2, 0.4)
# What means itself in any address: neither a path, nor a query, nor anything that needs encoding.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,254}")
_GONE: Final = "The stream was gone already."


class CustomMediaServer:
    """The adapter for one configured server of this kind; see `MediaServer` for what the methods promise.

    Args:
        section: Its entry in the configuration.
        clock: Source of time.
        environ: Where secrets are looked up; the process's environment by default.

    Raises:
        ConfigError: the token cannot be found.
    """

    def __init__(
        self, section: CustomServer, *, clock: Clock | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._section = section
        self._clock: Clock = clock or SystemClock()
        self._client = ControlClient(timeout_s=section.request_timeout, max_answer_bytes=MAX_ANSWER_BYTES)
        self._headers = _authorization(section, os.environ if environ is None else environ)
        self._list = self._call(section.on_list, "on_list")
        self._addresses: dict[StreamRef, str] = {}

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self._section.name

    @property
    def kind(self) -> str:
        """``custom``."""
        return self._section.kind

    @property
    def capabilities(self) -> Capabilities:
        """What there are programs or webhooks for, and what the operator promises."""
        return Capabilities(
            cut=self._section.on_cut is not None,
            hold=self._section.on_hold is not None,
            seen_while_held="seen_while_held" in self._section.promises,
            synchronous_block="synchronous_block" in self._section.promises,
            publisher_address="publisher_address" in self._section.promises,
            gate_down_refuses="gate_down_refuses" in self._section.promises,
            residue_after_cut="unknown: the cut is the operator's own program or webhook",
        )

    async def __aenter__(self) -> Self:
        await self._client.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.close()

    async def probe(self) -> tuple[str, ...]:
        """List once, and say what there is no way to do."""
        await self.list_streams()
        return () if self._section.on_cut is not None else ("streams are watched but cannot be cut: set on_cut",)

    async def list_streams(self) -> tuple[LiveStream, ...]:
        """Return what ``on_list`` answers."""
        listed = read_listing(await self._list.ask({"call": "list", "server": self.name}), server=self.name)
        self._addresses = {one.stream.ref: one.url for one in listed if one.url is not None}
        return tuple(one.stream for one in listed)

    def pull_url(self, ref: StreamRef) -> str:
        """Return the address from the last list, or else the one made from `pull_url`."""
        if (address := self._addresses.get(ref)) is not None:
            return address
        pattern = self._section.pull_url
        if pattern is None or ref.server != self.name:
            raise UnsafeCallRefused("the list names no address for this stream, and there is no pull_url")
        for word in (ref.app, ref.name):
            if not _PLAIN.fullmatch(word):
                raise UnsafeCallRefused("the stream's name cannot be put into an address")
        return pattern.replace("{app}", ref.app).replace("{name}", ref.name)

    async def cut(self, ref: StreamRef, session: str | None = None) -> CutResult:
        """Ask ``on_cut`` for each publication that is meant, and list until none is left, for up to about a second."""
        if self._section.on_cut is None:
            return CutResult(0, verified=False, detail="There is no on_cut.")
        matched = await self._ask_for_each(self._section.on_cut, "on_cut", await self._meant(ref, session))
        if matched is None:
            return CutResult(0, verified=True, detail=_GONE)
        for delay_s in _VERIFY_DELAYS_S:
            await self._clock.sleep(delay_s)
            if not await self._meant(ref, session):
                detail = "The program or webhook ended the stream." if matched else _GONE
                return CutResult(matched, verified=True, detail=detail)
        return CutResult(matched, verified=False, detail="on_cut was asked, but on_list still shows the stream.")

    async def hold(self, ref: StreamRef, session: str | None = None) -> HoldResult:
        """Ask ``on_hold`` for each publication that is meant, and list until each shows as held."""
        return await self._hold(self._section.on_hold, "on_hold", ref, session, held=True)

    async def release(self, ref: StreamRef, session: str | None = None) -> HoldResult:
        """Ask ``on_release`` in the same way."""
        return await self._hold(self._section.on_release, "on_release", ref, session, held=False)

    @property
    def takes_blocks(self) -> bool:
        """Whether there is an ``on_block``."""
        return self._section.on_block is not None

    async def block(self, ref: StreamRef, until: datetime) -> None:
        """Ask ``on_block`` to keep whoever publishes under this name out until then."""
        if (call := self._section.on_block) is not None:
            document = self._about(ref) | {"call": "block", "until": until.isoformat(timespec="seconds")}
            read_count(await self._call(call, "on_block").ask(document), "on_block")

    async def unblock(self, ref: StreamRef) -> None:
        """Ask ``on_unblock`` to let them in again."""
        if (call := self._section.on_unblock) is not None:
            read_count(await self._call(call, "on_unblock").ask(self._about(ref) | {"call": "unblock"}), "on_unblock")

    def parse_gate_request(self, request: RawGateRequest) -> GateRequest:
        """Read the media server's question; without a promise to wait for the answer it is only news."""
        return read_question(self.name, request, decides=self.capabilities.synchronous_block)

    def gate_reply(self, request: GateRequest | None, *, allow: bool) -> GateReply:  # noqa: ARG002 - the port's signature
        """Build 200 or 403, with the same as JSON."""
        return answer_question(allow=allow)

    async def _hold(
        self, call: CustomCall | None, key: str, ref: StreamRef, session: str | None, *, held: bool
    ) -> HoldResult:
        if call is None:
            raise cannot_hold()
        meant = [stream for stream in await self._meant(ref, session) if stream.held is not held]
        matched = await self._ask_for_each(call, key, meant)
        if matched is None:
            still_there = len(await self._meant(ref, session))
            return HoldResult(still_there, verified=True, detail="It was so already." if still_there else _GONE)
        for delay_s in _VERIFY_DELAYS_S:
            await self._clock.sleep(delay_s)
            if all(stream.held is held for stream in await self._meant(ref, session)):
                return HoldResult(matched, verified=True, detail=f"{key} was asked, and on_list shows it done.")
        return HoldResult(matched, verified=False, detail=f"{key} was asked, but on_list does not show it done.")

    async def _meant(self, ref: StreamRef, session: str | None) -> list[LiveStream]:
        streams = await self.list_streams()
        return [stream for stream in streams if stream.ref == ref and (not session or stream.session == session)]

    async def _ask_for_each(self, call: CustomCall, key: str, meant: list[LiveStream]) -> int | None:
        """Return how many were matched together; None if there was nobody to ask for."""
        if not meant:
            return None
        asked = self._call(call, key)
        word = key.removeprefix("on_")
        matched = 0
        for stream in meant:
            document = self._about(stream.ref) | {"call": word, "session": stream.session}
            if stream.publisher_address is not None:
                document |= {"address": stream.publisher_address}
            matched += read_count(await asked.ask(document), key)
        return matched

    def _about(self, ref: StreamRef) -> dict[str, object]:
        if any("\ud800" <= character <= "\udfff" for character in ref.app + ref.name):
            raise UnsafeCallRefused("the stream's name is no text")
        return {"server": ref.server, "app": ref.app, "name": ref.name}

    def _call(self, call: CustomCall, key: str) -> Call:
        return call_for(call, key, self._client, timeout_s=self._section.request_timeout, headers=self._headers)


def _authorization(section: CustomServer, environ: Mapping[str, str]) -> dict[str, str]:
    if section.webhook_token is None:
        return {}
    where = f"server {section.name}"
    try:
        token = resolve_secret(section.webhook_token, environ).get_secret_value()
    except ConfigError as failure:
        problems = [Problem(where, "webhook_token", problem.what, problem.mend) for problem in failure.problems]
        raise ConfigError(problems) from None
    if not (token.isascii() and token.isprintable()):
        what = "the token holds characters that no HTTP header carries"
        raise ConfigError([Problem(where, "webhook_token", what, "use letters, digits and punctuation")])
    return {"Authorization": f"Bearer {token}"}
