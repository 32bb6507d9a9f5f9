"""The status page: for those who have no dashboard, the same rows with small charts of the last hour, drawn here."""

from __future__ import annotations

import aiohttp_jinja2
from aiohttp import web

from monitor.web import keys
from monitor.web.keys import Area, Route
from monitor.web.pages import render
from monitor.web.settings import Role


async def status(request: web.Request) -> web.Response:
    """Show whether all is well, and how the last hour was."""
    content = await request.app[keys.HISTORY].current(aiohttp_jinja2.get_env(request.app))
    return render(request, "status.html", {"content": content})


async def status_fragment(request: web.Request) -> web.Response:
    """Return the part of the page that the script swaps in."""
    content = await request.app[keys.HISTORY].current(aiohttp_jinja2.get_env(request.app))
    return web.Response(text=content, content_type="text/html")


ROUTES = (
    Route("GET", "/status", status, Area.PAGE, Role.VIEWER),
    Route("GET", "/fragments/status", status_fragment, Area.PAGE, Role.VIEWER),
)
