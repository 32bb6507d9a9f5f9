"""The JSON that an operator's own programs and webhooks read and write. docs/media-servers/custom.md describes it."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from monitor.errors import GateRequestError, MediaServerRefused
from monitor.servers.json_documents import as_text, read_json
from monitor.servers.port import GateReply, GateRequest, LiveStream, RawGateRequest
from monitor.vocabulary import StreamRef

_T = TypeVar("_T")

_MAX_TEXT: Final = 1024
_WATCHED: Final = re.compile(r"(rtmps?|rtsps?|https?)://[^\s/]+\S*")


class _Stream(msgspec.Struct):
    app: str
    name: str
    session: str
    url: str | None = None
    publisher_address: str | None = None
    started_at: float | datetime | None = None
    viewers: int = 0
    video: str = ""
    held: bool = False


class _Listing(msgspec.Struct):
    streams: list[_Stream]


class _Done(msgspec.Struct):
    matched: int = 1


class _Question(msgspec.Struct):
    call: str
    app: str
    name: str
    session: str = ""
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One stream of a list, and the address under which it is watched, where the list says it."""

    stream: LiveStream
    url: str | None


def read_listing(answer: bytes, *, server: str) -> tuple[Listed, ...]:
    """Return the streams in the answer of ``on_list``.

    Raises:
        MediaServerRefused: it is no such list; the message says where, and quotes nothing.
    """
    listed = tuple(_listed(server, index, one) for index, one in enumerate(_read(answer, _Listing, "on_list").streams))
    if len({(one.stream.ref, one.stream.session) for one in listed}) != len(listed):
        raise _mistaken("on_list", "one publication is listed twice")
    return listed


def read_count(answer: bytes, key: str) -> int:
    """Return how many publications an answer says were matched; one where it says nothing.

    Raises:
        MediaServerRefused: it is neither empty nor such an answer.
    """
    if not answer.strip():
        return 1
    matched = _read(answer, _Done, key).matched
    if not 0 <= matched <= 1:
        raise _mistaken(key, "matched is neither 0 nor 1")
    return matched


def read_question(server: str, request: RawGateRequest, *, decides: bool) -> GateRequest:
    """Read what the media server asks the publish gate.

    Args:
        server: The media server's name in the configuration.
        request: As it came in.
        decides: Whether the media server waits for the answer; otherwise it only tells.

    Raises:
        GateRequestError: it lacks something.
    """
    try:
        asked = msgspec.convert(read_json(request.body), _Question)
    except (ValueError, msgspec.ValidationError):
        raise GateRequestError("the question is no JSON object with call, app and name") from None
    if not (asked.app and asked.name) or max(map(len, (asked.app, asked.name, asked.session))) > _MAX_TEXT:
        raise GateRequestError("the question names no stream, or one that is too long")
    about_to_publish = asked.call == "publish"
    return GateRequest(
        call="publish" if about_to_publish and decides else "told",
        ref=StreamRef(server, as_text(asked.app), as_text(asked.name)),
        session=as_text(asked.session),
        publisher_address=_address(asked.address),
        news=not (about_to_publish and decides),
    )


def answer_question(*, allow: bool) -> GateReply:
    """Build the answer: the status says it, and the body once more."""
    return GateReply(200 if allow else 403, json.dumps({"allow": allow}).encode(), "application/json")


def _read(answer: bytes, shape: type[_T], key: str) -> _T:
    try:
        return msgspec.convert(read_json(answer), shape, strict=True)
    except msgspec.ValidationError as mistake:
        # It names types and places in the document, never values.
        raise _mistaken(key, str(mistake)) from None
    except ValueError as mistake:
        raise _mistaken(key, str(mistake)) from None


def _listed(server: str, index: int, one: _Stream) -> Listed:
    app, name, session = as_text(one.app), as_text(one.name), as_text(one.session)
    where = f"$.streams[{index}]"
    if not (app and name and session) or max(map(len, (app, name, session))) > _MAX_TEXT:
        raise _mistaken("on_list", f"app, name and session are 1 to {_MAX_TEXT} characters - at `{where}`")
    if one.url is not None and _WATCHED.fullmatch(one.url) is None:
        raise _mistaken("on_list", f"url is no address that is watched - at `{where}`")
    stream = LiveStream(
        StreamRef(server, app, name),
        session=session,
        publisher_address=_address(one.publisher_address),
        started_at=_moment(one.started_at, where),
        viewers=max(0, one.viewers),
        video=as_text(one.video)[:100],
        held=one.held,
    )
    return Listed(stream, one.url)


def _moment(said: float | datetime | None, where: str) -> datetime | None:
    """Read Unix time in seconds, or a time with its zone."""
    if said is None:
        return None
    try:
        moment = said if isinstance(said, datetime) else datetime.fromtimestamp(said, UTC)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise _mistaken("on_list", f"started_at is neither Unix time nor a time with its zone - at `{where}`")


def _address(text: str | None) -> str | None:
    try:
        return None if text is None else str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _mistaken(key: str, why: str) -> MediaServerRefused:
    return MediaServerRefused(f"{key} did not answer as agreed: {why}", reason="not_as_agreed")
