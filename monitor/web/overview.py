"""The overview, rendered once for all who look at it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup

from monitor.clock import Clock
from monitor.errors import StoreError
from monitor.vocabulary import Freshness
from monitor.web.order import by_urgency
from monitor.web.port import DaemonView, IncidentService

MAX_AGE_S = 1.0
"""Ages on the page are whole seconds; changes make it new at once."""
MAX_OPEN_SHOWN = 100
MAX_CLOSED_SHOWN = 15
MAX_STREAMS_SHOWN = 200
"""Rendering takes some 0.06 ms a stream (measured), and nobody reads further down."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """The overview's HTML, which is the same for everybody, and how many incidents await a decision in it."""

    html: Markup
    awaiting: int
    revision: int
    at_s: float


class Overview:
    """Renders at most once per change and second, however many pages ask, and in a thread."""

    def __init__(self, daemon: DaemonView, incidents: IncidentService, clock: Clock) -> None:
        self._daemon = daemon
        self._incidents = incidents
        self._clock = clock
        self._last: Rendered | None = None
        self._lock = asyncio.Lock()

    async def current(self, environment: jinja2.Environment) -> Rendered:
        """Return the overview as it is now; a store that fails is shown, not raised."""
        async with self._lock:
            last = self._last
            if (
                last is None
                or last.revision != self._daemon.revision
                or self._clock.monotonic_s() - last.at_s >= MAX_AGE_S
            ):
                last = self._last = await self._render(environment)
            return last

    async def _render(self, environment: jinja2.Environment) -> Rendered:
        at_s = self._clock.monotonic_s()
        # First the revision: what changes while the rest is gathered makes the next rendering, not a stale one.
        revision = self._daemon.revision
        context = await self._gather()
        template = environment.get_template("overview_live.html")
        html = await asyncio.to_thread(template.render, {**context, "revision": revision})
        return Rendered(Markup(html), len(context["awaiting"]), revision, at_s)  # noqa: S704 - the template escaped it

    async def _gather(self) -> Mapping[str, Any]:
        streams = by_urgency(self._daemon.streams())
        store_failed = False
        try:
            opened = await self._incidents.incidents(limit=MAX_OPEN_SHOWN, open_only=True)
            recent = await self._incidents.incidents(limit=MAX_OPEN_SHOWN)
        except StoreError:
            # The streams are still worth showing.
            opened, recent, store_failed = (), (), True
        return {
            "now": self._clock.now(),
            "streams": streams[:MAX_STREAMS_SHOWN],
            "streams_total": len(streams),
            "servers": self._daemon.servers(),
            # Those that are neither learnt nor to be learnt stand in the configuration.
            "thresholds": [one for one in self._daemon.thresholds() if one.budget_per_1000_h is not None],
            "failed_checks": [check for check in self._daemon.ready() if not check.ok],
            "blind": [stream for stream in streams if stream.freshness is Freshness.BLIND],
            "awaiting": sorted(
                (incident for incident in opened if incident.reviewable),
                # What somebody saw with their own eyes does not wait behind what a model found.
                key=lambda incident: (
                    not incident.reports,
                    incident.review_due is None,
                    incident.review_due or incident.opened_at,
                    -incident.severity,
                ),
            ),
            "open_others": [incident for incident in opened if not incident.reviewable],
            "closed": [incident for incident in recent if incident.closed_at is not None][:MAX_CLOSED_SHOWN],
            "store_failed": store_failed,
        }
