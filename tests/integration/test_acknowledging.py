"""The real daemon, a pager and people: passed on until somebody acknowledges by the link in an alert, and told to everybody."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.fakes.receiver import SECRET, FakeReceiver
from tests.fakes.waiting import eventually
from tests.integration.test_people import SECRET_VARIABLE, ScoredDaemon, configured

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(120)]

ENVIRON = {SECRET_VARIABLE: SECRET, "PAGER_KEY": "R" * 32, "PAGER_HOOK": "the secret of the pager's webhooks"}


async def test_an_incident_is_passed_on_until_somebody_presses_the_button(tmp_path: Path) -> None:
    pages: list[dict[str, Any]] = []

    async def take(request: web.Request) -> web.Response:
        pages.append(await request.json())
        return web.json_response({"status": "success"}, status=202)

    app = web.Application()
    app.router.add_post("/v2/enqueue", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with FakeReceiver() as leads, aiohttp.ClientSession() as browser:
            pager = {
                "name": "pager",
                "kind": "pagerduty",
                "url": f"http://127.0.0.1:{runner.addresses[0][1]}/v2/enqueue",
                "routing_key": {"env": "PAGER_KEY"},
                "webhook_secrets": [{"env": "PAGER_HOOK"}],
            }
            chief = {
                "name": "leads",
                "url": leads.url,
                "secrets": [{"env": SECRET_VARIABLE}],
                "events": ["acknowledged"],
            }
            config = configured(["loud", "louder"], "observe", [pager, chief], "http://127.0.0.1:9/cut")
            url = f"http://{config['web']['listen']}"
            config["alerts"]["page_url"] = url
            config["responders"] = {
                "groups": [
                    {"name": "on-duty", "receivers": ["pager"], "acknowledge_within": "1s"},
                    {"name": "leads", "receivers": ["leads"]},
                ]
            }
            async with ScoredDaemon(tmp_path, config, environ=ENVIRON) as daemon:

                async def passed_on() -> bool:
                    return len([one for one in leads.requests if one.event["type"].endswith("review_overdue")]) == 2

                await eventually(passed_on, deadline_s=60.0)
                keys = {page["dedup_key"] for page in pages}
                assert len(keys) == 2
                assert {page["event_action"] for page in pages} == {"trigger"}
                one, other = sorted(keys)

                # The first by the link in its page …
                link = next(
                    link["href"]
                    for page in pages
                    if page["dedup_key"] == one
                    for link in page["links"]
                    if "/ack" in link["href"]
                )
                async with browser.get(link) as reply:
                    assert "I am on it" in await reply.text()
                assert (await daemon.get(f"/api/v1/incidents/{one}"))["incident"]["acknowledged"] is None
                form = {"Content-Type": "application/x-www-form-urlencoded"}
                async with browser.post(link, headers=form) as reply:
                    assert "Thank you" in await reply.text()
                # … the second at the pager itself.
                event = {"event_type": "incident.acknowledged", "data": {"incident_key": other}}
                body = json.dumps({"event": {**event, "agent": {"summary": "Ada"}}}).encode()
                mac = hmac.new(ENVIRON["PAGER_HOOK"].encode(), body, hashlib.sha256).hexdigest()
                for signature, status in (("v1=" + "0" * 64, 401), (f"v1={mac}", 200)):
                    headers = {"X-PagerDuty-Signature": signature}
                    async with browser.post(f"{url}/api/v1/pagerduty/pager", data=body, headers=headers) as reply:
                        assert reply.status == status

                async def all_told() -> bool:
                    actions = {page["dedup_key"] for page in pages if page["event_action"] == "acknowledge"}
                    told = {
                        taken.event["data"]["incident_id"]
                        for taken in leads.requests
                        if "acknowledged" in taken.event["type"]
                    }
                    return actions == told == keys

                await eventually(all_told, deadline_s=30.0)
                assert all(taken.verified for taken in leads.requests)
                for incident_id, by, via in (
                    (one, "a link sent to pager", "link"),
                    (other, "Ada via pager", "pagerduty"),
                ):
                    history = await daemon.get(f"/api/v1/incidents/{incident_id}")
                    found = history["incident"]["acknowledged"]
                    assert (found["by"], found["via"]) == (by, via)
                    assert any("somebody is on it" in step["detail"] for step in history["timeline"])
                    async with browser.get(f"{url}/incidents/{incident_id}") as reply:
                        assert f"Somebody is on it: {by}" in await reply.text()
    finally:
        await runner.cleanup()
