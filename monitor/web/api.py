"""API v1: the same facts and actions as the page, as JSON."""

from __future__ import annotations

import msgspec
from aiohttp import web

import monitor
from monitor.vocabulary import StreamRef
from monitor.web import actions, enforcement, keys, wire
from monitor.web.body import clean_text, decode_json, read_body, require_json
from monitor.web.keys import Area, Route
from monitor.web.order import by_urgency
from monitor.web.port import ReviewOutcome
from monitor.web.refusals import Refusal, RequestRefused
from monitor.web.replies import json_reply
from monitor.web.settings import Role

DEFAULT_LIMIT = 50
MAX_LIMIT = 500

_review_decoder = msgspec.json.Decoder(wire.ReviewBody)
_block_decoder = msgspec.json.Decoder(wire.BlockBody)
_unblock_decoder = msgspec.json.Decoder(wire.UnblockBody)


def error_reply(refused: RequestRefused) -> web.Response:
    """Return the one shape of all errors: ``{"error": {"reason", "message", "field"?, "review"?, …}}``."""
    review = refused.review if isinstance(refused, actions.ReviewRefused) else None
    body = wire.ErrorBody(
        reason=refused.reason,
        message=refused.message,
        field=refused.field,
        review=None if review is None else wire.review(review),
        state=refused.state if isinstance(refused, actions.ReviewRefused) else None,
        happened=wire.happened(refused.standing) if isinstance(refused, actions.ReviewRefused) else (),
        undo=wire.undo(refused.standing) if isinstance(refused, actions.ReviewRefused) else (),
    )
    return json_reply(wire.Error(body), status=refused.status)


async def get_session(request: web.Request) -> web.Response:
    """Say who is asking."""
    principal = request[keys.PRINCIPAL]
    return json_reply(wire.Session(name=principal.name, role=principal.role.word))


async def get_status(request: web.Request) -> web.Response:
    """Say what the daemon runs and whether it is ready."""
    daemon = request.app[keys.DAEMON]
    checks = daemon.ready()
    return json_reply(
        wire.Status(
            version=monitor.__version__,
            model=daemon.model,
            dry_run=daemon.dry_run,
            ready=all(check.ok for check in checks),
            checks=[wire.check(check) for check in checks],
            servers=[wire.server(server) for server in daemon.servers()],
        )
    )


async def get_streams(request: web.Request) -> web.Response:
    """List live streams, most urgent first; with `top`, so many of them."""
    streams = by_urgency(request.app[keys.DAEMON].streams())
    if "top" in request.query:
        streams = streams[: _number(request, "top", len(streams))]
    return json_reply(wire.Streams([wire.stream(stream) for stream in streams]))


async def get_incidents(request: web.Request) -> web.Response:
    """List incidents, newest first, in pages."""
    limit = _number(request, "limit", DEFAULT_LIMIT)
    after = request.query.get("after")
    incidents = await request.app[keys.INCIDENTS].incidents(limit=limit, open_only=_open_only(request), after=after)
    next_after = incidents[-1].incident_id if len(incidents) == limit else None
    return json_reply(wire.Incidents([wire.incident(incident) for incident in incidents], next_after))


async def get_incident(request: web.Request) -> web.Response:
    """Give one incident with its history."""
    detail = await request.app[keys.INCIDENTS].incident(request.match_info["incident_id"])
    if detail is None:
        raise RequestRefused(Refusal.UNKNOWN_INCIDENT, "there is no incident with this id")
    return json_reply(wire.history(detail))


async def post_review(request: web.Request) -> web.Response:
    """Take a decision."""
    require_json(request)
    raw = await read_body(request, request.app[keys.SETTINGS].max_body_bytes)
    body = decode_json(raw, _review_decoder, actions.REVIEW_MENDS)
    incident_id = request.match_info["incident_id"]
    result = await actions.review(request, incident_id, body.decision, body.why, by=body.by, reason=body.reason)
    review = None if result.review is None else wire.review(result.review)
    reply = wire.Reviewed(incident_id, result.state, review, result.confirmed_by, result.people)
    # 202: it is recorded, and does not count before others confirm as well.
    return json_reply(reply, status=202 if result.outcome is ReviewOutcome.NOTED else 200)


