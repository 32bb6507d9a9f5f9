"""The page for responders: rendered on the server, readable without scripts, refreshed by a small one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp_jinja2
import jinja2
import structlog
from aiohttp import web

import monitor
from monitor.vocabulary import Freshness, ReviewReason, Severity
from monitor.web import actions, keys, wording
from monitor.web.auth import SESSION_COOKIE, SESSION_S, Principal
from monitor.web.body import decode_form, read_body
from monitor.web.display import displayable, displayable_lines
from monitor.web.keys import Area, Route
from monitor.web.overview import Rendered
from monitor.web.partners_port import PartnerAlertView
from monitor.web.port import IncidentDetail, StreamView
from monitor.web.refusals import Refusal, RequestRefused
from monitor.web.settings import Role

_log = structlog.get_logger()

_HERE = Path(__file__).parent
_MOST_WARNINGS = 5
_STATIC_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_STATIC = {
    path.name: (path.read_bytes(), _STATIC_TYPES[path.suffix])
    for path in (_HERE / "static").iterdir()
    if path.suffix in _STATIC_TYPES
}


def set_up_templates(app: web.Application) -> None:
    """Give `app` the templates: escaping always on, undefined names are errors."""
    environment = aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        shown=displayable,
        shown_lines=displayable_lines,
        moment=wording.moment,
        day_moment=wording.day_moment,
        iso=wording.iso,
        span=wording.span,
        size=wording.size,
        words=wording.words,
        percent=wording.percent,
        path=lambda text: quote(text, safe=""),
    )
    environment.globals.update(
        Severity=Severity,
        Freshness=Freshness,
        ReviewReason=ReviewReason,
        Role=Role,
        version=monitor.__version__,
        why_min=actions.WHY_MIN_CHARACTERS,
        why_max=actions.WHY_MAX_CHARACTERS,
    )


def render(
    request: web.Request,
    template: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
    principal: Principal | None = None,
) -> web.Response:
    """Render a template with what every page shows."""
    daemon = request.app[keys.DAEMON]
    now = request.app[keys.CLOCK].now()
    common = {
        "daemon": daemon,
        "now": now,
        "principal": principal or request.get(keys.PRINCIPAL),
        "is_open": request.app[keys.AUTHENTICATOR].is_open,
        "silences": request.app[keys.QUIET].silences(),
        "warnings": _warnings(request),
    }
    text = aiohttp_jinja2.render_string(template, request, {**common, **context})
    return web.Response(text=text, status=status, content_type="text/html")


def _warnings(request: web.Request) -> list[PartnerAlertView]:
    """Return what partners warn of now."""
    partners = request.app.get(keys.PARTNERS)
    return (
        [] if partners is None else [alert for alert in partners.alerts() if alert.state == "standing"][:_MOST_WARNINGS]
    )


def error_page(request: web.Request, refused: RequestRefused) -> web.Response:
    """Return a page that says what went wrong and how to go on."""
    return render(request, "error.html", {"refused": refused}, status=refused.status)


def login_redirect(request: web.Request) -> web.Response:
    """Send somebody who is not signed in to the form, and back afterwards."""
    return web.Response(status=303, headers={"Location": f"/login?next={quote(request.path, safe='/')}"})


async def overview(request: web.Request) -> web.Response:
    """Show everything at a glance: what needs a decision, open incidents, streams, servers."""
    return render(request, "overview.html", {"overview": await _overview(request)})


async def overview_fragment(request: web.Request) -> web.Response:
    """Return the part of the overview that the script swaps in."""
    return web.Response(text=(await _overview(request)).html, content_type="text/html")


async def _overview(request: web.Request) -> Rendered:
    return await request.app[keys.OVERVIEW].current(aiohttp_jinja2.get_env(request.app))


async def incident(request: web.Request) -> web.Response:
    """Show one incident: what happened, what was done, who was told, and the form to decide."""
    return await _incident_page(request, "incident.html")


async def incident_fragment(request: web.Request) -> web.Response:
    """Return the parts of the incident page around the form."""
    return await _incident_page(request, "incident_live.html")


async def _incident_page(
    request: web.Request,
    template: str,
    *,
    refused: RequestRefused | None = None,
    why: str = "",
    reason: str = ReviewReason.OTHER.value,
) -> web.Response:
    revision = request.app[keys.DAEMON].revision
    detail = await request.app[keys.INCIDENTS].incident(request.match_info["incident_id"])
    if detail is None:
        raise RequestRefused(Refusal.UNKNOWN_INCIDENT, "There is no incident with this id.")
    context = {
        "revision": revision,
        "detail": detail,
        "incident": detail.summary,
        "stream": _stream_of(request, detail),
        "refused": refused,
        "why": why,
        "reason": reason,
    }
    return render(request, template, context, status=200 if refused is None else refused.status)


def _stream_of(request: web.Request, detail: IncidentDetail) -> StreamView | None:
    wanted = detail.summary.stream_id
    return next((stream for stream in request.app[keys.DAEMON].streams() if stream.stream_id == wanted), None)


async def review(request: web.Request) -> web.Response:
    """Take a decision from the form; a refused one shows the page again with what was written."""
    form = decode_form(request, await read_body(request, request.app[keys.SETTINGS].max_body_bytes))
    incident_id, why = request.match_info["incident_id"], form.get("why", "")
    reason = form.get("reason") or ReviewReason.OTHER.value
    try:
        await actions.review(request, incident_id, form.get("decision", ""), why, reason=reason)
    except RequestRefused as refused:
        if refused.refusal is Refusal.UNKNOWN_INCIDENT:
            raise
        return await _incident_page(request, "incident.html", refused=refused, why=why, reason=reason)
    return _see(f"/incidents/{quote(incident_id, safe='')}")


async def blocks(request: web.Request) -> web.Response:
    """Show who may not publish."""
    return await _blocks_page(request)


async def _blocks_page(request: web.Request, refused: RequestRefused | None = None) -> web.Response:
    context = {"blocks": await request.app[keys.BLOCKS].blocks(), "refused": refused}
    return render(request, "blocks.html", context, status=200 if refused is None else refused.status)


async def unblock(request: web.Request) -> web.Response:
    """Lift a block from the form."""
    form = decode_form(request, await read_body(request, request.app[keys.SETTINGS].max_body_bytes))
    try:
        await actions.unblock(request, request.match_info["stream_id"], form.get("why", ""))
    except RequestRefused as refused:
        return await _blocks_page(request, refused)
    return _see("/blocks")


async def login_form(request: web.Request) -> web.Response:
    """Ask for a token."""
    if request.app[keys.AUTHENTICATOR].is_open:
        return _see("/")
    return render(request, "login.html", {"next": _own_path(request.query.get("next")), "wrong": False})


async def login(request: web.Request) -> web.Response:
    """Exchange a token for a session cookie."""
    authenticator = request.app[keys.AUTHENTICATOR]
    form = decode_form(request, await read_body(request, request.app[keys.SETTINGS].max_body_bytes))
    target = _own_path(form.get("next"))
    token = authenticator.recognise(form.get("token", "").strip())
    if token is None:
        _log.warning("sign_in_refused")
        return render(request, "login.html", {"next": target, "wrong": True}, status=401)
    _log.info("signed_in", name=token.name, role=token.role.word)
    response = _see(target)
    # A proxy that ends TLS can only make the cookie stricter by this header.
    secure = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
    response.set_cookie(
        SESSION_COOKIE,
        authenticator.open_session(token),
        max_age=int(SESSION_S),
        path="/",
        httponly=True,
        samesite="Strict",
        secure=secure,
    )
    return response


async def logout(request: web.Request) -> web.Response:
    """End the session."""
    request.app[keys.AUTHENTICATOR].close_session(request)
    response = _see("/login")
    response.del_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="Strict")
    return response


def _own_path(text: str | None) -> str:
    """Return `text` if it is a path on this site, else ``/``: no redirect leads elsewhere."""
    if text is None or not text.startswith("/") or text[1:2] in ("/", "\\") or not text.isprintable():
        return "/"
    return text


def _see(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path})


async def events(request: web.Request) -> web.StreamResponse:
    """Tell the page when something changed."""
    return await request.app[keys.LIVE].stream(request)


async def static(request: web.Request) -> web.Response:
    """Serve the style sheet, the script and the icon from memory."""
    found = _STATIC.get(request.match_info["file"])
    if found is None:
        raise RequestRefused(Refusal.NOT_FOUND, "There is no such file.")
    body, content_type = found
    return web.Response(
        body=body, content_type=content_type, charset="utf-8", headers={"Cache-Control": "public, max-age=300"}
    )


ROUTES = (
    Route("GET", "/", overview, Area.PAGE, Role.VIEWER),
    Route("GET", "/fragments/overview", overview_fragment, Area.PAGE, Role.VIEWER),
    Route("GET", "/incidents/{incident_id}", incident, Area.PAGE, Role.VIEWER),
    Route("GET", "/fragments/incidents/{incident_id}", incident_fragment, Area.PAGE, Role.VIEWER),
    Route("POST", "/incidents/{incident_id}/review", review, Area.PAGE, Role.RESPONDER),
    Route("GET", "/blocks", blocks, Area.PAGE, Role.VIEWER),
    Route("POST", "/blocks/{stream_id}/remove", unblock, Area.PAGE, Role.ADMIN),
    Route("GET", "/events", events, Area.PAGE, Role.VIEWER),
    Route("GET", "/login", login_form, Area.PAGE, None),
    Route("POST", "/login", login, Area.PAGE, None),
    Route("POST", "/logout", logout, Area.PAGE, None),
    Route("GET", "/static/{file}", static, Area.PAGE, None),
)
