"""MediaMTX, through its Control API (``/v3``) and its HTTP authentication."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import structlog
from pydantic import SecretStr

from monitor.clock import Clock, SystemClock
from monitor.config.secrets import resolve_secret
from monitor.config.servers import MediaMtxServer
from monitor.errors import MediaServerError, MediaServerRefused
from monitor.servers.mediamtx.api import KICKED_AT, ControlApi
from monitor.servers.mediamtx.gate import OWN_ACTIONS, REFUSED, Account, DoorRules, parse_question
from monitor.servers.mediamtx.paths import address_without_port, is_uuid, path_of, read_address, ref_of
from monitor.servers.mediamtx.wire import PathItem, Settings
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

_log = structlog.get_logger()

_OPEN_GATE = GateReply(200)
# The publish gate has 2 s for everything, and lets in whom it has not decided on by then.
_LONGEST_QUESTION_S = 1.5
# MediaMTX has answered a kick before the path has lost its publisher.
_VERIFY_DELAYS_S = (0.0, 0.05, 0.1, 0.2, 0.4)
# A publisher who is replaced between look and kick leaves a successor behind.
_KICK_ATTEMPTS = 3
_ELSEWHERE = "redirect"
"""A path that only sends its readers to another server: nothing of it is here."""
_GONE = "The stream was gone already."

_NOT_ASKED = (
    "MediaMTX does not ask Livecordon before somebody publishes (authMethod is not http): whoever is blocked comes in "
    "again and is cut again"
)
_ASKS_ELSEWHERE = "authHTTPAddress does not lead to this server's publish gate (/gate/ and its name)"
_API_IS_OPEN = (
    "authHTTPExclude leaves the API open to whoever reaches its port, and apiAddress is not only this machine"
)
_SETTINGS_UNREAD = "MediaMTX does not show its settings: whether it asks Livecordon's gate could not be checked"


class MediaMtxMediaServer:
    """The adapter for one configured MediaMTX; see `MediaServer` for what the methods promise.

    Args:
        section: Its entry in the configuration.
        clock: Source of time.
        environ: Where secrets are looked up; the process's environment by default.

    Raises:
        ConfigError: a secret cannot be found.
    """

    def __init__(
        self, section: MediaMtxServer, *, clock: Clock | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        known = os.environ if environ is None else environ
        self._section = section
        self._clock: Clock = clock or SystemClock()
        # Where MediaMTX asks our own gate, a password made up for this run is as good as a configured one.
        made_up = SecretStr(secrets.token_urlsafe(24))
        password = made_up if section.password is None else resolve_secret(section.password, known)
        self._own = Account(section.username, password, OWN_ACTIONS)
        self._rules = DoorRules(
            self._own,
            [
                Account(account.username, resolve_secret(account.password, known), frozenset(account.actions))
                for account in section.accounts
            ],
            operator_url=section.auth_url,
            timeout_s=min(section.request_timeout, _LONGEST_QUESTION_S),
        )
        self._api = ControlApi(
            section.api_url,
            user=section.username,
            password=password.get_secret_value(),
            timeout_s=section.request_timeout,
            second_url=section.second_control,
        )
        self._addresses: dict[str, str | None] = {}

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self._section.name

    @property
    def kind(self) -> str:
        """``mediamtx``."""
        return self._section.kind

    @property
    def capabilities(self) -> Capabilities:
        """What MediaMTX does where its authentication is Livecordon's gate."""
        return Capabilities(
            cut=True,
            synchronous_block=True,
            publisher_address=True,
            gate_down_refuses=True,
            residue_after_cut="where MediaMTX serves HLS, players may show the seconds that they have fetched already; "
            "recordings stay",
        )

    async def __aenter__(self) -> Self:
        await self._api.open()
        await self._rules.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._rules.close()
        await self._api.close()

    async def probe(self) -> tuple[str, ...]:
        """List once, and look whether MediaMTX asks the publish gate."""
        await self.list_streams()
        try:
            settings = await self._api.settings()
        except MediaServerError:
            return (_SETTINGS_UNREAD,)
        return tuple(self._doubts(settings))

    async def list_streams(self) -> tuple[LiveStream, ...]:
        """Return every path that has a source of its own now; an offline clip in its place is none."""
        items = [item for item in await self._api.paths() if _is_live(item)]
        await self._learn_addresses(items)
        return tuple(self._stream(item) for item in items)

    def pull_url(self, ref: StreamRef) -> str:
        """Return the address below `pull_url`, with Livecordon's own user where reading may need one."""
        needs_login = self._section.password is not None or self._rules.shuts
        return read_address(
            self._section.pull_url,
            path_of(ref),
            user=self._own.user if needs_login else "",
            password=self._own.password.get_secret_value(),
        )

    async def cut(self, ref: StreamRef, session: str | None = None) -> CutResult:
        """Kick the connection that publishes, and look until it is gone, for up to about a second.

        Raises:
            MediaServerRefused: besides the rest, with reason ``cannot_cut``, for what MediaMTX fetches by itself.
        """
        session = session or None
        path = path_of(ref)
        matched = 0
        for _ in range(_KICK_ATTEMPTS):
            item = await self._find(path, session)
            if item is None:
                break
            if await self._kick(item):
                matched = 1
                break
        for delay_s in _VERIFY_DELAYS_S:
            await self._clock.sleep(delay_s)
            if await self._find(path, session) is None:
                return CutResult(matched, verified=True, detail="The publisher was kicked." if matched else _GONE)
        done = "MediaMTX kicked a publisher" if matched else "MediaMTX found nobody to kick"
        return CutResult(matched, verified=False, detail=f"{done}, but the stream is still listed.")

    async def hold(self, ref: StreamRef, session: str | None = None) -> HoldResult:  # noqa: ARG002 - the port's signature
        """Refuse; see `capabilities`."""
        raise cannot_hold()

    async def release(self, ref: StreamRef, session: str | None = None) -> HoldResult:  # noqa: ARG002 - the port's signature
        """Refuse; see `capabilities`."""
        raise cannot_hold()

    def parse_gate_request(self, request: RawGateRequest) -> GateRequest:
        """Read the authentication question, whatever it is about; only ``publish`` is blocked."""
        return parse_question(self.name, request)

    async def refusal(self, request: RawGateRequest, asked: GateRequest) -> GateReply | None:  # noqa: ARG002 - the port's signature
        """Ask the users of the configuration, or the operator's own authentication."""
        return await self._rules.refusal(request)

    def gate_reply(self, request: GateRequest | None, *, allow: bool) -> GateReply:
        """Build 200 or 403. What could not be read is refused where anybody needs more than not to be blocked."""
        return _OPEN_GATE if allow and (request is not None or not self._rules.shuts) else REFUSED

    def _doubts(self, settings: Settings) -> Iterable[str]:
        if settings.auth_method != "http":
            yield _NOT_ASKED
            return
        if not settings.auth_http_address.partition("?")[0].rstrip("/").endswith(f"/gate/{self.name}"):
            yield _ASKS_ELSEWHERE
        host = settings.api_address.rpartition(":")[0].removeprefix("[").removesuffix("]")
        leaves_open = any(permission.action == "api" for permission in settings.auth_http_exclude or ())
        if leaves_open and host not in {"127.0.0.1", "localhost", "::1"}:
            yield _API_IS_OPEN

    async def _find(self, path: str, session: str | None) -> PathItem | None:
        """Return the live path if it is the publication that is meant."""
        item = await self._api.path(path)
        if item is None or not _is_live(item) or item.name != path:
            return None
        return item if session is None or _session(item) == session else None

    async def _kick(self, item: PathItem) -> bool:
        source = item.source
        kind = None if source is None else KICKED_AT.get(source.type)
        if source is None or source.id is None or kind is None or not is_uuid(source.id):
            raise MediaServerRefused(
                "MediaMTX fetches this stream by itself, and nothing ends that but its own configuration",
                reason="cannot_cut",
                retryable=False,
            )
        return await self._api.kick(kind, source.id)

    async def _learn_addresses(self, items: list[PathItem]) -> None:
        """Look up whom we have not seen: a connection's address never changes."""
        published = {item.source.id: item.source.type for item in items if item.source and item.source.id}
        self._addresses = {key: address for key, address in self._addresses.items() if key in published}
        unknown = published.keys() - self._addresses.keys()
        kinds = {KICKED_AT[published[key]] for key in unknown if published[key] in KICKED_AT}
        for kind, answer in zip(
            kinds, await asyncio.gather(*map(self._api.connections, kinds), return_exceptions=True), strict=True
        ):
            if isinstance(answer, MediaServerError):
                # Streams without an address are watched and cut as well; only blocks by address miss them.
                _log.warning("publishers_addresses_unknown", server=self.name, connections=kind, reason=answer.reason)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found = {each.id: address_without_port(each.remote_addr) for each in answer}
                self._addresses |= {key: found[key] for key in unknown & found.keys()}

    def _stream(self, item: PathItem) -> LiveStream:
        source = item.source
        return LiveStream(
            ref_of(self.name, item.name),
            session=_session(item),
            publisher_address=None if source is None or source.id is None else self._addresses.get(source.id),
            started_at=_started_at(item),
            viewers=len(item.readers or ()),
            video=_video_words(item),
        )


def _is_live(item: PathItem) -> bool:
    if item.source is None or item.source.type == _ELSEWHERE:
        return False
    # In this order: `available` and `ready` are true as well while an offline clip stands in.
    if item.online is not None:
        return item.online
    return bool(item.available if item.available is not None else item.ready)


def _session(item: PathItem) -> str:
    """Return the publisher's UUID; what MediaMTX fetches by itself has none, so its start stands for it."""
    if item.source is not None and item.source.id:
        return item.source.id
    started_at = _started_at(item)
    return "" if started_at is None else started_at.isoformat()


def _started_at(item: PathItem) -> datetime | None:
    started_at = item.online_time or item.available_time or item.ready_time
    return None if started_at is None or started_at.tzinfo is None else started_at.astimezone(UTC)


def _video_words(item: PathItem) -> str:
    for track in item.tracks2 or ():
        props = track.codec_props
        if props is not None and props.width and props.height:
            return f"{track.codec} {props.width}x{props.height}"
    return ""
