"""Alerts on their way to receivers: API and page. Dead letters are seen here, replayed and discarded."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import structlog
from aiohttp import web

from monitor.web import actions, keys
from monitor.web.body import decode_form, decode_json, read_body, require_json
from monitor.web.deliveries_port import DeliveryService, OutgoingView, ReceiverView, Shown
from monitor.web.keys import Area, Route
from monitor.web.pages import render
from monitor.web.refusals import Refusal, RequestRefused
from monitor.web.replies import json_reply
from monitor.web.settings import Role

DEFAULT_LIMIT = 100
MAX_LIMIT = 500
MAX_IDS = 500
_ON_PAGE = 50

_CHOICE_MEND = f"write one of ids (a list of at most {MAX_IDS}), receiver, or all: true"
CHOICE_MENDS = {
    "ids": _CHOICE_MEND,
    "receiver": _CHOICE_MEND,
    "all": _CHOICE_MEND,
    "why": actions.WHY_MEND,
}

_log = structlog.get_logger()


class ChoiceBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Body that replays or discards: some alerts, all dead letters of a receiver, or all there are."""

    why: str
    ids: list[str] | None = None
    receiver: str | None = None
    all: bool = False


class WhyBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Body that enables a receiver."""

    why: str


class WireReceiver(msgspec.Struct, frozen=True):
    """Where one receiver stands; docs/api.md describes the fields."""

    name: str
    configured: bool
    pending: int
    delivered: int
    dead_letters: int
    oldest_at: datetime | None
    disabled_at: datetime | None


class Receivers(msgspec.Struct, frozen=True):
    """All of them."""

    receivers: list[WireReceiver]


class Outgoing(msgspec.Struct, frozen=True):
    """One alert to one receiver; docs/api.md describes the fields."""

    delivery_id: str
    event_id: str
    event_type: str
    incident_id: str | None
    sequence: int
    receiver: str
    priority: str
    status: str
    attempts: int
    created_at: datetime
    next_at: datetime | None
    finished_at: datetime | None
    http_status: int | None
    reason: str


class OutgoingPage(msgspec.Struct, frozen=True):
    """Some of them; `next_after` is null on the last page."""

    deliveries: list[Outgoing]
    next_after: str | None


class OutgoingDetail(msgspec.Struct, frozen=True):
    """One of them with what is sent."""

    delivery: Outgoing
    event: Any


class Changed(msgspec.Struct, frozen=True):
    """How many alerts were replayed or discarded."""

    changed: int


_choice_decoder = msgspec.json.Decoder(ChoiceBody)
_why_decoder = msgspec.json.Decoder(WhyBody)


async def get_receivers(request: web.Request) -> web.Response:
    """List receivers, and where they stand."""
    return json_reply(Receivers([_receiver(view) for view in await _service(request).receivers()]))


async def post_enable(request: web.Request) -> web.Response:
    """Send a receiver alerts again."""
    require_json(request)
    body = decode_json(await _body(request), _why_decoder, {"why": actions.WHY_MEND})
    await _enable(request, body.why)
    return web.Response(status=204)


async def get_deliveries(request: web.Request) -> web.Response:
    """List alerts, newest first, in pages."""
    try:
        shown = Shown(request.query.get("show", Shown.DEAD_LETTERS))
    except ValueError:
        message = f"show is none of {', '.join(Shown)}: write one, or leave it out for dead_letters"
        raise RequestRefused(Refusal.INVALID_FIELD, message, field="show") from None
    text = request.query.get("limit", str(DEFAULT_LIMIT))
    # Only ASCII digits: int() would also take "1_0", " 7" and other scripts' digits.
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MAX_LIMIT):
        message = f"limit is no number from 1 to {MAX_LIMIT}: write one, or leave it out for {DEFAULT_LIMIT}"
        raise RequestRefused(Refusal.INVALID_FIELD, message, field="limit")
    found = await _service(request).deliveries(
        shown, receiver=request.query.get("receiver"), after=request.query.get("after"), limit=int(text)
    )
    next_after = found[-1].delivery_id if len(found) == int(text) else None
    return json_reply(OutgoingPage([_outgoing(view) for view in found], next_after))


async def get_delivery(request: web.Request) -> web.Response:
    """Give one alert with what is sent."""
    view = await _service(request).delivery(request.match_info["delivery_id"])
    if view is None:
        raise RequestRefused(Refusal.UNKNOWN_DELIVERY, "there is no alert with this id")
    return json_reply(OutgoingDetail(_outgoing(view), msgspec.Raw(view.body)))


async def post_replay(request: web.Request) -> web.Response:
    """Send dead letters again."""
    body = await _choice(request)
    return json_reply(Changed(await _replay(request, body)))


async def post_discard(request: web.Request) -> web.Response:
    """Give up dead letters for good."""
    body = await _choice(request)
    return json_reply(Changed(await _discard(request, body)))


async def page(request: web.Request) -> web.Response:
    """Show receivers and their dead letters."""
    return await _page(request)


async def enable_from_page(request: web.Request) -> web.Response:
    """Enable a receiver from the form."""
    form = decode_form(request, await _body(request))
    return await _from_page(request, _enable(request, form.get("why", "")))


async def replay_from_page(request: web.Request) -> web.Response:
    """Replay one dead letter, or all of a receiver, from a form."""
    return await _from_page(request, _replay(request, await _form_choice(request)))


async def discard_from_page(request: web.Request) -> web.Response:
    """Discard one dead letter, or all of a receiver, from a form."""
    return await _from_page(request, _discard(request, await _form_choice(request)))


async def _page(request: web.Request, refused: RequestRefused | None = None) -> web.Response:
    service = _service(request)
    context = {
        "receivers": await service.receivers(),
        "letters": await service.deliveries(Shown.DEAD_LETTERS, receiver=None, after=None, limit=_ON_PAGE),
        "waiting": await service.deliveries(Shown.PENDING, receiver=None, after=None, limit=_ON_PAGE),
        "refused": refused,
    }
    return render(request, "deliveries.html", context, status=200 if refused is None else refused.status)


async def _from_page(request: web.Request, work: Any) -> web.Response:
    try:
        await work
    except RequestRefused as refused:
        return await _page(request, refused)
    return web.Response(status=303, headers={"Location": "/deliveries"})


async def _form_choice(request: web.Request) -> ChoiceBody:
    form = decode_form(request, await _body(request))
    delivery_id, receiver = form.get("id"), form.get("receiver")
    return ChoiceBody(why=form.get("why", ""), ids=None if delivery_id is None else [delivery_id], receiver=receiver)


async def _choice(request: web.Request) -> ChoiceBody:
    require_json(request)
    return decode_json(await _body(request), _choice_decoder, CHOICE_MENDS)


def _checked(body: ChoiceBody) -> str:
    why = actions.checked_why(body.why)
    if [body.ids is not None, body.receiver is not None, body.all].count(True) != 1:
        raise RequestRefused(Refusal.INVALID_FIELD, f"it is not clear which alerts: {_CHOICE_MEND}", field="ids")
    if body.ids is not None and not 1 <= len(body.ids) <= MAX_IDS:
        raise RequestRefused(Refusal.INVALID_FIELD, f"ids has {len(body.ids)} entries: {_CHOICE_MEND}", field="ids")
    return why


async def _replay(request: web.Request, body: ChoiceBody) -> int:
    why, by = _checked(body), request[keys.PRINCIPAL].shown
    return await _service(request).replay(body.ids, body.receiver, by=by, why=why)


async def _discard(request: web.Request, body: ChoiceBody) -> int:
    why, by = _checked(body), request[keys.PRINCIPAL].shown
    return await _service(request).discard(body.ids, body.receiver, by=by, why=why)


async def _enable(request: web.Request, why: str) -> None:
    why, by = actions.checked_why(why), request[keys.PRINCIPAL].shown
    if not await _service(request).enable(request.match_info["receiver"], by=by, why=why):
        raise RequestRefused(Refusal.NOT_DISABLED, "no receiver of this name is disabled: see GET /api/v1/receivers")


def _receiver(view: ReceiverView) -> WireReceiver:
    return WireReceiver(
        view.name,
        view.configured,
        view.pending,
        view.delivered,
        view.dead_letters,
        view.oldest_at,
        view.disabled_at,
    )


def _outgoing(view: OutgoingView) -> Outgoing:
    return Outgoing(
        delivery_id=view.delivery_id,
        event_id=view.event_id,
        event_type=view.event_type,
        incident_id=view.incident_id,
        sequence=view.sequence,
        receiver=view.receiver,
        priority=view.priority,
        status=view.status.value,
        attempts=view.attempts,
        created_at=view.created_at,
        next_at=view.next_at,
        finished_at=view.finished_at,
        http_status=view.http_status,
        reason=view.reason,
    )


def _service(request: web.Request) -> DeliveryService:
    service = request.app.get(keys.DELIVERIES)
    if service is None:
        raise RequestRefused(Refusal.NOT_FOUND, "this daemon delivers no alerts")
    return service


async def _body(request: web.Request) -> bytes:
    return await read_body(request, request.app[keys.SETTINGS].max_body_bytes)


ROUTES = (
    Route("GET", "/api/v1/receivers", get_receivers, Area.API, Role.VIEWER),
    Route("POST", "/api/v1/receivers/{receiver}/enable", post_enable, Area.API, Role.ADMIN),
    Route("GET", "/api/v1/deliveries", get_deliveries, Area.API, Role.VIEWER),
    Route("GET", "/api/v1/deliveries/{delivery_id}", get_delivery, Area.API, Role.VIEWER),
    Route("POST", "/api/v1/deliveries/replay", post_replay, Area.API, Role.RESPONDER),
    Route("POST", "/api/v1/deliveries/discard", post_discard, Area.API, Role.ADMIN),
    Route("GET", "/deliveries", page, Area.PAGE, Role.VIEWER),
    Route("POST", "/deliveries/replay", replay_from_page, Area.PAGE, Role.RESPONDER),
    Route("POST", "/deliveries/discard", discard_from_page, Area.PAGE, Role.ADMIN),
    Route("POST", "/receivers/{receiver}/enable", enable_from_page, Area.PAGE, Role.ADMIN),
)
