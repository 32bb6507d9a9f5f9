"""Streams with known addresses: nothing lists them, and only the operator knows how to cut one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from yarl import URL

from monitor.clock import Clock, SystemClock
from monitor.config.secrets import expand_variables
from monitor.config.servers import StaticServer
from monitor.errors import ConfigError, GateRequestError, MediaServerRefused, Problem, UnsafeCallRefused
from monitor.servers.control import ControlClient
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
from monitor.servers.static.command import run_cut_command
from monitor.vocabulary import StreamRef

APP = "static"
"""Application under which every configured stream is listed."""

_LIVE_SCHEMES = frozenset({"rtmp", "rtmps", "rtsp", "rtsps", "http", "https"})
_MAX_ANSWER_BYTES = 64 * 1024
# Nothing tells whether an encoder came back after a cut. Listing its address again at once would look as if it had and
# be answered with one cut after the other, so the next look is left until a repeated cut has come to rest.
_RELIST_AFTER_CUT_S = 60.0


@dataclass(frozen=True, slots=True)
class _Source:
    """One configured stream: its address, whether it can end for good, and where it stands now."""

    address: str
    finite: bool
    run: int
    started_at: datetime
    ended: bool = False
    cut: bool = False
    back_at_s: float | None = None


class StaticMediaServer:
    """The adapter for streams with known addresses; see `MediaServer` for what the methods promise.

    A file is listed until `mark_ended`, and once more after `restart_delay` where `loop_files` is set. Any other address
    is taken to be live always: after its end it is listed again after `restart_delay`, after a cut a minute later.

    Args:
        section: Its entry in the configuration.
        clock: Source of time.
        environ: Where ``${VARIABLE}`` in addresses is looked up; the process's environment by default.

    Raises:
        ConfigError: an address names a variable that is not set, or has a scheme that is not watched.
    """

    def __init__(
        self, section: StaticServer, *, clock: Clock | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._section = section
        self._clock: Clock = clock or SystemClock()
        self._client = ControlClient(timeout_s=section.request_timeout, max_answer_bytes=_MAX_ANSWER_BYTES)
        self._sources: dict[str, _Source] = {}
        for stream in section.streams:
            address, finite = _address(
                section.name, stream.name, stream.url, os.environ if environ is None else environ
            )
            self._sources[stream.name] = _Source(address, finite, run=1, started_at=self._clock.now())

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self._section.name

    @property
    def kind(self) -> str:
        """``static``."""
        return self._section.kind

    @property
    def capabilities(self) -> Capabilities:
        """Cutting works where the operator gave a way to cut; there is no gate."""
        return Capabilities(
            cut=bool(self._section.cut_webhook or self._section.cut_command),
            synchronous_block=False,
            publisher_address=False,
            gate_down_refuses=False,
            residue_after_cut="unknown: the cut is the operator's own webhook or command",
        )

    async def __aenter__(self) -> Self:
        await self._client.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.close()

    async def probe(self) -> tuple[str, ...]:
        """Look whether the files exist; addresses are tried by the watchers."""
        warnings = []
        missing = await asyncio.to_thread(self._missing_files)
        if missing:
            warnings.append(f"{missing} of the configured files cannot be found")
        if not self.capabilities.cut:
            warnings.append("streams are watched but cannot be cut: set cut_webhook or cut_command")
        return tuple(warnings)

    async def list_streams(self) -> tuple[LiveStream, ...]:
        """Return every configured stream that has neither ended nor been cut."""
        for name, source in self._sources.items():
            if source.back_at_s is not None and self._clock.monotonic_s() >= source.back_at_s:
                self._sources[name] = _Source(
                    source.address, source.finite, run=source.run + 1, started_at=self._clock.now()
                )
        return tuple(
            LiveStream(StreamRef(self.name, APP, name), session=str(source.run), started_at=source.started_at)
            for name, source in self._sources.items()
            if not (source.ended or source.cut)
        )

    def mark_ended(self, ref: StreamRef) -> None:
        """Note that the watcher has read the stream to its end."""
        source = self._source(ref)
        if source is None or source.ended or source.cut:
            return
        comes_back = self._section.loop_files or not source.finite
        back_at_s = self._clock.monotonic_s() + self._section.restart_delay if comes_back else None
        self._sources[ref.name] = replace(source, ended=True, back_at_s=back_at_s)

    def pull_url(self, ref: StreamRef) -> str:
        """Return the configured address with its variables filled in; files as absolute paths."""
        source = self._source(ref)
        if source is None:
            raise UnsafeCallRefused("this stream is not among the configured ones")
        return source.address

    async def cut(self, ref: StreamRef, session: str | None = None) -> CutResult:
        """Call the webhook or run the command; verified means that it said yes and the stream is listed no more."""
        if not self.capabilities.cut:
            return CutResult(0, verified=False, detail="No cut_webhook or cut_command is configured.")
        source = self._source(ref)
        if source is None or source.ended or source.cut or (session and session != str(source.run)):
            return CutResult(0, verified=True, detail="The stream was gone already.")
        if self._section.cut_webhook is not None:
            await self._call_webhook(self._section.cut_webhook, ref, str(source.run))
        else:
            await run_cut_command(self._section.cut_command, name=ref.name, timeout_s=self._section.request_timeout)
        comes_back = self._section.loop_files or not source.finite
        back_at_s = self._clock.monotonic_s() + _RELIST_AFTER_CUT_S if comes_back else None
        self._sources[ref.name] = replace(source, cut=True, back_at_s=back_at_s)
        return CutResult(1, verified=True, detail="The configured webhook or command reported success.")

    async def hold(self, ref: StreamRef, session: str | None = None) -> HoldResult:  # noqa: ARG002 - the port's signature
        """Refuse; see `capabilities`."""
        raise cannot_hold()

    async def release(self, ref: StreamRef, session: str | None = None) -> HoldResult:  # noqa: ARG002 - the port's signature
        """Refuse; see `capabilities`."""
        raise cannot_hold()

    def parse_gate_request(self, request: RawGateRequest) -> GateRequest:  # noqa: ARG002 - the port's signature
        """Refuse: nobody asks before publishing to a plain address."""
        raise GateRequestError("a static server has no publish gate")

    def gate_reply(self, request: GateRequest | None, *, allow: bool) -> GateReply:  # noqa: ARG002 - the port's signature
        """Build 204 or 403."""
        return GateReply(204) if allow else GateReply(403)

    def _missing_files(self) -> int:
        return sum(source.finite and not Path(source.address).exists() for source in self._sources.values())

    def _source(self, ref: StreamRef) -> _Source | None:
        return self._sources.get(ref.name) if (ref.server, ref.app) == (self.name, APP) else None

    async def _call_webhook(self, webhook: str, ref: StreamRef, session: str) -> None:
        document = {"server": ref.server, "app": ref.app, "name": ref.name, "session": session}
        answer = await self._client.post_json(URL(webhook), document)
        if not 200 <= answer.status < 300:
            raise MediaServerRefused(f"the cut webhook answered with status {answer.status}", reason="bad_status")


def _address(server: str, name: str, url: str, environ: Mapping[str, str]) -> tuple[str, bool]:
    """Return the address to watch and whether it is a file."""
    expanded = expand_variables(url, environ)
    scheme, separator, rest = expanded.partition("://")
    if not separator:
        return str(Path(expanded).expanduser().absolute()), True
    if scheme.lower() == "file":
        return str(Path("/" + rest.removeprefix("localhost").lstrip("/"))), True
    if scheme.lower() not in _LIVE_SCHEMES or not urlsplit(expanded).hostname:
        what = "this kind of address cannot be watched"
        mend = f"use {', '.join(sorted(_LIVE_SCHEMES))} or a path"
        raise ConfigError([Problem(f"server {server}", f"stream {name}", what, mend)])
    return expanded, False
