"""nginx with libnginx-mod-rtmp, through its ``rtmp_stat`` and ``rtmp_control`` locations and ``on_publish`` hook."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Self

import structlog

from monitor.clock import Clock, SystemClock
from monitor.config.servers import NginxRtmpServer
from monitor.errors import GateRequestError, MediaServerError, MediaServerRefused, UnsafeCallRefused
from monitor.servers.nginx_rtmp.control import NginxControl
from monitor.servers.nginx_rtmp.gate import parse_publish_hook, publish_hook_reply
from monitor.servers.nginx_rtmp.holding import Holding, Passage, filters
from monitor.servers.nginx_rtmp.names import is_safe, is_session, stream_address
from monitor.servers.nginx_rtmp.quarantine import QuarantineNames
from monitor.servers.nginx_rtmp.stat import Stat
from monitor.servers.port import (
    Capabilities,
    CutResult,
    GateReply,
    GateRequest,
    HoldResult,
    LiveStream,
    RawGateRequest,
)
from monitor.vocabulary import StreamRef

_log = structlog.get_logger()

_PROBE_LISTINGS = 8
_THOROUGH_LISTINGS = 6
# nginx ends or moves a session a moment after it has answered the command.
_VERIFY_DELAYS_S = (0.0, 0.05, 0.1, 0.2, 0.4)
# With several workers each new connection is another throw of the dice.
_ATTEMPTS = 6
_NOBODY = "livecordon-probe"

_SEVERAL_WORKERS = (
    "nginx runs several worker processes: streams are listed by turns and cuts may miss; set worker_processes 1"
)
_NO_CLIENTS = "the listing shows no connections: use rtmp_stat all, or streams cannot be told from their successors"
_NO_CONTROL = "control_url does not answer as an rtmp_control all location does: streams are watched but cannot be cut"


class NginxRtmpMediaServer:
    """The adapter for one configured nginx; see `MediaServer` for what the methods promise.

    A stream is held by moving it to a name that nobody can guess (`QuarantineNames`), and listed under its own all the
    same, so that nobody else has to know.

    Args:
        section: Its entry in the configuration.
        clock: Source of time.
    """

    def __init__(self, section: NginxRtmpServer, *, clock: Clock | None = None) -> None:
        self._section = section
        self._clock: Clock = clock or SystemClock()
        self._control = NginxControl(section, self._clock)
        self._holding = Holding(QuarantineNames(), self._clock)
        self._told_of_several_workers = False

    def use_key(self, key: bytes) -> None:
        """Make quarantine names under this key, so that they are recognised after a restart; see `HidesNames`."""
        self._holding = Holding(QuarantineNames(key), self._clock)

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
            hold=True,
        )

    async def __aenter__(self) -> Self:
        await self._control.client.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._control.client.close()

    async def probe(self) -> tuple[str, ...]:
        """Fetch the listing several times, and send a drop that cannot match anybody."""
        stats = await self._control.stats(_PROBE_LISTINGS)
        warnings = []
        if self._control.workers.several:
            warnings.append(_SEVERAL_WORKERS)
        if not all(stat.shows_clients for stat in stats):
            warnings.append(_NO_CLIENTS)
        try:
            await self._control.drop(f"app={_NOBODY}&name={_NOBODY}&clientid=0")
        except MediaServerError:
            warnings.append(_NO_CONTROL)
        return tuple(warnings)

    async def list_streams(self) -> tuple[LiveStream, ...]:
        """Return the publications that the worker which answers knows."""
        streams = self._as_meant(await self._control.stat())
        if self._control.workers.several and not self._told_of_several_workers:
            self._told_of_several_workers = True
            _log.warning("nginx_has_several_workers", server=self.name, workers=len(self._control.workers.known))
        wanted = self._section.applications
        return tuple(stream for stream in streams if not wanted or stream.ref.app in wanted)

    def pull_url(self, ref: StreamRef) -> str:
        """Return the RTMP address, of a held stream the one where it is now; refused for names that none can carry."""
        return stream_address(self._section.rtmp_url, ref.app, self._holding.current_name(ref))

    async def cut(self, ref: StreamRef, session: str | None = None) -> CutResult:
        """Drop the publisher and list until it is gone, for up to about a second."""
        session = _checked(session)
        commands = await self._cut_filters(ref, session)
        if not commands:
            return CutResult(0, verified=True, detail="The stream was gone already.")
        matched = 0
        for attempt in range(_ATTEMPTS):
            for command in commands:
                matched += await self._control.drop(command)
            if matched or await self._is_gone(ref, session, listings=_THOROUGH_LISTINGS):
                break
            # Zero for a stream that is listed: it went in between, or another worker has it.
            await self._clock.sleep(0.02 * attempt)
        for delay_s in _VERIFY_DELAYS_S:
            await self._clock.sleep(delay_s)
            if await self._is_gone(ref, session, listings=self._enough_listings):
                detail = "The publisher was dropped." if matched else "The stream was gone already."
                return CutResult(matched, verified=True, detail=detail)
        return CutResult(matched, verified=False, detail=self._unsure("dropped", matched))

    async def hold(self, ref: StreamRef, session: str | None = None) -> HoldResult:
        """Move the publication to a quarantine name, and list until it is there, for up to about a second."""
        return await self._move(ref, session, held=True)

    async def release(self, ref: StreamRef, session: str | None = None) -> HoldResult:
        """Move the publication back to its own name, and list until it is there, for up to about a second."""
        return await self._move(ref, session, held=False)

    def parse_gate_request(self, request: RawGateRequest) -> GateRequest:
        """Read the ``on_publish`` form; a move into a hold that was asked for here is a call of its own."""
        asked = parse_publish_hook(self.name, request)
        if asked.ref is None:
            return asked
        if asked.call != "publish":
            true_ref = self._holding.names.true_ref(asked.ref) or asked.ref
            return replace(asked, ref=true_ref, news=asked.call == "publish_done")
        match self._holding.passage(asked.ref, asked.session):
            case Passage.INTO_HOLD:
                return replace(asked, call="hold", ref=self._holding.names.true_ref(asked.ref), news=True)
            case Passage.FORGED:
                raise GateRequestError("a quarantine name is asked for, and nothing is being moved there")
            case _:
                return asked

    async def refusal(self, request: RawGateRequest, asked: GateRequest) -> GateReply | None:  # noqa: ARG002 - the port's signature
        """Refuse a second publication under the name of a held one; see `KeepsTheDoor`."""
        if asked.call != "publish" or asked.ref is None:
            return None
        if self._holding.passage(asked.ref, asked.session) is Passage.OCCUPIED:
            _log.warning("publish_beside_hold_refused", stream_id=asked.ref.stream_id, server=self.name)
            return publish_hook_reply(allow=False)
        return None

    def gate_reply(self, request: GateRequest | None, *, allow: bool) -> GateReply:  # noqa: ARG002 - the port's signature
        """Build 200 or 403."""
        return publish_hook_reply(allow=allow)

    async def _cut_filters(self, ref: StreamRef, session: str | None) -> list[str]:
        """Return the queries that match the publication only; none if there is nothing to cut."""
        if is_safe(ref.name):
            return [filters(ref.app, name, session) for name in self._holding.names_of(ref)]
        # Only a session tells such names apart. It must be this stream's now: nginx counts from one at every start.
        filters(ref.app, _NOBODY, None)
        sessions = {stream.session for stream in await self._publications(ref, session)}
        if len(sessions) > 1 or "" in sessions:
            # Different names can look alike in the listing, and one of them may be innocent.
            raise UnsafeCallRefused("several publications are listed under this name: cut them by session")
        return [filters(ref.app, ref.name, listed) for listed in sessions]

    async def _move(self, ref: StreamRef, session: str | None, *, held: bool) -> HoldResult:
        session = _checked(session)
        hidden = self._holding.names.name_for(ref)
        target = hidden if held else ref.name
        listed = await self._publications(ref, session)
        done = [stream for stream in listed if stream.held is held]
        to_move = [stream for stream in listed if stream.held is not held]
        if not to_move:
            detail = "It was so already." if done else "The stream is not there any more."
            return HoldResult(0, verified=True, detail=detail)
        if done or len(to_move) > 1:
            # nginx would throw one of them out when the other takes its name.
            raise MediaServerRefused("another publication has the name that this one should get", reason="name_taken")
        (moving,) = to_move
        if not is_session(moving.session):
            raise UnsafeCallRefused("the listing shows no connection numbers: use rtmp_stat all")
        matched = 0
        left: list[LiveStream] = []
        for attempt in range(_ATTEMPTS):
            self._holding.expect(ref, target, moving.session)
            matched = await self._control.redirect(
                filters(ref.app, ref.name if held else hidden, moving.session), target
            )
            if matched:
                break
            await self._clock.sleep(0.02 * attempt)
        for delay_s in _VERIFY_DELAYS_S:
            await self._clock.sleep(delay_s)
            left = await self._publications(ref, moving.session)
            if left and all(stream.held is held for stream in left):
                return HoldResult(
                    matched, verified=True, detail="The stream is held." if held else "It is shown again."
                )
        if not left and not self._control.workers.several:
            return HoldResult(matched, verified=True, detail="The encoder went away while its stream was being moved.")
        return HoldResult(matched, verified=False, detail=self._unsure("moved", matched))

    async def _publications(self, ref: StreamRef, session: str | None) -> list[LiveStream]:
        """Return every publication of this stream, one each, whatever name it has at the moment."""
        stats = await self._control.stats(_THOROUGH_LISTINGS)
        found = {
            (stat.worker, stream.session, stream.held): stream
            for stat in stats
            for stream in self._as_meant(stat)
            if _is_meant(stream, ref, session)
        }
        return list(found.values())

    async def _is_gone(self, ref: StreamRef, session: str | None, *, listings: int) -> bool:
        if listings == 1 and is_safe(ref.name) and await self._control.absent(self._holding.possible_names(ref)):
            return True
        stats = await self._control.stats(listings)
        if any(_is_meant(stream, ref, session) for stat in stats for stream in self._as_meant(stat)):
            return False
        return {stat.worker for stat in stats} >= self._control.workers.known

    def _as_meant(self, stat: Stat) -> tuple[LiveStream, ...]:
        streams = tuple(self._holding.as_meant(stream) for stream in stat.streams)
        self._holding.listed(stat.worker, streams, self._control.workers.known)
        return streams

    @property
    def _enough_listings(self) -> int:
        return _THOROUGH_LISTINGS if self._control.workers.several else 1

    def _unsure(self, done: str, matched: int) -> str:
        detail = f"nginx {done} a publisher" if matched else f"nginx found nothing to be {done}"
        if self._control.workers.several:
            return f"{detail}, but it runs several workers, so nothing is sure."
        return f"{detail}, but the listing shows otherwise."


def _checked(session: str | None) -> str | None:
    if session and not is_session(session):
        raise UnsafeCallRefused("the session is no connection number")
    return session or None


def _is_meant(stream: LiveStream, ref: StreamRef, session: str | None) -> bool:
    return stream.ref == ref and (session is None or stream.session in {session, ""})
