"""Partners: the address to which they send what they know, and what responders see of it."""

from __future__ import annotations

from datetime import datetime

import msgspec
from aiohttp import web

from monitor.web import keys
from monitor.web.body import read_body
from monitor.web.keys import Area, Route
from monitor.web.partners_port import PartnerAlertView, PartnerService
from monitor.web.refusals import Refusal, RequestRefused
from monitor.web.replies import json_reply
from monitor.web.settings import Role

_REFUSALS = {
    "unauthenticated": (Refusal.UNAUTHENTICATED, "no partner of this name has signed this just now"),
    "malformed": (
        Refusal.BAD_JSON,
        "this is none of the events in docs/events.schema.json, or its id is not webhook-id",
    ),
    "too_many": (Refusal.TOO_MANY_EVENTS, "more events than this partner may send in a minute: send it again later"),
}


class PartnerAlert(msgspec.Struct, frozen=True):
    """What a partner said of one of its incidents; docs/api.md describes the fields."""

    partner: str
    incident_id: str
    state: str
    word: str
    severity: str
    label: str
    title: str
    page_link: str | None
    drill: bool
    first_at: datetime
    heard_at: datetime
    watched_until: datetime | None
    streams: list[str]
    acted: list[str]
    disagrees: bool


class PartnerAlerts(msgspec.Struct, frozen=True):
    """All that was heard lately."""

    alerts: list[PartnerAlert]


async def post_event(request: web.Request) -> web.Response:
    """Take one event; its signature is checked before anything is parsed, and stands for a token."""
    body = await read_body(request, request.app[keys.SETTINGS].max_body_bytes)
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers.setdefault(name.lower(), value)
    reply = await _service(request).take(request.match_info["partner"], headers, body)
    if reply.refused:
        refusal, message = _REFUSALS[reply.refused]
        raise RequestRefused(refusal, message)
    return web.Response(status=reply.status, body=reply.body, headers=reply.headers)


async def get_feed(request: web.Request) -> web.Response:
    """Give one page of what a partner was to be told; the signature is over path and query."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    target = request.raw_path.encode("utf-8", "surrogateescape")
    partner, after = request.query.get("partner", ""), request.query.get("after", "")
    reply = await _service(request).feed.page(partner, headers, target, after)
    if reply.refused:
        refusal, message = _REFUSALS[reply.refused]
        raise RequestRefused(refusal, message)
    return web.Response(status=reply.status, body=reply.body, headers=reply.headers)


async def get_alerts(request: web.Request) -> web.Response:
    """List what partners said lately, and what came of it."""
    return json_reply(PartnerAlerts([_wire(view) for view in _service(request).alerts()]))


def _wire(view: PartnerAlertView) -> PartnerAlert:
    return PartnerAlert(
        partner=view.partner,
        incident_id=view.incident_id,
        state=view.state,
        word=view.word,
        severity=view.severity,
        label=view.label,
        title=view.title,
        page_link=view.page_link,
        drill=view.drill,
        first_at=view.first_at,
        heard_at=view.heard_at,
        watched_until=view.watched_until,
        streams=list(view.streams),
        acted=list(view.acted),
        disagrees=view.disagrees,
    )


def _service(request: web.Request) -> PartnerService:
    service = request.app.get(keys.PARTNERS)
    if service is None:
        raise RequestRefused(Refusal.NOT_FOUND, "this daemon has no partners")
    return service


ROUTES = (
    Route("POST", "/api/v1/partners/{partner}/events", post_event, Area.API, None),
    Route("GET", "/api/v1/feed", get_feed, Area.API, None),
    Route("GET", "/api/v1/partners/alerts", get_alerts, Area.API, Role.VIEWER),
)
