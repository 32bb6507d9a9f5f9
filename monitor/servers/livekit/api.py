"""LiveKit's RoomService over Twirp, with a token of its own for every call that allows no more than that call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec
from yarl import URL

from monitor.errors import MediaServerRefused
from monitor.servers.control import Answer, ControlClient
from monitor.servers.livekit.tokens import Tokens
from monitor.servers.livekit.wire import Failure, Participant, Participants, Rooms

_MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024

_T = TypeVar("_T")


class RoomApi:
    """The calls that the adapter needs, with their answers checked.

    Every call about somebody names the room and the identity, both by the adapter checked not to be empty. The calls that
    could hit more than one participant (``DeleteRoom``, ``SendData`` …) are not here.

    Args:
        base_url: ``http://host:port`` of the server.
        client: Opened and closed by the adapter.
        tokens: Makes each call's token.
    """

    def __init__(self, base_url: str, client: ControlClient, tokens: Tokens) -> None:
        self._base_url = URL(base_url.rstrip("/") + "/twirp/livekit.RoomService/")
        self._client = client
        self._tokens = tokens

    @staticmethod
    def client(timeout_s: float, second_url: str | None) -> ControlClient:
        """Return a client with the limits that these calls need."""
        return ControlClient(timeout_s=timeout_s, max_answer_bytes=_MAX_ANSWER_BYTES, second=second_url)

    async def rooms(self) -> list[str]:
        """Return the names of all rooms."""
        answer = await self._call("ListRooms", {}, {"roomList": True})
        return [room.name for room in _decode(answer, Rooms).rooms or ()]

    async def participants(self, room: str) -> list[Participant]:
        """Return who is in a room; nobody where there is no such room (any more)."""
        answer = await self._about(room, "ListParticipants")
        return [] if _is_not_found(answer) else _decode(answer, Participants).participants or []

    async def remove(self, room: str, identity: str) -> bool:
        """Throw somebody out; False if they are not there."""
        return _is_done(await self._about(room, "RemoveParticipant", identity=identity))

    async def update(
        self, room: str, identity: str, *, permission: Mapping[str, object], attributes: Mapping[str, str]
    ) -> bool:
        """Set the whole of what somebody may do, and some of their attributes; False if they are not there."""
        changes = {"identity": identity, "permission": dict(permission), "attributes": dict(attributes)}
        return _is_done(await self._about(room, "UpdateParticipant", **changes))

    async def mute(self, room: str, identity: str, track: str) -> bool:
        """Mute one track; False if there is none such."""
        return _is_done(await self._about(room, "MutePublishedTrack", identity=identity, track_sid=track, muted=True))

    async def _about(self, room: str, method: str, **fields: object) -> Answer:
        return await self._call(method, {"room": room, **fields}, {"roomAdmin": True, "room": room})

    async def _call(self, method: str, document: Mapping[str, object], grants: Mapping[str, object]) -> Answer:
        url = self._base_url.join(URL(method))
        return await self._client.post_json(url, document, headers=self._tokens.header(grants))


def _is_done(answer: Answer) -> bool:
    """Return whether it was done, or False for somebody who is not there."""
    if _is_not_found(answer):
        return False
    _refuse_unless_ok(answer)
    if _failure(answer) is not None:
        raise MediaServerRefused("LiveKit answered with an error", reason="command_failed")
    return True


def _decode(answer: Answer, shape: type[_T]) -> _T:
    _refuse_unless_ok(answer)
    # An error in an answer of 200 would otherwise be a listing without rooms.
    if _failure(answer) is None:
        try:
            return msgspec.json.decode(answer.body, type=shape)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
    raise MediaServerRefused("api_url answers, but not as LiveKit's RoomService does", reason="not_a_listing")


def _refuse_unless_ok(answer: Answer) -> None:
    if answer.status in {401, 403}:
        raise MediaServerRefused("LiveKit does not accept the configured API key and secret", reason="unauthorized")
    if answer.status != 200:
        raise MediaServerRefused(f"LiveKit answers with status {answer.status}", reason="bad_status")


def _is_not_found(answer: Answer) -> bool:
    """Whether LiveKit says that there is no such thing; a wrong address also gives 404, but says ``bad_route``."""
    failure = _failure(answer)
    return answer.status == 404 and failure is not None and failure.code == "not_found"


def _failure(answer: Answer) -> Failure | None:
    try:
        return msgspec.json.decode(answer.body, type=Failure)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
