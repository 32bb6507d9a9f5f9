"""LiveKit, through its RoomService and its webhooks: a stream is a participant who publishes video in a room."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import msgspec

from monitor.clock import Clock, SystemClock
from monitor.config.secrets import resolve_secret
from monitor.config.servers import LiveKitServer
from monitor.errors import ConfigError, GateRequestError, MediaServerRefused, Problem, UnsafeCallRefused
from monitor.servers.livekit.addresses import is_text, watch_address
from monitor.servers.livekit.api import RoomApi
from monitor.servers.livekit.bridge_process import BridgeProcess, is_installed
from monitor.servers.livekit.tokens import Tokens
from monitor.servers.livekit.wire import Event, Participant
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

HELD = "livecordon.held"
"""The attribute that tells a held participant from one who was never allowed to publish, also after a restart."""

_MAX_WEBHOOK_BYTES = 256 * 1024
_ROOMS_AT_ONCE = 8
# LiveKit has answered before everybody in the room knows.
_VERIFY_DELAYS_S = (0.0, 0.05, 0.1, 0.2, 0.4)
_NEWS = frozenset(
    {
        "participant_joined",
        "participant_left",
        "participant_connection_aborted",
        "track_published",
        "track_unpublished",
        "room_finished",
    }
)
_LAST_TIMESTAMP_S = 4_102_444_800
_GONE = "The participant was gone already."


class LiveKitMediaServer:
    """The adapter for one configured LiveKit; see `MediaServer` for what the methods promise.

    Args:
        section: Its entry in the configuration.
        clock: Source of time.
        environ: Where the secret is looked up; the process's environment by default.
    """

    def __init__(
        self, section: LiveKitServer, *, clock: Clock | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._section = section
        self._clock: Clock = clock or SystemClock()
        self._environ = os.environ if environ is None else environ
        self._client = RoomApi.client(section.request_timeout, section.second_control)
        self._opened: tuple[Tokens, RoomApi] | None = None
        self._bridge: BridgeProcess | None = None
        self._held: dict[StreamRef, str] = {}

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self._section.name

    @property
    def kind(self) -> str:
        """``livekit``."""
        return self._section.kind

    @property
    def capabilities(self) -> Capabilities:
        """What LiveKit does; it tells who has joined, but never asks."""
        return Capabilities(
            cut=True,
            synchronous_block=False,
            publisher_address=False,
            gate_down_refuses=False,
            residue_after_cut="recordings and egress outputs keep what they have",
            hold=True,
            seen_while_held=False,
        )

    async def __aenter__(self) -> Self:
        """Find the secret, open the client and, without `watch_url`, start the hidden subscriber.

        Raises:
            ConfigError: the secret cannot be found, or nothing is there for watchers to see by.
        """
        tokens = Tokens(self._section.api_key, resolve_secret(self._section.api_secret, self._environ), self._clock)
        if self._section.watch_url is None:
            if not is_installed():
                what = "watchers have nothing to see it by"
                mend = "pip install 'livecordon[livekit]', or name watch_url"
                raise ConfigError([Problem(f"server {self.name}", "watch_url", what, mend)])
            bridge = BridgeProcess(self.name, self._section.api_url, tokens.unseen, self._clock)
            self._bridge = await bridge.__aenter__()
        await self._client.open()
        self._opened = (tokens, RoomApi(self._section.api_url, self._client, tokens))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened = None
        await self._client.close()
        if self._bridge is not None:
            await self._bridge.__aexit__(exc_type, exc, traceback)

    async def probe(self) -> tuple[str, ...]:
        """List once: that takes the key, the secret and both of the rights that are needed."""
        await self.list_streams()
        return ()

    async def list_streams(self) -> tuple[LiveStream, ...]:
        """Return everybody who publishes video, in every room, and everybody whom we hold."""
        api = self._api
        some_at_once = asyncio.Semaphore(_ROOMS_AT_ONCE)

        async def look(room: str) -> tuple[LiveStream, ...]:
            async with some_at_once:
                return self._streams(room, await api.participants(room))

        rooms = [room for room in dict.fromkeys(await api.rooms()) if room]
        try:
            async with asyncio.TaskGroup() as group:
                looks = [group.create_task(look(room)) for room in rooms]
        except ExceptionGroup as failures:
            # Any room that cannot be looked into makes the listing one that something is missing from.
            raise failures.exceptions[0] from None
        streams = tuple(stream for task in looks for stream in task.result())
        present = {stream.ref for stream in streams}
        self._held = {ref: sid for ref, sid in self._held.items() if ref in present}
        return streams

    def pull_url(self, ref: StreamRef) -> str:
        """Return `watch_url`, or the hidden subscriber's own address, with room and identity filled in."""
        if self._section.watch_url is not None:
            return watch_address(self._section.watch_url, room=ref.app, identity=ref.name)
        if self._bridge is None:
            message = "a media server adapter is used inside its async with block"
            raise RuntimeError(message)
        return watch_address(self._bridge.address, room=ref.app, identity=ref.name)

    async def cut(self, ref: StreamRef, session: str | None = None) -> CutResult:
        """Remove the participant from the room, and look until they are gone, for up to about a second."""
        _check(ref)
        session = session or None
        matched = 0
        if await self._find(ref, session) is not None:
            matched = int(await self._api.remove(ref.app, ref.name))
        for delay_s in _VERIFY_DELAYS_S:
            await self._clock.sleep(delay_s)
            if await self._find(ref, session) is None:
                return CutResult(matched, verified=True, detail="The participant was removed." if matched else _GONE)
        done = "LiveKit removed a participant" if matched else "LiveKit found nobody to remove"
        return CutResult(matched, verified=False, detail=f"{done}, but they are still in the room.")

    async def hold(self, ref: StreamRef, session: str | None = None) -> HoldResult:
        """Take the right to publish away, with which LiveKit ends all their tracks; they stay in the room.

        Where LiveKit refuses that, the tracks are muted instead. A client may undo that, so it never counts as verified.
        """
        _check(ref)
        participant = await self._find(ref, session or None)
        if participant is None or not (_has_video(participant) or self._is_held(ref, participant)):
            return HoldResult(0, verified=True, detail=_GONE)
        try:
            done = await self._set(ref, participant, may_publish=False)
        except MediaServerRefused:
            return await self._mute(ref, participant)
        if not done:
            return HoldResult(0, verified=await self._find(ref, session or None) is None, detail=_GONE)
        self._held[ref] = participant.sid
        return await self._result(ref, participant.sid, held=True)

    async def release(self, ref: StreamRef, session: str | None = None) -> HoldResult:
        """Give a held participant the right to publish again. Nobody else is given it: they may never have had it."""
        _check(ref)
        participant = await self._find(ref, session or None)
        if participant is None:
            return HoldResult(0, verified=True, detail=_GONE)
        if not self._is_held(ref, participant):
            return HoldResult(0, verified=True, detail="The participant was not held.")
        if not await self._set(ref, participant, may_publish=True):
            return HoldResult(0, verified=await self._find(ref, session or None) is None, detail=_GONE)
        self._held.pop(ref, None)
        return await self._result(ref, participant.sid, held=False)

    def parse_gate_request(self, request: RawGateRequest) -> GateRequest:
        """Read a webhook, after its signature: it asks nothing, but tells who came and went."""
        if len(request.body) > _MAX_WEBHOOK_BYTES:
            raise GateRequestError("the webhook is larger than LiveKit's are")
        tokens, _ = self._in_use()
        tokens.check_webhook(request.headers.get("authorization", ""), request.body)
        try:
            event = msgspec.json.decode(request.body, type=Event)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise GateRequestError("the webhook is not one of LiveKit's") from None
        ref = None
        if event.room is not None and event.participant is not None:
            ref = StreamRef(self.name, event.room.name, event.participant.identity)
        return GateRequest(
            call=event.event,
            ref=ref,
            session="" if event.participant is None else event.participant.sid,
            news=event.event in _NEWS,
        )

    def gate_reply(self, request: GateRequest | None, *, allow: bool) -> GateReply:
        """Build 200, or 403 for what is no webhook of LiveKit's; LiveKit reads neither as an answer."""
        return GateReply(200) if allow or request is not None else GateReply(403)

    @property
    def _api(self) -> RoomApi:
        return self._in_use()[1]

    def _in_use(self) -> tuple[Tokens, RoomApi]:
        if self._opened is None:
            message = "a media server adapter is used inside its async with block"
            raise RuntimeError(message)
        return self._opened

    def _streams(self, room: str, participants: list[Participant]) -> tuple[LiveStream, ...]:
        present = [each for each in participants if each.state != "DISCONNECTED" and not _is_hidden(each)]
        streams = []
        for each in present:
            ref = StreamRef(self.name, room, each.identity)
            held = self._is_held(ref, each)
            if not each.identity or not (held or _has_video(each)):
                continue
            streams.append(
                LiveStream(
                    ref,
                    session=each.sid,
                    started_at=_time(each.joined_at),
                    viewers=len(present) - 1,
                    video=_video_words(each),
                    held=held,
                )
            )
        return tuple(streams)

    async def _find(self, ref: StreamRef, session: str | None) -> Participant | None:
        for each in await self._api.participants(ref.app):
            if each.identity == ref.name and each.state != "DISCONNECTED" and session in {None, each.sid}:
                return each
        return None

    def _is_held(self, ref: StreamRef, participant: Participant) -> bool:
        if _permission(participant).get("can_publish") is not False:
            return False
        marked = bool((participant.attributes or {}).get(HELD))
        return marked or self._held.get(ref) == participant.sid

    async def _set(self, ref: StreamRef, participant: Participant, *, may_publish: bool) -> bool:
        # All of it: what is left out of a permission is taken away.
        permission = _permission(participant) | {"can_publish": may_publish}
        # An empty text removes an attribute.
        mark = {HELD: "" if may_publish else "true"}
        return await self._api.update(ref.app, ref.name, permission=permission, attributes=mark)

    async def _result(self, ref: StreamRef, session: str, *, held: bool) -> HoldResult:
        for delay_s in _VERIFY_DELAYS_S:
            await self._clock.sleep(delay_s)
            participant = await self._find(ref, session)
            if participant is None:
                return HoldResult(1, verified=True, detail="The participant has left meanwhile.")
            may_publish = _permission(participant).get("can_publish") is not False
            if may_publish is not held and not (held and participant.tracks):
                done = "Nobody sees them now." if held else "The participant may publish again."
                return HoldResult(1, verified=True, detail=done)
        return HoldResult(1, verified=False, detail="LiveKit lists the participant as before.")

    async def _mute(self, ref: StreamRef, participant: Participant) -> HoldResult:
        tracks = [track.sid for track in participant.tracks or () if not track.muted]
        muted = [await self._api.mute(ref.app, ref.name, track) for track in tracks]
        detail = "LiveKit did not take the right to publish away: the tracks are muted, which the participant can undo."
        return HoldResult(int(any(muted)), verified=False, detail=detail)


