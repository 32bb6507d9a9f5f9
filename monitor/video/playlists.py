"""What is wrong with an HLS playlist, told from its text before FFmpeg sees it.

FFmpeg follows playlists on its own, and two kinds hurt: those that name addresses which their author could not reach
but this machine can, and those that mix the tags of a list of variants with those of a list of segments, which the
standard forbids and FFmpeg's reader crashes on. A playlist of a live stream changes, and FFmpeg fetches it anew without
asking us: this is a look at how it begins, and the watcher's isolation stands behind it.
"""

from __future__ import annotations

import ipaddress
import math
import re
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPErrorProcessor, HTTPHandler, HTTPRedirectHandler, HTTPSHandler, ProxyHandler

from monitor.errors import SourceOpenError

MAX_PLAYLIST_BYTES: Final = 1024 * 1024
MAX_VARIANTS: Final = 16
"""Lists named by the first one that are read too; more are refused."""
_MOST_LINES: Final = 20_000
_LONGEST_LINE: Final = 4096
_LONGEST_SEGMENT_S: Final = 3600.0

_MARK: Final = b"#EXTM3U"
_BLOCK_BYTES: Final = 64 * 1024
_ADDRESS_IN_TAG: Final = re.compile(r'URI="([^"]*)"?')
_WEB_ADDRESS: Final = re.compile(r"https?://[^/]", re.IGNORECASE)
_PROTOCOL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.,\-]*:")
"""FFmpeg's protocols take arguments: ``subfile,,start,0,,:`` is one."""
_SEGMENT_TAGS: Final = (
    "#EXTINF",
    "#EXT-X-TARGETDURATION",
    "#EXT-X-MEDIA-SEQUENCE",
    "#EXT-X-BYTERANGE",
    "#EXT-X-ENDLIST",
)
_LIST_TAGS: Final = ("#EXT-X-STREAM-INF", "#EXT-X-I-FRAME-STREAM-INF", "#EXT-X-MEDIA:")
_SUFFIXES: Final = (".m3u8", ".m3u")

_Playlist = tuple[bytes, str]
"""A playlist's first `MAX_PLAYLIST_BYTES` and one byte, and the address to which those within it are relative."""

_Read = Callable[[str], _Playlist | None]
"""Returns what is at an address; None where that is no playlist."""


def is_playlist_address(url: str) -> bool:
    """Whether a web address ends as playlists do."""
    return urlsplit(url).path.lower().endswith(_SUFFIXES)


def check_web_playlist(url: str, *, deadline: float, user_agent: str) -> None:
    """Refuse the playlist at `url`, and those that it names, if they are hostile or broken.

    What cannot be fetched is left to FFmpeg, which says better why.

    Args:
        url: ``http`` or ``https``.
        deadline: Monotonic time in seconds after which nothing more is fetched.
        user_agent: As FFmpeg will call itself, so that both are told the same.

    Raises:
        SourceOpenError: with reason ``refused_playlist``.
    """
    _check(url, lambda address: _fetch(address, deadline, user_agent), _WebReach())


def check_file_playlist(path: str) -> None:
    """Refuse the file at `path` if it is a playlist, and it or one that it names is hostile or broken.

    Raises:
        SourceOpenError: with reason ``refused_playlist``.
    """
    _check(Path(path).name, lambda name: _read_file(Path(path).parent, name), _FileReach())


class _FileReach:
    """A playlist in a file may name files below its folder and nothing else."""

    def begin(self, address: str) -> None:
        """Nothing depends on where the first one lies."""

    def join(self, base: str, address: str) -> str:
        path = address.partition("?")[0]
        if _PROTOCOL.match(address) or path.startswith(("/", "\\")) or ".." in path.replace("\\", "/").split("/"):
            raise _refusal("it names something outside its folder")
        return urljoin(base, path)


