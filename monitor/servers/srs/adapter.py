"""SRS (Simple Realtime Server), through its HTTP API and its ``on_publish`` hook."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self

from yarl import URL

from monitor.clock import Clock, SystemClock
from monitor.config.secrets import resolve_secret
from monitor.config.servers import SrsServer
from monitor.errors import ConfigError, MediaServerError, MediaServerRefused, Problem, UnsafeCallRefused
from monitor.servers.control import Answer, ControlClient
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
from monitor.servers.srs.gate import hook_reply, parse_hook
from monitor.servers.srs.listing import (
    Publisher,
    Streams,
    check_version,
    read_kick,
    read_publisher,
    read_streams,
    read_vhosts,
)
from monitor.servers.srs.names import flv_address, is_client_id, rtmp_address
from monitor.vocabulary import StreamRef

# An entry of the listing takes about 600 bytes.
_MAX_ANSWER_BYTES = 32 * 1024 * 1024
# Above this size reading takes some milliseconds: long enough to leave the event loop for.
_READ_IN_THREAD_BYTES = 256 * 1024
# Without a count SRS lists ten streams and does not say that there are more.
_FIRST_COUNT = 1000
_MOST_COUNTED = 64_000
_VERIFY_DELAYS_S = (0.0, 0.05, 0.1, 0.2, 0.4)
_NOBODY = "livecordon-probe"

_NO_CONTROL = "SRS does not let clients be thrown out: streams are watched but cannot be cut"
_GONE = "The stream was gone already."


class SrsMediaServer:
    """The adapter for one configured SRS; see `MediaServer` for what the methods promise.

    Args:
        section: Its entry in the configuration.
        clock: Source of time.
        environ: Where secrets are looked up; the process's environment by default.

    Raises:
        ConfigError: the password cannot be found, or cannot work.
    """

    def __init__(
        self, section: SrsServer, *, clock: Clock | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._section = section
        self._clock: Clock = clock or SystemClock()
        self._api_url = f"{section.api_url.rstrip('/')}/api/v1"
        self._headers = _authorization(section, os.environ if environ is None else environ)
        self._client = ControlClient(
            timeout_s=section.request_timeout, max_answer_bytes=_MAX_ANSWER_BYTES, second=section.second_control
        )
        self._count = _FIRST_COUNT
        self._vhosts: dict[str, str] = {}
        self._publishers: dict[str, Publisher] = {}

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self._section.name

    @property
    def kind(self) -> str:
        """``srs``."""
        return self._section.kind

    @property
    def capabilities(self) -> Capabilities:
        """What SRS does by itself."""
        return Capabilities(
            cut=True,
            synchronous_block=True,
            publisher_address=True,
            gate_down_refuses=True,
            residue_after_cut="where SRS writes HLS, playlist and segments stay readable for hls_dispose, two minutes "
            "unless configured otherwise",
        )

    async def __aenter__(self) -> Self:
        await self._client.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.close()

    async def probe(self) -> tuple[str, ...]:
        """Ask for the version, list, and throw out a client that cannot be there."""
        check_version(await self._get("versions"))
        await self.list_streams()
        try:
            await self._kick(_NOBODY)
        except MediaServerRefused:
            return (_NO_CONTROL,)
        return ()

    async def list_streams(self) -> tuple[LiveStream, ...]:
        """Return every publication; what is asked about its publisher, once each, may be missing at first."""
        streams = await self._publications()
        await self._look_up({stream.session for stream in streams})
        return tuple(
            stream
            if (publisher := self._publishers.get(stream.session)) is None
            else replace(stream, publisher_address=publisher.address, started_at=publisher.connected_at)
            for stream in streams
        )

    def pull_url(self, ref: StreamRef) -> str:
        """Return the HTTP-FLV address where one is configured, else the RTMP address; neither carries every name."""
        if self._section.flv_url is not None:
            address = flv_address(self._section.flv_url, ref.app, ref.name)
            if address is not None:
                return address
        return rtmp_address(self._section.rtmp_url, ref.app, ref.name)

    async def cut(self, ref: StreamRef, session: str | None = None) -> CutResult:
        """Look for the publisher's client, throw it out, and list until it is gone, for up to about a second."""
        found = await self._meant(ref, session or None)
        if not found:
            return CutResult(0, verified=True, detail=_GONE)
        if len(found) > 1:
            # Names that are no UTF-8 can look alike in the listing, and one of them may be innocent.
            raise UnsafeCallRefused("several publications are listed under this name: cut them by session")
        client = found[0].session
        if not is_client_id(client):
            raise UnsafeCallRefused("SRS does not say which client publishes this stream")
        matched = int(await self._kick(client))
        for delay_s in _VERIFY_DELAYS_S:
            await self._clock.sleep(delay_s)
            if not await self._meant(ref, session or None):
                return CutResult(matched, verified=True, detail="The publisher was thrown out." if matched else _GONE)
        detail = "SRS threw the publisher out" if matched else "SRS found nobody to throw out"
        return CutResult(matched, verified=False, detail=f"{detail}, but the stream is still listed.")

    async def hold(self, ref: StreamRef, session: str | None = None) -> HoldResult:  # noqa: ARG002 - the port's signature
        """Refuse; see `capabilities`."""
        raise cannot_hold()

    async def release(self, ref: StreamRef, session: str | None = None) -> HoldResult:  # noqa: ARG002 - the port's signature
        """Refuse; see `capabilities`."""
        raise cannot_hold()

    def parse_gate_request(self, request: RawGateRequest) -> GateRequest:
        """Read a hook's JSON."""
        return parse_hook(self.name, request)

    def gate_reply(self, request: GateRequest | None, *, allow: bool) -> GateReply:  # noqa: ARG002 - the port's signature
        """Build code 0, or another one."""
        return hook_reply(allow=allow)

    async def _meant(self, ref: StreamRef, session: str | None) -> list[LiveStream]:
        return [
            stream
            for stream in await self._publications()
            if stream.ref == ref and (session is None or stream.session in {session, ""})
        ]

    async def _publications(self) -> tuple[LiveStream, ...]:
        """List everything in one answer: pages would slip while streams come and go between them."""
        while True:
            answer = await self._get(f"streams/?start=0&count={self._count}")
            streams = await self._read(answer)
            if streams.unknown_vhosts:
                self._vhosts = read_vhosts(await self._get("vhosts/"))
                streams = await self._read(answer)
                if streams.unknown_vhosts:
                    raise MediaServerRefused("SRS lists a stream on a virtual host that it does not list")
            if streams.entries < self._count:
                return streams.live
            if self._count >= _MOST_COUNTED:
                raise MediaServerRefused("SRS lists more streams than can be read", reason="answer_too_large")
            self._count *= 4

    async def _read(self, answer: Answer) -> Streams:
        if len(answer.body) < _READ_IN_THREAD_BYTES:
            return read_streams(answer, server=self.name, vhosts=self._vhosts)
        return await asyncio.to_thread(read_streams, answer, server=self.name, vhosts=self._vhosts)

    async def _look_up(self, clients: set[str]) -> None:
        """Ask who the new clients are. A listing without addresses is better than none, so that failing is no error."""
        self._publishers = {client: known for client, known in self._publishers.items() if client in clients}
        new = [client for client in clients if client not in self._publishers and is_client_id(client)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._section.request_timeout):
                await asyncio.gather(*(self._look_up_one(client) for client in new))

    async def _look_up_one(self, client: str) -> None:
        try:
            publisher = read_publisher(await self._get(f"clients/{client}"), now=self._clock.now())
        except MediaServerError:
            return
        if publisher is not None:
            self._publishers[client] = publisher

    async def _kick(self, client: str) -> bool:
        return read_kick(
            await self._client.request("DELETE", self._address(f"clients/{client}"), headers=self._headers)
        )

    async def _get(self, path: str) -> Answer:
        return await self._client.get(self._address(path), headers=self._headers)

    def _address(self, path: str) -> URL:
        return URL(f"{self._api_url}/{path}", encoded=True)


def _authorization(section: SrsServer, environ: Mapping[str, str]) -> dict[str, str]:
    if section.username is None or section.password is None:
        return {}
    try:
        password = resolve_secret(section.password, environ).get_secret_value()
    except ConfigError as failure:
        raise ConfigError(
            [Problem(f"server {section.name}", "password", each.what, each.mend) for each in failure.problems]
        ) from None
    if ":" in password:
        what = "SRS splits user and password at every colon, so that one with a colon never fits"
        raise ConfigError([Problem(f"server {section.name}", "password", what, "choose another in srs.conf")])
    login = base64.b64encode(f"{section.username}:{password}".encode()).decode("ascii")
    return {"Authorization": f"Basic {login}"}
