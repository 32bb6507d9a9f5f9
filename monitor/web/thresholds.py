# ruff: noqa: D101 - docs/api.md describes every object and field; the names are the same
"""The thresholds in force, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from aiohttp import web

from monitor.web import keys
from monitor.web.keys import Area, Route
from monitor.web.replies import json_reply
from monitor.web.settings import Role
from monitor.web.threshold_values import ThresholdView


class Threshold(msgspec.Struct, frozen=True):
    server: str
    app: str
    label: str
    severity: str
    threshold: float
    default: float
    budget_per_1000_h: float | None
    learnt: bool
    hours: float
    hours_needed: float | None
    counted_per_1000_h: float | None
    frozen: bool
    extrapolated: bool
    since: datetime | None


class Thresholds(msgspec.Struct, frozen=True):
    model: str
    thresholds: Sequence[Threshold]


async def get_thresholds(request: web.Request) -> web.Response:
    """List the thresholds in force, and what is known about them."""
    daemon = request.app[keys.DAEMON]
    return json_reply(Thresholds(daemon.model, [_threshold(view) for view in daemon.thresholds()]))


def _threshold(view: ThresholdView) -> Threshold:
    return Threshold(
        server=view.server,
        app=view.app,
        label=view.label,
        severity=view.severity.word,
        threshold=round(view.threshold, 4),
        default=round(view.default, 4),
        budget_per_1000_h=_rounded(view.budget_per_1000_h),
        learnt=view.learnt,
        hours=round(view.hours, 1),
        hours_needed=_rounded(view.hours_needed),
        counted_per_1000_h=_rounded(view.counted_per_1000_h),
        frozen=view.frozen,
        extrapolated=view.extrapolated,
        since=view.since,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


ROUTES = (Route("GET", "/api/v1/thresholds", get_thresholds, Area.API, Role.VIEWER),)