class _WebReach:
    """A playlist on the web may name addresses at its own host, and elsewhere those that anybody on the internet reaches."""

    def __init__(self) -> None:
        self._home: set[str] = set()
        self._public: dict[str, bool] = {}

    def begin(self, address: str) -> None:
        self._home.add((urlsplit(address).hostname or "").lower())

    def join(self, base: str, address: str) -> str:
        if _PROTOCOL.match(address) and not _WEB_ADDRESS.match(address):
            raise _refusal("it names an address that is not on the web")
        joined = urljoin(base, address)
        parts = urlsplit(joined)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _refusal("it names an address that is not on the web")
        host = parts.hostname.lower()
        if host not in self._home and not self._public.setdefault(host, _is_public(host)):
            raise _refusal("it names an address within a private network")
        return joined


def _check(address: str, read: _Read, reach: _FileReach | _WebReach) -> None:
    try:
        reach.begin(address)
        if (first := read(address)) is None:
            return
        reach.begin(first[1])
        named = _checked(*first, reach, is_first=True)
        if len(named) > MAX_VARIANTS:
            raise _refusal("it names too many others")
        for other in named:
            if (found := read(other)) is not None:
                _checked(*found, reach, is_first=False)
    except ValueError:
        is_address = False
    else:
        is_address = True
    # Outside the handler, so that not even the context of our error leads to the address.
    if not is_address:
        raise _refusal("it names something that is no address")


def _checked(content: bytes, base: str, reach: _FileReach | _WebReach, *, is_first: bool) -> list[str]:
    """Return the playlists that this one names."""
    if len(content) > MAX_PLAYLIST_BYTES:
        raise _refusal("it is too long")
    lines = content.decode("utf-8", "replace").splitlines()
    if len(lines) > _MOST_LINES or any(len(line) > _LONGEST_LINE for line in lines):
        raise _refusal("it is too long")
    has_segments = any(line.startswith(_SEGMENT_TAGS) for line in lines)
    is_list = any(line.startswith(_LIST_TAGS) for line in lines)
    if is_list and (has_segments or not is_first):
        raise _refusal("it mixes variants with segments")
    for line in lines:
        if line.startswith("#EXTINF:"):
            _check_duration(line)
    joined = [reach.join(base, address) for address in _addresses(lines)]
    return list(dict.fromkeys(joined)) if is_list else []


def _addresses(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith("#EXT"):
            yield from (address for address in _ADDRESS_IN_TAG.findall(line) if address)
        elif (address := line.strip()) and not address.startswith("#"):
            yield address


def _check_duration(line: str) -> None:
    number = line.removeprefix("#EXTINF:").partition(",")[0].strip()
    try:
        seconds = float(number or 0)
    except ValueError:
        return  # FFmpeg takes it for nothing
    if not math.isfinite(seconds) or not 0 <= seconds <= _LONGEST_SEGMENT_S:
        raise _refusal("a segment's duration is none")


def _read_file(folder: Path, name: str) -> _Playlist | None:
    try:
        with (folder / name).open("rb") as file:
            content = file.read(len(_MARK))
            if content == _MARK:
                return content + file.read(MAX_PLAYLIST_BYTES + 1 - len(_MARK)), name
    except OSError:
        pass
    return None


def _fetch(url: str, deadline: float, user_agent: str) -> _Playlist | None:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        return None
    opener = urllib.request.OpenerDirector()
    # Not urllib's own choice of handlers, which open files and FTP, too.
    for handler in (ProxyHandler, HTTPHandler, HTTPSHandler, HTTPRedirectHandler, HTTPErrorProcessor):
        opener.add_handler(handler())
    content = b""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": user_agent})  # noqa: S310 - see the handlers
        with closing(opener.open(request, timeout=left_s)) as response:
            while len(content) <= MAX_PLAYLIST_BYTES and time.monotonic() < deadline:
                block = response.read1(_BLOCK_BYTES)
                content += block
                if not block or not content.startswith(_MARK[: len(content)]):
                    break
            base = response.geturl()
    except (OSError, HTTPException, AttributeError):
        # No answer, no good one, or none that can be read: FFmpeg will say better what is wrong.
        return None
    return (content[: MAX_PLAYLIST_BYTES + 1], base) if content.startswith(_MARK) else None


def _is_public(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        # FFmpeg will not find it either.
        return True
    return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_global for entry in found)


def _refusal(why: str) -> SourceOpenError:
    return SourceOpenError(f"the playlist is refused: {why}", reason="refused_playlist", retryable=False)
