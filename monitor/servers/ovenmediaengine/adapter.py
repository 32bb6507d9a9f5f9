"""OvenMediaEngine, through its REST API and its AdmissionWebhooks."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import SecretStr
from yarl import URL

from monitor.clock import Clock, SystemClock
from monitor.config.secrets import resolve_secret
from monitor.config.section import Secret
from monitor.config.servers import OvenMediaEngineServer
from monitor.errors import ConfigError, MediaServerRefused, Problem, UnsafeCallRefused
from monitor.servers.control import Answer, ControlClient
from monitor.servers.ovenmediaengine.gate import parse_webhook, webhook_reply
from monitor.servers.ovenmediaengine.listing import is_missing, read_done, read_names, read_stream
from monitor.servers.ovenmediaengine.names import DEFAULT_VHOST, hls_address, segment
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
from monitor.servers.virtual_hosts import qualified, split
from monitor.vocabulary import StreamRef

_T = TypeVar("_T")

_MAX_ANSWER_BYTES = 4 * 1024 * 1024
_VERIFY_DELAYS_S = (0.0, 0.05, 0.1, 0.2, 0.4)
_NOBODY = "livecordon-probe"

_NO_CONTROL = "OvenMediaEngine does not let streams be ended: they are watched but cannot be cut"
_NO_ADMISSION = "webhook_secret is not set: AdmissionWebhooks are all refused, and nobody can publish through them"
_UNWATCHED_VHOSTS = "there are virtual hosts without an address in hls_urls: their streams are listed but not watched"
_GONE = "The stream was gone already."


class OvenMediaEngineMediaServer:
    """The adapter for one configured OvenMediaEngine; see `MediaServer` for what the methods promise.

    Args:
        section: Its entry in the configuration.
        clock: Source of time.
        environ: Where secrets are looked up; the process's environment by default.
    """

    def __init__(
        self, section: OvenMediaEngineServer, *, clock: Clock | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._section = section
        self._clock: Clock = clock or SystemClock()
        self._environ = os.environ if environ is None else environ
        self._headers: dict[str, str] = {}
        self._webhook_secret: SecretStr | None = None
        self._client = ControlClient(
            timeout_s=section.request_timeout, max_answer_bytes=_MAX_ANSWER_BYTES, second=section.second_control
        )

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self._section.name

    @property
    def kind(self) -> str:
        """``ovenmediaengine``."""
        return self._section.kind

    @property
    def capabilities(self) -> Capabilities:
        """What OvenMediaEngine does by itself; it asks the gate only with AdmissionWebhooks, which need a secret."""
        return Capabilities(
            cut=True,
            synchronous_block=self._section.webhook_secret is not None,
            publisher_address=True,
            gate_down_refuses=self._section.webhook_secret is not None,
            residue_after_cut="players go on with what they have loaded; how long playlists stay readable was not tried",
        )

    async def __aenter__(self) -> Self:
        """Find the secrets, and open the client.

        Raises:
            ConfigError: a secret cannot be found.
        """
        section = self._section
        token = self._secret("access_token", section.access_token).get_secret_value()
        # The token as a whole: it is no user and password, and need not have a colon.
        self._headers = {"Authorization": f"Basic {base64.b64encode(token.encode()).decode('ascii')}"}
        if section.webhook_secret is not None:
            self._webhook_secret = self._secret("webhook_secret", section.webhook_secret)
        await self._client.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.close()

    async def probe(self) -> tuple[str, ...]:
        """List everything, and end a stream that cannot be there."""
        vhosts = await self._names("vhosts")
        await self.list_streams()
        warnings = []
        if any(vhost not in self._section.hls_urls for vhost in vhosts):
            warnings.append(_UNWATCHED_VHOSTS)
        if self._section.webhook_secret is None:
            warnings.append(_NO_ADMISSION)
        for vhost in vhosts[:1]:
            apps = await self._names(f"vhosts/{segment(vhost)}/apps")
            if apps and not await self._can_end(vhost, apps[0]):
                warnings.append(_NO_CONTROL)
        return tuple(warnings)

    async def list_streams(self) -> tuple[LiveStream, ...]:
        """Return every stream on every application: three levels of lists, and one call for each stream."""
        vhosts = await self._names("vhosts")
        apps = await _all(self._apps(vhost) for vhost in vhosts)
        refs = await _all(self._streams(vhost, app) for vhost, app in apps)
        streams = await _all(self._detailed(ref) for ref in refs)
        return tuple(streams)

    def pull_url(self, ref: StreamRef) -> str:
        """Return the address of the stream's HLS playlist; there is none for virtual hosts without an address."""
        vhost, app = split(ref.app, default=DEFAULT_VHOST)
        base = self._section.hls_urls.get(vhost)
        if base is None:
            raise UnsafeCallRefused("hls_urls names no address for this stream's virtual host")
        return hls_address(base, self._section.hls_path, app, ref.name)

    async def cut(self, ref: StreamRef, session: str | None = None) -> CutResult:
        """Have the stream ended, and ask until it is gone, for up to about a second.

        The command goes by name, so that a publisher who replaces the meant one in the moment between looking and
        ending is ended in its place.
        """
        address = _address_of(ref)
        session = session or None
        if not await self._is_live(ref, session):
            return CutResult(0, verified=True, detail=_GONE)
        answer = await self._client.request("DELETE", self._url(address), headers=self._headers)
        matched = int(read_done(answer))
        for delay_s in _VERIFY_DELAYS_S:
            await self._clock.sleep(delay_s)
            if not await self._is_live(ref, session):
                return CutResult(matched, verified=True, detail="The stream was ended." if matched else _GONE)
        detail = "OvenMediaEngine ended the stream" if matched else "OvenMediaEngine found nothing to end"
        return CutResult(matched, verified=False, detail=f"{detail}, but it is still listed.")

    async def hold(self, ref: StreamRef, session: str | None = None) -> HoldResult:  # noqa: ARG002 - the port's signature
        """Refuse; see `capabilities`."""
        raise cannot_hold()

    async def release(self, ref: StreamRef, session: str | None = None) -> HoldResult:  # noqa: ARG002 - the port's signature
        """Refuse; see `capabilities`."""
        raise cannot_hold()

    def parse_gate_request(self, request: RawGateRequest) -> GateRequest:
        """Check a webhook's signature, and read it."""
        return parse_webhook(self.name, request, secret=self._webhook_secret)

    def gate_reply(self, request: GateRequest | None, *, allow: bool) -> GateReply:
        """Build a yes, a no, or the empty answer to what is only told."""
        return webhook_reply(request, allow=allow)

    async def _apps(self, vhost: str) -> list[tuple[str, str]]:
        return [(vhost, app) for app in await self._names(f"vhosts/{segment(vhost)}/apps")]

    async def _streams(self, vhost: str, app: str) -> list[StreamRef]:
        name = qualified(vhost, app, default=DEFAULT_VHOST)
        return [StreamRef(self.name, name, stream) for stream in await self._names(_list_address(vhost, app))]

    async def _detailed(self, ref: StreamRef) -> list[LiveStream]:
        try:
            address = _address_of(ref)
        except UnsafeCallRefused:
            # It cannot be asked about, and is no less live for that.
            return [LiveStream(ref, session="")]
        stream = read_stream(await self._get(address), ref)
        return [] if stream is None else [stream]

    async def _is_live(self, ref: StreamRef, session: str | None) -> bool:
        vhost, app = split(ref.app, default=DEFAULT_VHOST)
        answer = await self._get(_list_address(vhost, app))
        if is_missing(answer) or ref.name not in read_names(answer):
            return False
        return any(session is None or stream.session in {session, ""} for stream in await self._detailed(ref))

    async def _can_end(self, vhost: str, app: str) -> bool:
        try:
            ref = StreamRef(self.name, qualified(vhost, app, default=DEFAULT_VHOST), _NOBODY)
            read_done(await self._client.request("DELETE", self._url(_address_of(ref)), headers=self._headers))
        except MediaServerRefused:
            return False
        return True

    async def _names(self, path: str) -> tuple[str, ...]:
        return read_names(await self._get(path))

    async def _get(self, path: str) -> Answer:
        return await self._client.get(self._url(path), headers=self._headers)

    def _secret(self, key: str, secret: Secret) -> SecretStr:
        try:
            return resolve_secret(secret, self._environ)
        except ConfigError as failure:
            place = f"server {self.name}"
            raise ConfigError([Problem(place, key, each.what, each.mend) for each in failure.problems]) from None

    def _url(self, path: str) -> URL:
        return URL(f"{self._section.api_url.rstrip('/')}/v1/{path}", encoded=True)


async def _all(calls: Iterable[Coroutine[Any, Any, list[_T]]]) -> list[_T]:
    """Make calls at once and return what all of them found; the first that fails ends the others."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        found = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [each for several in found for each in several]


def _list_address(vhost: str, app: str) -> str:
    return f"vhosts/{segment(vhost)}/apps/{segment(app)}/streams"


def _address_of(ref: StreamRef) -> str:
    vhost, app = split(ref.app, default=DEFAULT_VHOST)
    return f"{_list_address(vhost, app)}/{segment(ref.name)}"
