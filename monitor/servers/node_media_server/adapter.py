"""Node-Media-Server, version 4, through its API and its notifications."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Literal, Self

import msgspec

from monitor.clock import Clock, SystemClock
from monitor.config.secrets import resolve_secret
from monitor.config.section import Secret
from monitor.config.servers import NodeMediaServer
from monitor.errors import ConfigError, MediaServerRefused, Problem, UnsafeCallRefused
from monitor.servers.control import ControlClient
from monitor.servers.json_documents import read_answer
from monitor.servers.node_media_server.gate import notification_reply, parse_notification
from monitor.servers.node_media_server.listing import read_streams
from monitor.servers.node_media_server.login import Api
from monitor.servers.node_media_server.names import is_session, stream_address
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

# An entry of the listing takes about 450 bytes.
_MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
_VERIFY_DELAYS_S: Final = (0.0, 0.05, 0.1, 0.2, 0.4)
# Asked when a watcher opens the stream, not while it reads.
_SIGNED_FOR_S: Final = 24 * 3600

_NO_NOTIFICATIONS = (
    "notify.url is empty: Livecordon is not told who publishes, and blocked publishers are cut, not refused"
)
_MUST_SIGN = "auth.play is on: set play_secret, or nothing can be watched"


class _Notify(msgspec.Struct, frozen=True):
    url: str = ""


class _Auth(msgspec.Struct, frozen=True):
    play: bool = False


class _Settings(msgspec.Struct):
    notify: _Notify = _Notify()
    auth: _Auth = _Auth()


class _Configuration(msgspec.Struct):
    data: _Settings


class NodeMediaServerAdapter:
    """The adapter for one configured Node-Media-Server; see `MediaServer` for what the methods promise.

    Args:
        section: Its entry in the configuration.
        clock: Source of time.
        environ: Where secrets are looked up; the process's environment by default.

    Raises:
        ConfigError: a secret cannot be found.
    """

    def __init__(
        self, section: NodeMediaServer, *, clock: Clock | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._section = section
        self._clock: Clock = clock or SystemClock()
        found = os.environ if environ is None else environ
        self._play_secret = None if section.play_secret is None else _resolved(section, "play_secret", found)
        self._client = ControlClient(
            timeout_s=section.request_timeout, max_answer_bytes=_MAX_ANSWER_BYTES, second=section.second_control
        )
        self._api = Api(
            self._client,
            section.api_url,
            username=section.username,
            password=_resolved(section, "password", found),
            clock=self._clock,
        )

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self._section.name

    @property
    def kind(self) -> str:
        """``node_media_server``."""
        return self._section.kind

    @property
    def capabilities(self) -> Capabilities:
        """What Node-Media-Server does by itself."""
        return Capabilities(
            cut=True,
            synchronous_block=False,
            publisher_address=True,
            gate_down_refuses=False,
            residue_after_cut="whoever joins within 30 s is shown what came since the last keyframe",
        )

    async def __aenter__(self) -> Self:
        await self._client.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.close()

    async def probe(self) -> tuple[str, ...]:
        """Log in, list, and look at the settings that matter here."""
        await self.list_streams()
        settings = read_answer(await self._api.call("GET", "config"), _Configuration).data
        warnings = []
        if not settings.notify.url:
            warnings.append(_NO_NOTIFICATIONS)
        if settings.auth.play and self._play_secret is None:
            warnings.append(_MUST_SIGN)
        return tuple(warnings)

    async def list_streams(self) -> tuple[LiveStream, ...]:
        """Return the streams that are being published, without those whose publisher may yet come back."""
        return read_streams(await self._api.call("GET", "streams"), server=self.name)

    def pull_url(self, ref: StreamRef) -> str:
        """Return the RTMP address, signed where `play_secret` is set."""
        expires_at = int(self._clock.now().timestamp()) + _SIGNED_FOR_S
        return stream_address(
            self._section.rtmp_url, ref.app, ref.name, secret=self._play_secret, expires_at=expires_at
        )

    async def cut(self, ref: StreamRef, session: str | None = None) -> CutResult:
        """Close the publisher's session and list until it is gone, for up to about a second."""
        if session and not is_session(session):
            raise UnsafeCallRefused("the session is none of Node-Media-Server's")
        publisher = await self._publisher(ref, session)
        if publisher is None:
            return CutResult(0, verified=True, detail="The stream was gone already.")
        matched = await self._close(publisher)
        for delay_s in _VERIFY_DELAYS_S:
            await self._clock.sleep(delay_s)
            if await self._publisher(ref, session) is None:
                detail = "The publisher was hung up on." if matched else "The stream was gone already."
                return CutResult(matched, verified=True, detail=detail)
        detail = "Node-Media-Server hung up on the publisher, which has come back or goes on sending."
        return CutResult(matched, verified=False, detail=detail)

    async def hold(self, ref: StreamRef, session: str | None = None) -> HoldResult:  # noqa: ARG002 - the port's signature
        """Refuse; see `capabilities`."""
        raise cannot_hold()

    async def release(self, ref: StreamRef, session: str | None = None) -> HoldResult:  # noqa: ARG002 - the port's signature
        """Refuse; see `capabilities`."""
        raise cannot_hold()

    def parse_gate_request(self, request: RawGateRequest) -> GateRequest:
        """Read a notification."""
        return parse_notification(self.name, request)

    def gate_reply(self, request: GateRequest | None, *, allow: bool) -> GateReply:  # noqa: ARG002 - the port's signature
        """Build 200 or 403."""
        return notification_reply(allow=allow)

    async def _publisher(self, ref: StreamRef, session: str | None) -> str | None:
        """Return the session that publishes the stream now; only `session`, where given."""
        for stream in await self.list_streams():
            if stream.ref == ref and (not session or stream.session == session):
                if not stream.session:
                    raise UnsafeCallRefused("the stream is listed with a session that is none of Node-Media-Server's")
                return stream.session
        return None

    async def _close(self, session: str) -> int:
        answer = await self._api.call("DELETE", f"sessions/{session}")
        if answer.status not in {200, 404}:
            raise MediaServerRefused(f"the session was not closed: status {answer.status}", reason="bad_status")
        return 1 if answer.status == 200 else 0


def _resolved(section: NodeMediaServer, key: Literal["password", "play_secret"], environ: Mapping[str, str]) -> str:
    secret: Secret = getattr(section, key)
    try:
        return resolve_secret(secret, environ).get_secret_value()
    except ConfigError as failure:
        where = f"server {section.name}"
        raise ConfigError([Problem(where, key, problem.what, problem.mend) for problem in failure.problems]) from None
