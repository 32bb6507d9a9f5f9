from __future__ import annotations

from datetime import UTC, datetime

import aiohttp
import pytest

from monitor.vocabulary import Category, StreamRef
from monitor.web.enforcement_port import Culprit, ReportOutcome, ReportResult
from monitor.web.server import WebServer
from tests.fakes.web_daemon import FakeDaemon
from tests.fakes.web_enforcement import FakeReports, FakeStrikes

STRIKE = {"policy": "live-violence", "context": "none", "why": "a threat"}
REPORT = {"stream_id": "studio-0", "category": "self_harm", "reporter": "u1"}
REPORTER = {"Authorization": "Bearer reporter-token-0123456789"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**STRIKE, "policy": "unheard-of", "account": "u1", "server": "studio"}, "policy"),
        ({**STRIKE, "policy": "spam", "account": "u1", "server": "studio"}, "policy"),
        ({**STRIKE, "context": "satire", "account": "u1", "server": "studio"}, "context"),
        ({"policy": "live-violence", "why": "a threat", "account": "u1"}, "context"),
        (STRIKE, "stream_id"),
        ({**STRIKE, "account": "u1", "address": "192.0.2.1"}, "stream_id"),
        ({**STRIKE, "account": "u1"}, "server"),
        ({**STRIKE, "account": "u1", "server": "nowhere"}, "server"),
        ({**STRIKE, "address": "192.0.2.1", "server": "studio"}, "address"),
        ({**STRIKE, "app": "live", "name": "x"}, "name"),
        ({**STRIKE, "account": "u1", "server": "studio", "decided_at": "2999-01-01T00:00:00Z"}, "decided_at"),
        ({**STRIKE, "account": "u1", "server": "studio", "why": " "}, "why"),
    ],
)
async def test_an_offence_that_does_not_say_who_what_or_in_what_context_is_refused(
    *, open_web: WebServer, http: aiohttp.ClientSession, strikes: FakeStrikes, body: dict[str, str], field: str
) -> None:
    async with http.post(open_web.url + "/api/v1/strikes", json=body) as reply:
        assert reply.status in (400, 404)
        assert (await reply.json())["error"]["field"] == field
    assert strikes.culprits == []


async def test_an_offence_elsewhere_is_recorded_from_its_decision_on_and_taken_back_once(
    open_web: WebServer, http: aiohttp.ClientSession, strikes: FakeStrikes
) -> None:
    body = {**STRIKE, "server": "studio", "app": "live", "name": "x", "decided_at": "2026-11-01T00:00:00+01:00"}
    async with http.post(open_web.url + "/api/v1/strikes", json=body) as reply:
        assert reply.status == 201
        made = await reply.json()
    assert strikes.culprits == [Culprit(ref=StreamRef("studio", "live", "x"))]
    assert datetime.fromisoformat(made["decided_at"]) == datetime(2026, 10, 31, 23, tzinfo=UTC)
    assert (made["policy"]["tier"], made["context"]) == ("most_serious", "none")
    address = f"{open_web.url}/api/v1/strikes/{made['strike_id']}"
    async with http.delete(address, json={"why": "appeal"}) as reply:
        assert reply.status == 204
    async with http.delete(address, json={"why": "appeal"}) as reply:
        assert (reply.status, (await reply.json())["error"]["reason"]) == (404, "unknown_strike")


async def test_a_reporter_may_report_and_nothing_else(
    token_web: WebServer, http: aiohttp.ClientSession, reports: FakeReports
) -> None:
    async with http.post(token_web.url + "/api/v1/reports", json=REPORT, headers=REPORTER) as reply:
        assert reply.status == 202
        assert await reply.json() == {
            "outcome": "taken",
            "report_id": "report-1",
            "incident_id": "inc-0001",
            "ended_at": None,
        }
    assert reports.taken == [("studio-0", Category.SELF_HARM, "", "u1", "app")]
    for path in ("session", "status", "streams", "incidents", "blocks", "strikes", "policies"):
        async with http.get(f"{token_web.url}/api/v1/{path}", headers=REPORTER) as reply:
            assert reply.status == 403


@pytest.mark.parametrize(
    ("result", "status", "word"),
    [
        (ReportResult(ReportOutcome.DUPLICATE, incident_id="inc-1"), 200, "duplicate"),
        (ReportResult(ReportOutcome.ENDED, "r", ended_at=datetime(2026, 11, 23, tzinfo=UTC)), 202, "ended"),
        (ReportResult(ReportOutcome.UNKNOWN), 404, "unknown_stream"),
        (ReportResult(ReportOutcome.TOO_MANY, wait_s=11.2), 429, "too_many_reports"),
    ],
)
async def test_each_end_of_a_report_is_told_apart(
    *,
    open_web: WebServer,
    http: aiohttp.ClientSession,
    reports: FakeReports,
    result: ReportResult,
    status: int,
    word: str,
) -> None:
    reports.result = result
    async with http.post(open_web.url + "/api/v1/reports", json=REPORT) as reply:
        told = await reply.json()
        assert reply.status == status
    assert word in (told.get("outcome"), told.get("error", {}).get("reason"))
    if result.outcome is ReportOutcome.TOO_MANY:
        assert "in 12 s" in told["error"]["message"]


@pytest.mark.parametrize(
    "change",
    [{"category": "rude"}, {"reporter": ""}, {"text": "x" * 2001}, {"app": "live"}, {"stream_id": None}, {"extra": 1}],
)
async def test_reports_outside_their_bounds_are_refused(
    open_web: WebServer, http: aiohttp.ClientSession, reports: FakeReports, change: dict[str, object]
) -> None:
    async with http.post(open_web.url + "/api/v1/reports", json=REPORT | change) as reply:
        assert reply.status == 400
    assert reports.taken == []


async def test_many_blocks_are_added_together_or_not_at_all(
    open_web: WebServer, http: aiohttp.ClientSession, daemon: FakeDaemon
) -> None:
    good = [{"server": "studio", "app": "live", "name": f"cam{n}", "why": "spam"} for n in range(3)]
    bad = [*good, {**good[0], "until": "2001-01-01T00:00:00Z"}]
    async with http.post(open_web.url + "/api/v1/blocks/import", json={"blocks": bad}) as reply:
        assert (reply.status, (await reply.json())["error"]["field"]) == (400, "blocks[3].until")
    assert daemon.block_views == []
    async with http.post(open_web.url + "/api/v1/blocks/import", json={"blocks": good}) as reply:
        assert (reply.status, await reply.json()) == (201, {"added": 3})
    async with http.get(open_web.url + "/api/v1/blocks/export") as reply:
        assert {one["name"] for one in (await reply.json())["blocks"]} == {"cam0", "cam1", "cam2"}
