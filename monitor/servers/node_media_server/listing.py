"""Reading Node-Media-Server's list of streams."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from monitor.servers.control import Answer
from monitor.servers.json_documents import as_text, read_answer
from monitor.servers.node_media_server.names import is_session
from monitor.servers.port import LiveStream
from monitor.vocabulary import StreamRef

# After its publisher has left or was thrown out, a stream stays listed with it for 30 s, in case it comes back.
_OVER: Final = frozenset({"reconnecting", "idle"})
# FLV's numbers. The publisher's own metadata says which, so anything may stand there.
_VIDEO_CODECS: Final = {2: "H263", 4: "VP6", 7: "H264", 12: "HEVC", 13: "AV1"}
_MAX_SIDE_PIXELS: Final = 16_384


class _Publisher(msgspec.Struct, rename="camel"):
    id: str
    ip: str = ""
    create_time: Any = None
    video_codec: Any = None
    video_width: Any = None
    video_height: Any = None


class _Stream(msgspec.Struct):
    key: str
    status: str
    publisher: _Publisher | None = None
    subscribers: int = 0


class _Streams(msgspec.Struct):
    streams: list[_Stream]


class _Listing(msgspec.Struct):
    data: _Streams


def read_streams(answer: Answer, *, server: str) -> tuple[LiveStream, ...]:
    """Return the publications in an answer of ``/api/v1/streams`` that are live.

    Raises:
        MediaServerRefused: it is no such answer.
    """
    listed = read_answer(answer, _Listing).data.streams
    return tuple(
        _live(server, stream.key, stream.publisher, stream.subscribers)
        for stream in listed
        if stream.publisher is not None and stream.status not in _OVER
    )


def read_address(text: str) -> str | None:
    """Return the address in ``address:port``; None where it is no such pair.

    A publisher inside the server itself, such as a relay, is listed with a made-up address and no port.
    """
    host, colon, port = text.rpartition(":")
    if not (colon and port.isascii() and port.isdigit()):
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _live(server: str, key: str, publisher: _Publisher, viewers: int) -> LiveStream:
    # Not the fields `app` and `name`: under /app/name/more, published over WebSocket, they are those of another stream.
    _, _, path = as_text(key).partition("/")
    app, _, name = path.partition("/")
    return LiveStream(
        StreamRef(server, app, name),
        session=publisher.id if is_session(publisher.id) else "",
        publisher_address=read_address(publisher.ip),
        started_at=_moment(publisher.create_time),
        viewers=max(0, viewers),
        video=_video(publisher),
    )


def _moment(milliseconds: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _video(publisher: _Publisher) -> str:
    codec = publisher.video_codec
    words = [_VIDEO_CODECS[codec]] if isinstance(codec, int) and codec in _VIDEO_CODECS else []
    sides = (publisher.video_width, publisher.video_height)
    if all(isinstance(side, int) and 0 < side <= _MAX_SIDE_PIXELS for side in sides):
        words.append(f"{sides[0]}x{sides[1]}")
    return " ".join(words)
