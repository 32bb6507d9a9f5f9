"""nginx with libnginx-mod-rtmp, through its ``rtmp_stat`` and ``rtmp_control`` locations and ``on_publish`` hook."""

from __future__ import annotations

import asyncio
import re
from types import TracebackType
from typing import Self

import structlog
from yarl import URL

from monitor.clock import Clock, SystemClock
from monitor.config.models import NginxRtmpServer
from monitor.errors import MediaServerError, MediaServerRefused, UnsafeCallRefused
from monitor.servers.control import ControlClient
from monitor.servers.nginx_rtmp.gate import parse_publish_hook, publish_hook_reply
from monitor.servers.nginx_rtmp.names import is_safe, is_session, stream_address
from monitor.servers.nginx_rtmp.stat import Stat, parse_stat
from monitor.servers.nginx_rtmp.workers import WorkerWatch
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

# One connection is about 400 bytes in the listing: room for some 80,000 viewers.
_MAX_STAT_BYTES = 32 * 1024 * 1024
# Above this size parsing takes long enough (4 ms at the measured 0.24 ms per KiB) to leave the event loop for.
_PARSE_IN_THREAD_BYTES = 16 * 1024
_PROBE_LISTINGS = 8
_THOROUGH_LISTINGS = 6
# nginx ends a session a moment after it has answered the command.
_VERIFY_DELAYS_S = (0.0, 0.05, 0.1, 0.2, 0.4)
# With several workers each new connection is another throw of the dice.
_DROP_ATTEMPTS = 6
_DROPPED = re.compile(rb"\s*[0-9]{1,6}\s*")
_NOBODY = "livecordon-probe"

_SEVERAL_WORKERS = (
    "nginx runs several worker processes: streams are listed by turns and cuts may miss; set worker_processes 1"
)
_NO_CLIENTS = "the listing shows no connections: use rtmp_stat all, or streams cannot be told from their successors"
_NO_CONTROL = "control_url does not answer as an rtmp_control all location does: streams are watched but cannot be cut"


