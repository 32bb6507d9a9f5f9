"""What LiveKit's RoomService and its webhooks say, as far as it is read.

Twirp writes field names as in the protocol files, and 64-bit numbers as texts.
"""

from __future__ import annotations

import msgspec


class Room(msgspec.Struct):
    """One room."""

    name: str


class Rooms(msgspec.Struct):
    """Answer to ``ListRooms``."""

    rooms: list[Room] | None = None


class Track(msgspec.Struct):
    """One published track; sizes in pixels."""

    sid: str
    type: str = "AUDIO"
    muted: bool = False
    width: int = 0
    height: int = 0
    mime_type: str = ""
    encryption: str = "NONE"


class Participant(msgspec.Struct):
    """Somebody in a room.

    Attributes:
        sid: Another one each time that they join.
        permission: What they may do. All of it has to be sent back where one part is to change, also what is unknown here.
        attributes: Texts that anybody in the room may read.
    """

    sid: str
    identity: str
    state: str = "ACTIVE"
    kind: str = "STANDARD"
    joined_at: str | int = 0
    tracks: list[Track] | None = None
    permission: dict[str, object] | None = None
    attributes: dict[str, str] | None = None


class Participants(msgspec.Struct):
    """Answer to ``ListParticipants``."""

    participants: list[Participant] | None = None


class Failure(msgspec.Struct):
    """A Twirp error; a wrong address gives ``bad_route`` or none at all."""

    code: str
    msg: str = ""


class Named(msgspec.Struct):
    """A room in a webhook."""

    name: str = ""


class Identified(msgspec.Struct):
    """A participant in a webhook."""

    identity: str = ""
    sid: str = ""


class Event(msgspec.Struct):
    """What a webhook tells."""

    event: str
    room: Named | None = None
    participant: Identified | None = None
