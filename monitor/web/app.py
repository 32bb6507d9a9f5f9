"""The aiohttp applications: routes, and what every request passes through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final

import structlog
from aiohttp import web

from monitor import metrics
from monitor.clock import Clock
from monitor.errors import StoreError
from monitor.web import (
    acknowledge,
    api,
    deliveries,
    drills,
    gate,
    health,
    keys,
    pages,
    partners,
    quiet,
    status,
    thresholds,
)
from monitor.web.acknowledge_port import AcknowledgeService
from monitor.web.auth import READ_METHODS, Authenticator, Via, refuse_cross_site
from monitor.web.deliveries_port import DeliveryService
from monitor.web.enforcement_port import ReportService, StrikeService
from monitor.web.history import History
from monitor.web.keys import Area, Route
from monitor.web.live import LiveFeed
from monitor.web.overview import Overview
from monitor.web.partners_port import PartnerService
from monitor.web.people_port import DrillService, QuietService
from monitor.web.port import BlockService, DaemonView, GateService, IncidentService
from monitor.web.refusals import Refusal, RequestRefused
from monitor.web.settings import WebSettings

_log = structlog.get_logger()

_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: browsers would then send "Origin: null" with our own forms, and we could not tell them from others'.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Server": "livecordon",
}

MAIN_ROUTES: Final = (
    *pages.ROUTES,
    *api.ROUTES,
    *thresholds.ROUTES,
    *quiet.ROUTES,
    *drills.ROUTES,
    *deliveries.ROUTES,
    *partners.ROUTES,
    *acknowledge.ROUTES,
    *status.ROUTES,
    *health.ROUTES,
)
"""Page, API, metrics and health."""


def main_app(
    settings: WebSettings,
    *,
    daemon: DaemonView,
    incidents: IncidentService,
    blocks: BlockService,
    quiet_service: QuietService,
    gate_service: GateService,
    clock: Clock,
    drill_service: DrillService | None = None,
    strikes: StrikeService | None = None,
    reports: ReportService | None = None,
    delivery_service: DeliveryService | None = None,
    partner_service: PartnerService | None = None,
    acknowledgements: AcknowledgeService | None = None,
) -> web.Application:
    """Return page, API, metrics and health; and the gate, unless that has an address of its own."""
    routes: Iterable[Route] = MAIN_ROUTES
    if settings.gate_listen is None:
        routes = (*routes, *gate.ROUTES)
    app = _bare_app(settings, routes, daemon=daemon, clock=clock)
    app[keys.INCIDENTS] = incidents
    app[keys.BLOCKS] = blocks
    app[keys.QUIET] = quiet_service
    app[keys.GATE] = gate_service
    if drill_service is not None:
        app[keys.DRILLS] = drill_service
    if strikes is not None:
        app[keys.STRIKES] = strikes
    if reports is not None:
        app[keys.REPORTS] = reports
    if delivery_service is not None:
        app[keys.DELIVERIES] = delivery_service
    if partner_service is not None:
        app[keys.PARTNERS] = partner_service
    if acknowledgements is not None:
        app[keys.ACKNOWLEDGEMENTS] = acknowledgements
    live = app[keys.LIVE] = LiveFeed(daemon)
    app[keys.OVERVIEW] = Overview(daemon, incidents, clock)
    history = app[keys.HISTORY] = History(clock)
    pages.set_up_templates(app)

    async def follow(_: web.Application) -> AsyncIterator[None]:
        async with live.running(), history.running():
            yield

    async def let_go(_: web.Application) -> None:
        live.close()

    app.cleanup_ctx.append(follow)
    app.on_shutdown.append(let_go)
    return app


def gate_app(settings: WebSettings, *, daemon: DaemonView, gate_service: GateService, clock: Clock) -> web.Application:
    """Return the publish gate alone, with probes."""
    probes = (route for route in health.ROUTES if route.access is None)
    app = _bare_app(settings, (*gate.ROUTES, *probes), daemon=daemon, clock=clock)
    app[keys.GATE] = gate_service
    return app


def _bare_app(settings: WebSettings, routes: Iterable[Route], *, daemon: DaemonView, clock: Clock) -> web.Application:
    app = web.Application(client_max_size=settings.max_body_bytes, middlewares=[_answer, _admit])
    app[keys.SETTINGS] = settings
    app[keys.CLOCK] = clock
    app[keys.DAEMON] = daemon
    app[keys.AUTHENTICATOR] = Authenticator(settings.tokens, clock)
    app[health.RENDERING] = asyncio.Lock()
    table = app[keys.ROUTES] = {}
    for route in routes:
        if route.method == "GET":
            added = app.router.add_get(route.path, route.handler, allow_head=route.area is not Area.GATE)
        else:
            added = app.router.add_route(route.method, route.path, route.handler)
        assert added.resource is not None  # noqa: S101 - add_route always makes one
        table[route.method, added.resource.canonical] = route
    app.on_response_prepare.append(_set_headers)
    return app


async def _set_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(SECURITY_HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")


@web.middleware
async def _answer(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Turn every refusal and failure into a reply that its client understands, and count it."""
    area = _area(request)
    try:
        response = await handler(request)
    except RequestRefused as refused:
        response = _refuse(request, area, refused)
    except web.HTTPNotFound:
        response = _refuse(request, area, RequestRefused(Refusal.NOT_FOUND, "There is nothing at this address."))
    except web.HTTPMethodNotAllowed as error:
        wrong_method = RequestRefused(Refusal.METHOD_NOT_ALLOWED, "This address does not take that method.")
        response = _refuse(request, area, wrong_method)
        response.headers["Allow"] = error.headers.get("Allow", "")
    except StoreError as error:
        _log.warning("web_store_failed", area=area.value, reason=error.reason)
        message = "The store does not answer: nothing was changed. Try again; see /readyz?verbose."
        response = _refuse(request, area, RequestRefused(Refusal.STORE_FAILED, message))
    except (web.HTTPException, ConnectionError, asyncio.CancelledError):
        raise
    except Exception:  # noqa: BLE001 - the last resort: logged with its traceback, answered with 500
        route = keys.route_of(request)
        _log.exception("web_request_failed", area=area.value, route=None if route is None else route.path)
        message = "Livecordon failed to answer; the daemon's log says why."
        response = _refuse(request, area, RequestRefused(Refusal.INTERNAL, message))
    metrics.HTTP_REQUESTS.labels(area.value, f"{response.status // 100}xx").inc()
    return response