async def get_blocks(request: web.Request) -> web.Response:
    """List the blocks in force."""
    return json_reply(wire.Blocks([wire.block(block) for block in await request.app[keys.BLOCKS].blocks()]))


async def post_block(request: web.Request) -> web.Response:
    """Block a publisher."""
    require_json(request)
    raw = await read_body(request, request.app[keys.SETTINGS].max_body_bytes)
    body = decode_json(raw, _block_decoder, actions.BLOCK_MENDS)
    view = await actions.block(request, _ref(request, body), body.duration, body.why)
    return json_reply(wire.block(view), status=201)


async def delete_block(request: web.Request) -> web.Response:
    """Lift a block."""
    require_json(request)
    raw = await read_body(request, request.app[keys.SETTINGS].max_body_bytes)
    body = decode_json(raw, _unblock_decoder, actions.UNBLOCK_MENDS)
    await actions.unblock(request, request.match_info["stream_id"], body.why)
    return web.Response(status=204)


def _ref(request: web.Request, body: wire.BlockBody) -> StreamRef:
    named = {"server": body.server, "app": body.app, "name": body.name}
    if body.stream_id is not None:
        if any(value is not None for value in named.values()):
            message = "say stream_id, or server, app and name, not both"
            raise RequestRefused(Refusal.INVALID_FIELD, message, field="stream_id")
        ref = request.app[keys.DAEMON].ref_of(body.stream_id)
        if ref is None:
            raise RequestRefused(Refusal.UNKNOWN_STREAM, "no live stream has this id", field="stream_id")
        return ref
    texts = {}
    for field, value in named.items():
        if value is None:
            message = f"{field} is missing: {actions.BLOCK_MENDS[field]}"
            raise RequestRefused(Refusal.INVALID_FIELD, message, field=field)
        # An application may be empty on servers that have none.
        least = 0 if field == "app" else 1
        mend = actions.BLOCK_MENDS[field]
        clean_text(value, field=field, min_characters=least, max_characters=500, mend=mend)
        texts[field] = value
    return StreamRef(texts["server"], texts["app"], texts["name"])


def _number(request: web.Request, field: str, default: int) -> int:
    text = request.query.get(field, str(default))
    # Only ASCII digits: int() would also take "1_0", " 7" and other scripts' digits.
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MAX_LIMIT):
        message = f"{field} is no number from 1 to {MAX_LIMIT}: write one, or leave it out for {default}"
        raise RequestRefused(Refusal.INVALID_FIELD, message, field=field)
    return int(text)


def _open_only(request: web.Request) -> bool:
    text = request.query.get("open", "false")
    if text not in ("true", "false"):
        raise RequestRefused(Refusal.INVALID_FIELD, "open is neither: write true or false", field="open")
    return text == "true"


ROUTES = (
    Route("GET", "/api/v1/session", get_session, Area.API, Role.VIEWER),
    Route("GET", "/api/v1/status", get_status, Area.API, Role.VIEWER),
    Route("GET", "/api/v1/streams", get_streams, Area.API, Role.VIEWER),
    Route("GET", "/api/v1/incidents", get_incidents, Area.API, Role.VIEWER),
    Route("GET", "/api/v1/incidents/{incident_id}", get_incident, Area.API, Role.VIEWER),
    Route("POST", "/api/v1/incidents/{incident_id}/review", post_review, Area.API, Role.RESPONDER),
    Route("GET", "/api/v1/blocks", get_blocks, Area.API, Role.VIEWER),
    Route("POST", "/api/v1/blocks", post_block, Area.API, Role.ADMIN),
    Route("DELETE", "/api/v1/blocks/{stream_id}", delete_block, Area.API, Role.ADMIN),
    *enforcement.ROUTES,
)
