"""Pauses of containment and silences of alerts: API and forms."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from aiohttp import web

from monitor.store.silences import SilenceKind
from monitor.units import format_duration, parse_duration_s
from monitor.web import actions, keys
from monitor.web.body import clean_text, decode_form, decode_json, read_body, require_json
from monitor.web.display import displayable, displayable_lines
from monitor.web.keys import Area, Route
from monitor.web.people_port import SilenceView
from monitor.web.refusals import Refusal, RequestRefused
from monitor.web.settings import Role

_SERVER_MEND = "write a configured server's name, or leave it out for all"
_PATTERN_MEND = "write app/name or a stream id; * and ? stand for any letters and for one"
_FOR_MEND = "write how long, such as 30m or 4h"
PAUSE_MENDS = {"for": _FOR_MEND, "why": actions.WHY_MEND, "server": _SERVER_MEND}
SILENCE_MENDS = {**PAUSE_MENDS, "stream": _PATTERN_MEND}
END_MENDS = {"why": actions.WHY_MEND, "server": _SERVER_MEND}


class PauseBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename={"duration": "for"}):
    """Body that pauses containment."""

    duration: str
    why: str
    server: str | None = None


class SilenceBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename={"duration": "for"}):
    """Body that silences alerts: of a media server, of streams, or of both at once."""

    duration: str
    why: str
    server: str | None = None
    stream: str | None = None


class EndBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Body that ends a pause or a silence."""

    why: str
    server: str | None = None


class Silence(msgspec.Struct, frozen=True):
    """A pause or silence in force; docs/api.md describes the fields."""

    silence_id: str
    kind: str
    server: str | None
    stream: str | None
    owner: str
    why: str
    since: datetime
    until: datetime


class Silences(msgspec.Struct, frozen=True):
    """All that is in force."""

    silences: list[Silence]


class Ended(msgspec.Struct, frozen=True):
    """How many pauses were ended."""

    ended: int


_encoder = msgspec.json.Encoder()
_pause_decoder = msgspec.json.Decoder(PauseBody)
_silence_decoder = msgspec.json.Decoder(SilenceBody)
_end_decoder = msgspec.json.Decoder(EndBody)


def wire(view: SilenceView) -> Silence:
    """Return a pause or silence as the API shows it."""
    return Silence(
        silence_id=view.silence_id,
        kind=view.kind.value,
        server=view.server,
        stream=None if view.pattern is None else displayable(view.pattern),
        owner=displayable(view.owner),
        why=displayable_lines(view.reason),
        since=view.since,
        until=view.until,
    )


async def get_silences(request: web.Request) -> web.Response:
    """List pauses and silences in force."""
    return _reply(Silences([wire(view) for view in request.app[keys.QUIET].silences()]))


async def post_pause(request: web.Request) -> web.Response:
    """Pause containment."""
    require_json(request)
    body = decode_json(await _body(request), _pause_decoder, PAUSE_MENDS)
    view = await _begin(request, SilenceKind.PAUSE, body.duration, body.why, server=body.server, pattern=None)
    return _reply(wire(view), status=201)


async def delete_pause(request: web.Request) -> web.Response:
    """Go on containing: everywhere, or on one media server that is paused by itself."""
    require_json(request)
    body = decode_json(await _body(request), _end_decoder, END_MENDS)
    quiet = request.app[keys.QUIET]
    pauses = [one for one in quiet.silences() if one.kind is SilenceKind.PAUSE and body.server in (None, one.server)]
    ended = sum([await _end(request, one.silence_id, body.why) for one in pauses])
    if not ended:
        raise RequestRefused(Refusal.NOT_PAUSED, "nothing is paused there: see GET /api/v1/silences")
    return _reply(Ended(ended))


async def post_silence(request: web.Request) -> web.Response:
    """Silence alerts."""
    require_json(request)
    body = decode_json(await _body(request), _silence_decoder, SILENCE_MENDS)
    if body.server is None and body.stream is None:
        message = f"a silence over everything hides everything: name server or stream; {_PATTERN_MEND}"
        raise RequestRefused(Refusal.INVALID_FIELD, message, field="stream")
    view = await _begin(request, SilenceKind.SILENCE, body.duration, body.why, server=body.server, pattern=body.stream)
    return _reply(wire(view), status=201)


async def delete_silence(request: web.Request) -> web.Response:
    """End a silence or a pause."""
    require_json(request)
    body = decode_json(await _body(request), _end_decoder, END_MENDS)
    if not await _end(request, request.match_info["silence_id"], body.why):
        raise RequestRefused(Refusal.UNKNOWN_SILENCE, "no pause or silence in force has this id")
    return web.Response(status=204)


async def end_from_page(request: web.Request) -> web.Response:
    """End a pause or silence from the banner's form."""
    form = decode_form(request, await _body(request))
    if not await _end(request, request.match_info["silence_id"], form.get("why", "")):
        raise RequestRefused(Refusal.UNKNOWN_SILENCE, "It has ended already.")
    return web.Response(status=303, headers={"Location": "/"})


async def _begin(
    request: web.Request, kind: SilenceKind, duration: str, why: str, *, server: str | None, pattern: str | None
) -> SilenceView:
    quiet = request.app[keys.QUIET]
    why = actions.checked_why(why)
    try:
        duration_s = parse_duration_s(duration)
    except ValueError:
        duration_s = 0.0
    if not 0.0 < duration_s <= quiet.longest_s:
        message = f"for is nothing up to {format_duration(quiet.longest_s)}: {_FOR_MEND}"
        raise RequestRefused(Refusal.INVALID_FIELD, message, field="for")
    if server is not None and server not in {one.name for one in request.app[keys.DAEMON].servers()}:
        raise RequestRefused(Refusal.UNKNOWN_SERVER, "no server of this name is configured", field="server")
    if pattern is not None:
        pattern = clean_text(pattern, field="stream", min_characters=1, max_characters=200, mend=_PATTERN_MEND)
    until = request.app[keys.CLOCK].now() + timedelta(seconds=duration_s)
    return await quiet.begin(
        kind, server=server, pattern=pattern, until=until, owner=request[keys.PRINCIPAL].shown, reason=why
    )


async def _end(request: web.Request, silence_id: str, why: str) -> bool:
    why = actions.checked_why(why)
    return await request.app[keys.QUIET].end(silence_id, by=request[keys.PRINCIPAL].shown, why=why)


async def _body(request: web.Request) -> bytes:
    return await read_body(request, request.app[keys.SETTINGS].max_body_bytes)


def _reply(value: msgspec.Struct, *, status: int = 200) -> web.Response:
    return web.Response(body=_encoder.encode(value), status=status, content_type="application/json")


ROUTES = (
    Route("GET", "/api/v1/silences", get_silences, Area.API, Role.VIEWER),
    Route("POST", "/api/v1/silences", post_silence, Area.API, Role.RESPONDER),
    Route("DELETE", "/api/v1/silences/{silence_id}", delete_silence, Area.API, Role.RESPONDER),
    Route("POST", "/api/v1/pause", post_pause, Area.API, Role.ADMIN),
    Route("DELETE", "/api/v1/pause", delete_pause, Area.API, Role.RESPONDER),
    Route("POST", "/silences/{silence_id}/end", end_from_page, Area.PAGE, Role.RESPONDER),
)
