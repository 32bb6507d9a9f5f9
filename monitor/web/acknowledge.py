"""Saying that somebody is on an incident: API, form, signed links, and PagerDuty's webhook."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote

import msgspec
from aiohttp import web

from monitor.web import keys
from monitor.web.acknowledge_port import (
    AcknowledgeOutcome,
    AcknowledgeResult,
    AcknowledgeService,
    AcknowledgeWay,
    LinkClaim,
    PagerDutySaid,
)
from monitor.web.body import decode_form, decode_json, read_body, require_json
from monitor.web.display import displayable
from monitor.web.keys import Area, Route
from monitor.web.pages import render
from monitor.web.refusals import Refusal, RequestRefused
from monitor.web.replies import json_reply
from monitor.web.settings import Role

SIGNATURE_HEADER = "X-PagerDuty-Signature"


class AcknowledgeBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Body that acknowledges: an empty object."""


class Acknowledged(msgspec.Struct, frozen=True):
    """The acknowledgement that stands; `first` is false where somebody else had been faster."""

    incident_id: str
    by: str
    at: datetime | None
    first: bool


class Heard(msgspec.Struct, frozen=True):
    """What became of a webhook."""

    outcome: str


_decoder = msgspec.json.Decoder(AcknowledgeBody)


async def post_acknowledge(request: web.Request) -> web.Response:
    """Acknowledge an incident."""
    require_json(request)
    decode_json(await read_body(request, request.app[keys.SETTINGS].max_body_bytes) or b"{}", _decoder, {})
    incident_id = request.match_info["incident_id"]
    result = await _acknowledge(request, incident_id, request[keys.PRINCIPAL].shown, AcknowledgeWay.API)
    first = result.outcome is AcknowledgeOutcome.ACCEPTED
    return json_reply(Acknowledged(incident_id, displayable(result.by), result.at, first))


async def from_page(request: web.Request) -> web.Response:
    """Acknowledge from the incident's page."""
    decode_form(request, await read_body(request, request.app[keys.SETTINGS].max_body_bytes))
    incident_id = request.match_info["incident_id"]
    await _acknowledge(request, incident_id, request[keys.PRINCIPAL].shown, AcknowledgeWay.PAGE)
    return web.Response(status=303, headers={"Location": f"/incidents/{quote(incident_id, safe='')}"})


async def link_page(request: web.Request) -> web.Response:
    """Show a button; looking at a link acknowledges nothing, because programs look at links, too."""
    claim = _claim(request)
    return render(request, "acknowledge.html", {"incident_id": claim.incident_id, "result": None})


async def from_link(request: web.Request) -> web.Response:
    """Acknowledge by the button behind a signed link."""
    claim = _claim(request)
    decode_form(request, await read_body(request, request.app[keys.SETTINGS].max_body_bytes))
    result = await _acknowledge(request, claim.incident_id, f"a link sent to {claim.receiver}", AcknowledgeWay.LINK)
    return render(request, "acknowledge.html", {"incident_id": claim.incident_id, "result": result})


async def post_pagerduty(request: web.Request) -> web.Response:
    """Hear from PagerDuty who acknowledged there; whoever cannot sign is refused before anything is read."""
    raw = await read_body(request, request.app[keys.SETTINGS].max_body_bytes)
    signatures = request.headers.get(SIGNATURE_HEADER, "")
    try:
        said = await _service(request).heard_from_pagerduty(request.match_info["receiver"], raw, signatures)
    except ValueError:
        raise RequestRefused(Refusal.BAD_JSON, "the body is no webhook of PagerDuty's (V3)") from None
    if said is PagerDutySaid.NOT_PAGERDUTY:
        raise RequestRefused(Refusal.BAD_SIGNATURE, "no signature of this receiver's webhook secrets is on it")
    return json_reply(Heard(said.value))


async def _acknowledge(request: web.Request, incident_id: str, by: str, way: AcknowledgeWay) -> AcknowledgeResult:
    result = await _service(request).acknowledge(incident_id, by=by, way=way)
    if result.outcome is AcknowledgeOutcome.UNKNOWN:
        raise RequestRefused(Refusal.UNKNOWN_INCIDENT, "there is no incident with this id")
    if result.outcome is AcknowledgeOutcome.CLOSED:
        raise RequestRefused(Refusal.INCIDENT_CLOSED, "the incident is over: there is nothing left to be on")
    return result


def _claim(request: web.Request) -> LinkClaim:
    claim = _service(request).read_link(request.match_info["token"])
    if claim is None:
        message = "This link has expired, or is none of ours. Sign in, and acknowledge on the incident's page."
        raise RequestRefused(Refusal.BAD_LINK, message)
    return claim


def _service(request: web.Request) -> AcknowledgeService:
    service = request.app.get(keys.ACKNOWLEDGEMENTS)
    if service is None:
        raise RequestRefused(Refusal.NOT_FOUND, "There is nothing at this address.")
    return service


ROUTES = (
    Route("POST", "/api/v1/incidents/{incident_id}/acknowledge", post_acknowledge, Area.API, Role.RESPONDER),
    Route("POST", "/api/v1/pagerduty/{receiver}", post_pagerduty, Area.API, None),
    Route("POST", "/incidents/{incident_id}/acknowledge", from_page, Area.PAGE, Role.RESPONDER),
    Route("GET", "/acknowledge/{token}", link_page, Area.PAGE, None),
    Route("POST", "/acknowledge/{token}", from_link, Area.PAGE, None),
)
