"""The answers of OvenMediaEngine's REST API."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from monitor.errors import MediaServerRefused
from monitor.servers.control import Answer
from monitor.servers.json_documents import as_text, read_answer
from monitor.servers.port import LiveStream
from monitor.vocabulary import StreamRef

_WORD = re.compile(r"[A-Za-z0-9._ -]{1,32}")
_SOURCE = re.compile(r"[A-Za-z0-9+.-]{1,20}://(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[^/:@?#]{1,255}))(?::|/|$)")
_MAX_PIXELS_PER_SIDE = 65_536
_MISSING = 404


class _Told(msgspec.Struct, rename="camel"):
    status_code: int
    message: str = ""


class _Names(_Told):
    response: list[str] = []


class _Input(msgspec.Struct, rename="camel"):
    created_time: str = ""
    source_url: str = ""
    tracks: list[Any] = []


class _Detail(msgspec.Struct):
    input: _Input


class _Stream(_Told):
    response: _Detail | None = None


def is_missing(answer: Answer) -> bool:
    """Whether OvenMediaEngine itself says that what was asked for is not there; a proxy's page says nothing."""
    return answer.status == _MISSING and read_answer(Answer(200, answer.body), _Told).status_code == _MISSING


def read_names(answer: Answer) -> tuple[str, ...]:
    """Read a list of virtual hosts, applications or streams.

    Raises:
        MediaServerRefused: no such list, or a status other than 200, outside the document or inside.
    """
    told = read_answer(answer, _Names)
    _check(told)
    return tuple(as_text(name) for name in told.response)


def read_done(answer: Answer) -> bool:
    """Read the answer to a command: True where it was carried out, False where there was no such stream.

    Raises:
        MediaServerRefused: anything else.
    """
    if is_missing(answer):
        return False
    told = read_answer(answer, _Told)
    if told.status_code == _MISSING:
        return False
    _check(told)
    return True


def read_stream(answer: Answer, ref: StreamRef) -> LiveStream | None:
    """Read what is said about one stream; None for one that is gone. Errors as for `read_names`.

    OvenMediaEngine gives a publication no number of its own. Its start and the address it comes from tell it from the
    next one under the same name.
    """
    if is_missing(answer):
        return None
    told = read_answer(answer, _Stream)
    if told.status_code == _MISSING:
        return None
    _check(told)
    if told.response is None:
        raise MediaServerRefused("OvenMediaEngine says nothing about a stream that it lists", reason="not_a_listing")
    source = told.response.input
    return LiveStream(
        ref,
        session=_session(source),
        publisher_address=_address(source.source_url),
        started_at=_time(source.created_time),
        video=_video_words(source.tracks),
    )


def _check(told: _Told) -> None:
    if told.status_code != 200:
        raise MediaServerRefused(f"OvenMediaEngine answers with status {told.status_code}", reason="error_code")


def _session(source: _Input) -> str:
    if not source.created_time:
        return ""
    told = f"{source.created_time}\0{source.source_url}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(told).hexdigest()[:16]


def _address(source_url: str) -> str | None:
    match = _SOURCE.match(source_url)
    if match is None:
        return None
    try:
        return str(ipaddress.ip_address(match["v6"] or match["host"]))
    except ValueError:
        return None


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if time.tzinfo is None else time.astimezone(UTC)


def _video_words(tracks: list[Any]) -> str:
    for track in tracks:
        video = track.get("video") if isinstance(track, dict) else None
        if isinstance(video, dict):
            codec, width, height = video.get("codec"), _side(video.get("width")), _side(video.get("height"))
            words = [codec] if isinstance(codec, str) and _WORD.fullmatch(codec) else []
            if width and height:
                words.append(f"{width}x{height}")
            return " ".join(words)
    return ""


def _side(value: object) -> int:
    """Return a side in pixels; versions differ in whether they write it as text. 0 for nonsense."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}", value):
        value = int(value)
    return value if isinstance(value, int) and 0 < value <= _MAX_PIXELS_PER_SIDE else 0
