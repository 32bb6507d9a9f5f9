"""Where handlers find what they need: typed keys of the application and of a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web

from monitor.clock import Clock
from monitor.web.acknowledge_port import AcknowledgeService
from monitor.web.auth import Authenticator, Principal
from monitor.web.deliveries_port import DeliveryService
from monitor.web.enforcement_port import ReportService, StrikeService
from monitor.web.history import History
from monitor.web.live import LiveFeed
from monitor.web.overview import Overview
from monitor.web.partners_port import PartnerService
from monitor.web.people_port import DrillService, QuietService
from monitor.web.port import BlockService, DaemonView, GateService, IncidentService
from monitor.web.settings import Role, WebSettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Area(StrEnum):
    """Which kind of client a route is for: decides how a refusal is worded and how requests are counted."""

    API = "api"
    PAGE = "page"
    GATE = "gate"
    HEALTH = "health"


@dataclass(frozen=True, slots=True)
class Route:
    """One route. `access` is the least role that may use it; None lets everybody in."""

    method: str
    path: str
    handler: Handler
    area: Area
    access: Role | None


SETTINGS = web.AppKey("settings", WebSettings)
CLOCK = web.AppKey("clock", Clock)
AUTHENTICATOR = web.AppKey("authenticator", Authenticator)
DAEMON = web.AppKey("daemon", DaemonView)
INCIDENTS = web.AppKey("incidents", IncidentService)
BLOCKS = web.AppKey("blocks", BlockService)
DRILLS = web.AppKey("drills", DrillService)
QUIET = web.AppKey("quiet", QuietService)
GATE = web.AppKey("gate", GateService)
STRIKES = web.AppKey("strikes", StrikeService)
REPORTS = web.AppKey("reports", ReportService)
ACKNOWLEDGEMENTS = web.AppKey("acknowledgements", AcknowledgeService)
DELIVERIES = web.AppKey("deliveries", DeliveryService)
PARTNERS = web.AppKey("partners", PartnerService)
LIVE = web.AppKey("live", LiveFeed)
OVERVIEW = web.AppKey("overview", Overview)
HISTORY = web.AppKey("history", History)
ROUTES = web.AppKey("routes", dict[tuple[str, str], Route])

PRINCIPAL = web.RequestKey("principal", Principal)


def route_of(request: web.Request) -> Route | None:
    """Return the route that this request matched, or None for an unknown path or method."""
    resource = request.match_info.route.resource
    if resource is None:
        return None
    method = "GET" if request.method == "HEAD" else request.method
    return request.app[ROUTES].get((method, resource.canonical))
