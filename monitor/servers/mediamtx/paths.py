"""MediaMTX's paths as streams: what stands before the last slash is the application, what follows it the name."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote, urlsplit

from monitor.errors import UnsafeCallRefused
from monitor.vocabulary import StreamRef

# The characters that MediaMTX itself allows in a path; none of them needs an escape in a URL.
_SAFE = re.compile(r"[A-Za-z0-9_.~:-]+(/[A-Za-z0-9_.~:-]+)*")
_LONGEST_PATH = 512
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_STEPS = frozenset({".", ".."})
_HLS_PLAYLIST = "index.m3u8"


def ref_of(server: str, path: str) -> StreamRef:
    """Return the stream on this path; a path without a slash has an empty application."""
    app, _, name = path.rpartition("/")
    return StreamRef(server, app, name)


def path_of(ref: StreamRef) -> str:
    """Return the one path that this stream can be on.

    Raises:
        UnsafeCallRefused: there can be no such path, or an address with it would lead to another one.
    """
    path = f"{ref.app}/{ref.name}" if ref.app else ref.name
    if "/" in ref.name or len(path) > _LONGEST_PATH or _SAFE.fullmatch(path) is None:
        raise UnsafeCallRefused("the stream's name is none that a MediaMTX path can have")
    if not _STEPS.isdisjoint(path.split("/")):
        raise UnsafeCallRefused("the stream's path has a step that addresses take for another folder")
    return path


def is_uuid(text: str | None) -> bool:
    """Whether this is an identifier as MediaMTX gives to connections and sessions."""
    return text is not None and _UUID.fullmatch(text) is not None


def address_without_port(text: str) -> str | None:
    """Return the IP address in ``192.0.2.7:40000`` or ``[2001:db8::7]:40000``, or in either without a port."""
    for candidate in (text, text.rpartition(":")[0].removeprefix("[").removesuffix("]")):
        try:
            address = ipaddress.ip_address(candidate)
        except ValueError:
            continue
        mapped = getattr(address, "ipv4_mapped", None)
        return str(mapped or address)
    return None


def read_address(base: str, path: str, *, user: str, password: str) -> str:
    """Return the address under which a watcher reads a path.

    Args:
        base: ``rtsp``, ``rtmp`` or ``http`` (HLS) address from the configuration.
        path: As `path_of` returns it.
        user: Sent with the request; an empty one sends nothing.
        password: That user's.
    """
    parts = urlsplit(base)
    host = parts.netloc.rpartition("@")[2]
    folder = parts.path.rstrip("/")
    if not user:
        login = query = ""
    elif parts.scheme.startswith("rtmp"):
        # An RTMP address has no place for a login; MediaMTX takes it from these arguments.
        login, query = "", f"?user={quote(user, safe='')}&pass={quote(password, safe='')}"
    else:
        login, query = f"{quote(user, safe='')}:{quote(password, safe='')}@", ""
    playlist = f"/{_HLS_PLAYLIST}" if parts.scheme.startswith("http") else ""
    return f"{parts.scheme}://{login}{host}{folder}/{path}{playlist}{query}"
