"""Reading the listing that ``rtmp_stat all`` gives.

Everything in it besides numbers comes from strangers: publishers choose stream names, and every viewer sends texts of
their own (`flashver`, `pageurl`). One of them must not be able to make the whole listing unreadable.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from monitor.errors import MediaServerRefused
from monitor.servers.nginx_rtmp.names import as_listed, is_session
from monitor.servers.port import LiveStream
from monitor.vocabulary import StreamRef

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CODEC_WORD = re.compile(r"[A-Za-z0-9._ -]{1,32}")
_WORKER = re.compile(rb"<pid>([0-9]{1,10})</pid>")
_WORKER_WITHIN = 4096
_MAX_PIXELS_PER_SIDE = 65_536
_LONGEST_STREAM_MS = 10 * 365 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Stat:
    """One listing.

    Attributes:
        worker: Process id of the worker that answered, or None if it does not say; it knows its own streams only.
        rtmp_servers: Number of ``server {}`` blocks inside ``rtmp {}``.
        streams: Live publications of the one block that was asked for.
        shows_clients: False when publications are listed without their connections, so that none has a session.
    """

    worker: int | None
    rtmp_servers: int
    streams: tuple[LiveStream, ...]
    shows_clients: bool


def parse_stat(document: bytes, *, server: str, now: datetime, server_index: int = 0) -> Stat:
    """Read one listing.

    Args:
        document: The XML as it came.
        server: Name of the media server in the configuration.
        now: Aware UTC time of the answer; starts are computed back from it, to about a tenth of a second.
        server_index: Which ``server {}`` block counts; the others' streams are out of the control call's reach.

    Raises:
        MediaServerRefused: no such listing.
    """
    root = _parse_xml(document)
    if root.tag != "rtmp":
        raise MediaServerRefused("stat_url answers, but not with an rtmp_stat listing", reason="not_a_listing")
    servers = root.findall("server")
    if server_index >= len(servers):
        raise MediaServerRefused(
            f"server_index is {server_index}, but the listing has {len(servers)} server blocks", reason="no_such_server"
        )
    streams: list[LiveStream] = []
    shows_clients = True
    for application in servers[server_index].findall("application"):
        app = as_listed((application.findtext("name") or "").encode())
        for stream in application.iterfind("live/stream"):
            publications, shown = _publications(server, app, stream, now)
            streams.extend(publications)
            shows_clients = shows_clients and shown
    return Stat(_number(root.findtext("pid")), len(servers), tuple(streams), shows_clients)


def certainly_absent(document: bytes, names: Iterable[str]) -> int | None:
    """Return the worker that gave this listing if none of these streams can be in it; None if that takes a real look.

    Much faster than reading it all. A listing shows safe names as they are, and nobody can put a tag into it.

    Args:
        document: The XML as it came.
        names: Names that are safe in the sense of `is_safe`.
    """
    worker = _WORKER.search(document, 0, _WORKER_WITHIN)
    whole = document.rstrip().endswith(b"</rtmp>") and b"<server>" in document
    if worker is None or not whole or any(f"<name>{name}</name>".encode("ascii") in document for name in names):
        return None
    return int(worker[1])


def _parse_xml(document: bytes) -> Element:
    # Builds that do not blank out strange bytes would otherwise let one client break the listing for everybody.
    text = _NOT_XML.sub(" ", document.decode("utf-8", "replace"))
    try:
        # Whatever makes XML dangerous begins with these two characters, and the safe parser is five times as slow.
        root: Element = fromstring(text, forbid_dtd=True) if "<!" in text else ET.fromstring(text)  # noqa: S314 - see above
    except (ParseError, DefusedXmlException, ValueError):
        raise MediaServerRefused("stat_url answers, but not with XML", reason="not_a_listing") from None
    return root


def _publications(server: str, app: str, stream: Element, now: datetime) -> tuple[list[LiveStream], bool]:
    ref = StreamRef(server, app, as_listed((stream.findtext("name") or "").encode()))
    clients = stream.findall("client")
    publishers = [client for client in clients if client.find("publishing") is not None]
    stream_ms = _number(stream.findtext("time"))
    video = _video_words(stream)
    found = [
        LiveStream(
            ref=ref,
            session=session if is_session(session) else "",
            publisher_address=_address(publisher.findtext("address")),
            started_at=_start(now, stream_ms, _number(publisher.findtext("time"))),
            viewers=len(clients) - len(publishers),
            video=video,
        )
        for publisher in publishers
        for session in [(publisher.findtext("id") or "").strip()]
    ]
    if found or stream.find("publishing") is None:
        # Without a publisher this is only a name that viewers are waiting under.
        return found, True
    viewers = max(0, (_number(stream.findtext("nclients")) or 1) - 1)
    return [LiveStream(ref, session="", started_at=_start(now, stream_ms, None), viewers=viewers, video=video)], False


def _start(now: datetime, stream_ms: int | None, connection_ms: int | None) -> datetime | None:
    # A viewer who waits makes the stream older than its publication, and a publisher connects before it publishes.
    known = [age for age in (stream_ms, connection_ms) if age is not None and age <= _LONGEST_STREAM_MS]
    return now - timedelta(milliseconds=min(known)) if known else None


def _video_words(stream: Element) -> str:
    video = stream.find("meta/video")
    if video is None:
        return ""
    codec = (video.findtext("codec") or "").strip()
    width, height = _number(video.findtext("width")), _number(video.findtext("height"))
    words = [codec] if _CODEC_WORD.fullmatch(codec) else []
    if width and height and max(width, height) <= _MAX_PIXELS_PER_SIDE:
        words.append(f"{width}x{height}")
    return " ".join(words)


def _address(text: str | None) -> str | None:
    try:
        return str(ipaddress.ip_address((text or "").strip()))
    except ValueError:
        return None


def _number(text: str | None) -> int | None:
    stripped = (text or "").strip()
    return int(stripped) if re.fullmatch(r"[0-9]{1,20}", stripped) else None
