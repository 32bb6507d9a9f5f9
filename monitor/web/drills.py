"""Drills: the API that begins one. What follows is an incident like others, marked as an exercise."""

from __future__ import annotations

import msgspec
from aiohttp import web

from monitor.vocabulary import Severity
from monitor.web import keys
from monitor.web.body import decode_json, read_body, require_json
from monitor.web.keys import Area, Route
from monitor.web.people_port import DrillOutcome
from monitor.web.refusals import Refusal, RequestRefused
from monitor.web.settings import Role

DRILL_MENDS = {
    "stream_id": "write the id of a live stream",
    "protocol": "write the name of a protocol, or leave it out for the one in force",
    "severity": "write act or review",
}
_SEVERITIES = {severity.word: severity for severity in (Severity.REVIEW, Severity.ACT)}


class DrillBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Body that begins a drill."""

    stream_id: str
    protocol: str | None = None
    severity: str = "act"


class Begun(msgspec.Struct, frozen=True):
    """The incident that the drill is."""

    incident_id: str


_decoder = msgspec.json.Decoder(DrillBody)
_encoder = msgspec.json.Encoder()


async def post_drill(request: web.Request) -> web.Response:
    """Begin a drill on a live stream."""
    require_json(request)
    raw = await read_body(request, request.app[keys.SETTINGS].max_body_bytes)
    body = decode_json(raw, _decoder, DRILL_MENDS)
    severity = _SEVERITIES.get(body.severity)
    if severity is None:
        message = f"severity is neither: {DRILL_MENDS['severity']}"
        raise RequestRefused(Refusal.INVALID_FIELD, message, field="severity")
    ref = request.app[keys.DAEMON].ref_of(body.stream_id)
    drills = request.app.get(keys.DRILLS)
    if ref is None or drills is None:
        raise RequestRefused(Refusal.UNKNOWN_STREAM, "no live stream has this id", field="stream_id")
    by = request[keys.PRINCIPAL].name
    result = await drills.begin(ref, protocol=body.protocol, severity=severity, by=by)
    match result.outcome:
        case DrillOutcome.BEGUN:
            return web.Response(
                body=_encoder.encode(Begun(result.incident_id)), status=201, content_type="application/json"
            )
        case DrillOutcome.UNKNOWN_STREAM:
            raise RequestRefused(Refusal.UNKNOWN_STREAM, "no live stream has this id", field="stream_id")
        case DrillOutcome.UNKNOWN_PROTOCOL:
            message = "there is no such protocol, or the stream's media server cannot carry it out"
            raise RequestRefused(Refusal.INVALID_FIELD, message, field="protocol")
        case DrillOutcome.UNDER_WAY:
            raise RequestRefused(Refusal.DRILL_UNDER_WAY, "a drill is under way on this stream: dismiss it first")
        case DrillOutcome.NOTHING_HAPPENS:
            message = f"the protocol does nothing about a detection at {body.severity}"
            raise RequestRefused(Refusal.INVALID_FIELD, message, field="severity")


ROUTES = (Route("POST", "/api/v1/drills", post_drill, Area.API, Role.ADMIN),)
