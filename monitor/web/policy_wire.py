# ruff: noqa: D101, D103 - docs/api.md describes every object and field; the names are the same
"""The JSON of API v1 about the policy that an incident comes under, and what users reported in it."""

from __future__ import annotations

from datetime import datetime

import msgspec

from monitor.web.display import displayable, displayable_lines
from monitor.web.enforcement_values import PolicyView, ReportView


class Policy(msgspec.Struct, frozen=True):
    code: str
    title: str
    category: str
    tier: str
    url: str | None
    text: str | None


class Report(msgspec.Struct, frozen=True):
    at: datetime
    category: str
    text: str
    by: str
    live: bool


def policy(view: PolicyView) -> Policy:
    return Policy(view.code, displayable(view.title), view.category, view.tier, view.url, view.text)


def report(view: ReportView) -> Report:
    return Report(view.at, view.category, displayable_lines(view.text), displayable(view.by), view.live)