def _area(request: web.Request) -> Area:
    route = keys.route_of(request)
    if route is not None:
        return route.area
    for area, prefix in ((Area.API, "/api/"), (Area.GATE, "/gate/")):
        if request.path.startswith(prefix):
            return area
    return Area.PAGE if keys.LIVE in request.app else Area.GATE


def _refuse(request: web.Request, area: Area, refused: RequestRefused) -> web.Response:
    if area is Area.API:
        response = api.error_reply(refused)
    elif area is Area.PAGE:
        try:
            response = pages.error_page(request, refused)
        except Exception:  # noqa: BLE001 - an error page that fails must not hide the refusal
            _log.exception("web_error_page_failed")
            response = web.Response(status=refused.status, text=f"{refused.message}\n")
    else:
        response = web.Response(status=refused.status, text=f"{refused.message}\n")
    if refused.refusal is Refusal.UNAUTHENTICATED and area is not Area.GATE:
        response.headers["WWW-Authenticate"] = 'Bearer realm="livecordon"'
    if refused.must_close or area is Area.GATE:
        response.force_close()
    return response


@web.middleware
async def _admit(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Let through who may use the route that was matched."""
    route = keys.route_of(request)
    if route is None or route.area is Area.GATE or (route.area is Area.HEALTH and route.access is None):
        return await handler(request)
    principal = request.app[keys.AUTHENTICATOR].identify(request)
    if request.method not in READ_METHODS and (principal is None or principal.via is not Via.TOKEN):
        # What carries no secret header may have been sent by any page that the browser has open.
        refuse_cross_site(request)
    if principal is not None:
        request[keys.PRINCIPAL] = principal
    if route.access is not None:
        if principal is None:
            if route.area is Area.PAGE and request.method in READ_METHODS and _is_navigation(route):
                return pages.login_redirect(request)
            raise RequestRefused(
                Refusal.UNAUTHENTICATED, "Send a token as Authorization: Bearer, or sign in at /login."
            )
        if principal.role < route.access:
            message = f"{principal.name} is {principal.role.word}; this takes {route.access.word}."
            raise RequestRefused(Refusal.ROLE_TOO_LOW, message)
    return await handler(request)


def _is_navigation(route: Route) -> bool:
    return not route.path.startswith("/fragments/") and route.path != "/events"