class NginxRtmpMediaServer:
    """The adapter for one configured nginx; see `MediaServer` for what the methods promise.

    Args:
        section: Its entry in the configuration.
        clock: Source of time.
    """

    def __init__(self, section: NginxRtmpServer, *, clock: Clock | None = None) -> None:
        self._section = section
        self._clock: Clock = clock or SystemClock()
        self._stat_url = URL(section.stat_url)
        self._client = ControlClient(timeout_s=section.request_timeout, max_answer_bytes=_MAX_STAT_BYTES)
        self._workers = WorkerWatch(self._clock)
        self._told_of_several_workers = False

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self._section.name

    @property
    def kind(self) -> str:
        """``nginx_rtmp``."""
        return self._section.kind

    @property
    def capabilities(self) -> Capabilities:
        """What nginx-rtmp does by itself; the documented fail-open hook turns `gate_down_refuses` around."""
        return Capabilities(
            cut=True,
            synchronous_block=True,
            publisher_address=True,
            gate_down_refuses=True,
            residue_after_cut="where nginx writes HLS or DASH, playlist and segments stay readable for a minute or more",
        )

    async def __aenter__(self) -> Self:
        await self._client.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.close()

    async def probe(self) -> tuple[str, ...]:
        """Fetch the listing several times, and send a drop that cannot match anybody."""
        stats = await self._listings(_PROBE_LISTINGS)
        warnings = []
        if self._workers.several:
            warnings.append(_SEVERAL_WORKERS)
        if not all(stat.shows_clients for stat in stats):
            warnings.append(_NO_CLIENTS)
        try:
            await self._drop(f"app={_NOBODY}&name={_NOBODY}&clientid=0")
        except MediaServerError:
            warnings.append(_NO_CONTROL)
        return tuple(warnings)

    async def list_streams(self) -> tuple[LiveStream, ...]:
        """Return the publications that the worker which answers knows."""
        stat = await self._fetch()
        if self._workers.several and not self._told_of_several_workers:
            self._told_of_several_workers = True
            _log.warning("nginx_has_several_workers", server=self.name, workers=len(self._workers.known))
        wanted = self._section.applications
        return tuple(stream for stream in stat.streams if not wanted or stream.ref.app in wanted)

    def pull_url(self, ref: StreamRef) -> str:
        """Return the RTMP address; refused for names that no RTMP address can carry."""
        return stream_address(self._section.rtmp_url, ref.app, ref.name)

    async def cut(self, ref: StreamRef, session: str | None = None) -> CutResult:
        """Drop the publisher and list until it is gone, for up to about a second."""
        session = session or None
        filters = await self._filters(ref, session)
        if filters is None:
            return CutResult(0, verified=True, detail="The stream was gone already.")
        matched = 0
        for attempt in range(_DROP_ATTEMPTS):
            matched = await self._drop(filters)
            if matched or await self._is_gone(ref, session, listings=_THOROUGH_LISTINGS):
                break
            # Zero for a stream that is listed: it went in between, or another worker has it.
            await self._clock.sleep(0.02 * attempt)
        for delay_s in _VERIFY_DELAYS_S:
            await self._clock.sleep(delay_s)
            if await self._is_gone(ref, session, listings=_THOROUGH_LISTINGS if self._workers.several else 1):
                detail = "The publisher was dropped." if matched else "The stream was gone already."
                return CutResult(matched, verified=True, detail=detail)
        detail = "nginx dropped a publisher" if matched else "nginx found nothing to drop"
        if self._workers.several:
            return CutResult(
                matched, verified=False, detail=f"{detail}, but it runs several workers, so nothing is sure."
            )
        return CutResult(matched, verified=False, detail=f"{detail}, but the stream is still listed.")

    async def hold(self, ref: StreamRef, session: str | None = None) -> HoldResult:  # noqa: ARG002 - the port's signature
        """Refuse; see `capabilities`."""
        raise cannot_hold()

    async def release(self, ref: StreamRef, session: str | None = None) -> HoldResult:  # noqa: ARG002 - the port's signature
        """Refuse; see `capabilities`."""
        raise cannot_hold()

    def parse_gate_request(self, request: RawGateRequest) -> GateRequest:
        """Read the ``on_publish`` form."""
        return parse_publish_hook(self.name, request)

    def gate_reply(self, request: GateRequest | None, *, allow: bool) -> GateReply:  # noqa: ARG002 - the port's signature
        """Build 200 or 403."""
        return publish_hook_reply(allow=allow)

    async def _filters(self, ref: StreamRef, session: str | None) -> str | None:
        """Return the query that can match the one publication only, or None if there is nothing to cut.

        nginx-rtmp compares values byte for byte with the query string as it comes, so only names that mean themselves
        go in; others are found by their connection number. A missing or empty filter would match everything.
        """
        if not is_safe(ref.app):
            raise UnsafeCallRefused("the application's name is empty or cannot be put into a control call")
        if session is not None and not is_session(session):
            raise UnsafeCallRefused("the session is no connection number")
        if is_safe(ref.name):
            client = "" if session is None else f"&clientid={session}"
            return f"app={ref.app}&name={ref.name}{client}"
        listed = await self._listed_session(ref, session)
        return None if listed is None else f"app={ref.app}&clientid={listed}"

    async def _listed_session(self, ref: StreamRef, session: str | None) -> str | None:
        """Return the one session that is listed under this name now; it alone will say who is dropped."""
        stats = await self._listings(_THOROUGH_LISTINGS)
        sessions = {stream.session for stat in stats for stream in stat.streams if _is_meant(stream, ref, session)}
        if not sessions:
            return None
        if len(sessions) > 1 or "" in sessions:
            # Different names can look alike in the listing, and one of them may be innocent.
            raise UnsafeCallRefused("several publications are listed under this name: cut them by session")
        return sessions.pop()

    async def _drop(self, filters: str) -> int:
        base = URL(self._section.control_url)
        extra = f"&{base.raw_query_string}" if base.raw_query_string else ""
        address = f"{base.with_query(None)}".rstrip("/")
        query = f"srv={self._section.server_index}&{filters}{extra}"
        answer = await self._client.get(URL(f"{address}/drop/publisher?{query}", encoded=True))
        if answer.status != 200:
            raise MediaServerRefused(f"the drop command was answered with status {answer.status}", reason="bad_status")
        if not _DROPPED.fullmatch(answer.body):
            raise MediaServerRefused("the drop command was answered with something that is no number")
        return int(answer.body)

    async def _is_gone(self, ref: StreamRef, session: str | None, *, listings: int) -> bool:
        stats = await self._listings(listings)
        if any(_is_meant(stream, ref, session) for stat in stats for stream in stat.streams):
            return False
        return {stat.worker for stat in stats} >= self._workers.known

    async def _listings(self, count: int) -> list[Stat]:
        """Fetch several listings at once, which spreads them over the workers if there are several."""
        stats = await asyncio.gather(*(self._fetch() for _ in range(count)))
        self._workers.answered_at_once(stat.worker for stat in stats)
        return stats

    async def _fetch(self) -> Stat:
        answer = await self._client.get(self._stat_url)
        if answer.status != 200:
            raise MediaServerRefused(f"stat_url answers with status {answer.status}", reason="bad_status")
        if len(answer.body) < _PARSE_IN_THREAD_BYTES:
            stat = self._parse(answer.body)
        else:
            stat = await asyncio.to_thread(self._parse, answer.body)
        self._workers.saw(stat.worker)
        return stat

    def _parse(self, document: bytes) -> Stat:
        return parse_stat(
            document,
            server=self.name,
            now=self._clock.now(),
            server_index=self._section.server_index,
        )


def _is_meant(stream: LiveStream, ref: StreamRef, session: str | None) -> bool:
    return stream.ref == ref and (session is None or stream.session in {session, ""})