def _check(ref: StreamRef) -> None:
    if not ref.app or not ref.name:
        raise UnsafeCallRefused("the room or the participant has no name")
    if not (is_text(ref.app) and is_text(ref.name)):
        raise UnsafeCallRefused("the room's or the participant's name cannot be encoded")


def _permission(participant: Participant) -> dict[str, object]:
    if participant.permission is not None:
        return participant.permission
    return {"can_subscribe": True, "can_publish": True, "can_publish_data": True}


def _is_hidden(participant: Participant) -> bool:
    return participant.kind == "EGRESS" or _permission(participant).get("hidden") is True


def _has_video(participant: Participant) -> bool:
    return any(track.type == "VIDEO" for track in participant.tracks or ())


def _video_words(participant: Participant) -> str:
    videos = [track for track in participant.tracks or () if track.type == "VIDEO"]
    if not videos:
        return ""
    largest = max(videos, key=lambda track: track.width * track.height)
    words = [largest.mime_type.rpartition("/")[2]]
    if largest.width > 0 and largest.height > 0:
        words.append(f"{largest.width}x{largest.height}")
    if largest.encryption != "NONE":
        words.append("end-to-end encrypted")
    return " ".join(word for word in words if word)


def _time(timestamp_s: str | int) -> datetime | None:
    try:
        seconds = int(timestamp_s)
    except ValueError:
        return None
    return datetime.fromtimestamp(seconds, UTC) if 0 < seconds <= _LAST_TIMESTAMP_S else None
