"""The answers of SRS's HTTP API: every one has a code of its own, and status 200 says nothing."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from monitor.errors import MediaServerRefused
from monitor.servers.control import Answer
from monitor.servers.json_documents import as_text, read_answer
from monitor.servers.port import LiveStream
from monitor.servers.srs.names import DEFAULT_VHOST, is_client_id
from monitor.servers.virtual_hosts import qualified
from monitor.vocabulary import StreamRef

NO_SUCH_CLIENT = 2049

_CODEC_WORD = re.compile(r"[A-Za-z0-9._ -]{1,32}")
_MAX_PIXELS_PER_SIDE = 65_536
_LONGEST_STREAM_S = 10 * 365 * 24 * 3600.0


class _Coded(msgspec.Struct):
    code: int


class _Publish(msgspec.Struct):
    active: bool = False
    cid: str | int = ""


class _Stream(msgspec.Struct):
    name: str
    app: str
    vhost: str | int
    publish: _Publish
    clients: int = 0
    video: Any = None


class _Streams(_Coded):
    streams: list[_Stream] = []


class _Vhost(msgspec.Struct):
    id: str | int
    name: str


class _Vhosts(_Coded):
    vhosts: list[_Vhost] = []


class _Client(msgspec.Struct):
    ip: str = ""
    publish: bool = False
    alive: float = -1.0


class _OneClient(_Coded):
    client: _Client | None = None


@dataclass(frozen=True, slots=True)
class Streams:
    """One listing.

    Attributes:
        entries: How many entries it has, among them streams that only viewers or HLS files keep in it.
        live: Those that somebody publishes. SRS gives neither address nor age here; see `read_publisher`.
        unknown_vhosts: It names virtual hosts that were not among the known ones; their streams are left out.
    """

    entries: int
    live: tuple[LiveStream, ...]
    unknown_vhosts: bool


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who publishes: IP address if it is one, and aware UTC time of the connection if SRS tells."""

    address: str | None
    connected_at: datetime | None


def read_streams(answer: Answer, *, server: str, vhosts: Mapping[str, str]) -> Streams:
    """Read ``/api/v1/streams/``.

    Args:
        answer: As it came.
        server: Name of the media server in the configuration.
        vhosts: Names of virtual hosts by SRS's number for them.

    Raises:
        MediaServerRefused: no such listing, or a code other than 0.
    """
    listing = read_answer(answer, _Streams)
    _check(listing.code)
    live = []
    unknown = False
    for entry in listing.streams:
        # What was kicked stays listed while viewers hold on to it, with its last publisher's number.
        if not entry.publish.active:
            continue
        vhost = vhosts.get(str(entry.vhost))
        if vhost is None:
            unknown = True
            continue
        cid = str(entry.publish.cid)
        live.append(
            LiveStream(
                StreamRef(server, qualified(vhost, as_text(entry.app), default=DEFAULT_VHOST), as_text(entry.name)),
                session=cid if is_client_id(cid) else "",
                viewers=max(0, entry.clients - 1),
                video=_video_words(entry.video),
            )
        )
    return Streams(len(listing.streams), tuple(live), unknown)


def read_vhosts(answer: Answer) -> dict[str, str]:
    """Read ``/api/v1/vhosts/``: names by number; errors as for `read_streams`."""
    listing = read_answer(answer, _Vhosts)
    _check(listing.code)
    return {str(vhost.id): vhost.name for vhost in listing.vhosts}


def read_publisher(answer: Answer, *, now: datetime) -> Publisher | None:
    """Read ``/api/v1/clients/{id}``; None for a client that is gone or does not publish. Errors as for `read_streams`."""
    reply = read_answer(answer, _OneClient)
    if reply.code == NO_SUCH_CLIENT:
        return None
    _check(reply.code)
    client = reply.client
    if client is None or not client.publish:
        return None
    age_s = client.alive
    return Publisher(
        address=address_of(client.ip),
        connected_at=now - timedelta(seconds=age_s) if 0 <= age_s <= _LONGEST_STREAM_S else None,
    )


def read_kick(answer: Answer) -> bool:
    """Read the answer to a kick: True for a client that was thrown out, False for one that was not there.

    Raises:
        MediaServerRefused: anything else.
    """
    code = read_answer(answer, _Coded).code
    if code == NO_SUCH_CLIENT:
        return False
    _check(code)
    return True


def check_version(answer: Answer) -> None:
    """Read ``/api/v1/versions``; errors as for `read_streams`."""
    _check(read_answer(answer, _Coded).code)


def address_of(text: str) -> str | None:
    """Return the IP address that `text` is, or None."""
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        return None


def _check(code: int) -> None:
    if code != 0:
        raise MediaServerRefused(f"SRS answers with code {code}", reason="error_code")


def _video_words(video: Any) -> str:
    if not isinstance(video, dict):
        return ""
    codec, width, height = video.get("codec"), video.get("width"), video.get("height")
    words = [codec] if isinstance(codec, str) and _CODEC_WORD.fullmatch(codec) else []
    if _is_size(width) and _is_size(height):
        words.append(f"{width}x{height}")
    return " ".join(words)


def _is_size(side: object) -> bool:
    return isinstance(side, int) and 0 < side <= _MAX_PIXELS_PER_SIDE
