"""Pauses and silences over HTTP: who may, for how long, and what every page shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from monitor.protocol.decision import Reason
from monitor.vocabulary import EffectKind, ReviewDecision
from monitor.web.people_port import Happening, Standing, Undo
from monitor.web.server import WebServer
from tests.fakes.web_daemon import NOON, FakeDaemon, incident

ADMIN = {"Authorization": "Bearer admin-token-0123456789"}
RESPONDER = {"Authorization": "Bearer responder-token-0123456789"}
VIEWER = {"Authorization": "Bearer viewer-token-0123456789"}
PAUSE = {"for": "30m", "why": "the cutter is wrong"}


async def ask(
    http: aiohttp.ClientSession, method: str, url: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    async with http.request(method, url, json=body, headers=headers) as reply:
        return reply.status, await reply.json() if reply.content_type == "application/json" else None


async def test_pausing_takes_an_admin_and_resuming_a_responder(
    token_web: WebServer, http: aiohttp.ClientSession
) -> None:
    url = token_web.url + "/api/v1/pause"
    assert (await ask(http, "POST", url, PAUSE, RESPONDER))[0] == 403
    status, begun = await ask(http, "POST", url, PAUSE, ADMIN)
    assert (status, begun["kind"], begun["owner"], begun["until"]) == (201, "pause", "root", "2026-11-23T12:30:00Z")
    assert (await ask(http, "DELETE", url, {"why": "all is well"}, VIEWER))[0] == 403
    assert await ask(http, "DELETE", url, {"why": "all is well"}, RESPONDER) == (200, {"ended": 1})
    status, refused = await ask(http, "DELETE", url, {"why": "all is well"}, RESPONDER)
    assert (status, refused["error"]["reason"]) == (404, "not_paused")


@pytest.mark.parametrize("duration", ["forever", "25h", "0s", "-1h", "1e9d", ""])
async def test_nothing_is_without_an_end(open_web: WebServer, http: aiohttp.ClientSession, duration: str) -> None:
    for path, more in (("pause", {}), ("silences", {"stream": "live/*"})):
        body = {"for": duration, "why": "for ever", **more}
        status, refused = await ask(http, "POST", f"{open_web.url}/api/v1/{path}", body)
        assert (status, refused["error"]["field"]) == (400, "for")
        assert "up to 1d" in refused["error"]["message"]


async def test_a_silence_names_what_it_is_over(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    url = open_web.url + "/api/v1/silences"
    status, refused = await ask(http, "POST", url, PAUSE)
    assert (status, refused["error"]["field"]) == (400, "stream")
    status, refused = await ask(http, "POST", url, {**PAUSE, "server": "nowhere"})
    assert (status, refused["error"]["reason"]) == (404, "unknown_server")
    status, refused = await ask(http, "POST", url, {**PAUSE, "stream": "x" * 201})
    assert status == 400
    status, begun = await ask(http, "POST", url, {**PAUSE, "stream": "live/box*", "server": "studio"})
    assert (status, begun["stream"], begun["server"]) == (201, "live/box*", "studio")
    assert (await ask(http, "GET", url))[1]["silences"] == [begun]
    assert (await ask(http, "DELETE", f"{url}/{begun['silence_id']}", {"why": "the film is over"}))[0] == 204
    assert (await ask(http, "DELETE", f"{url}/{begun['silence_id']}", {"why": "the film is over"}))[0] == 404
    assert daemon.silence_views == []


async def test_every_page_shows_a_pause_and_ends_it(
    token_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    await ask(http, "POST", token_web.url + "/api/v1/pause", {**PAUSE, "why": "<b>wrong</b>"}, ADMIN)
    daemon.open(incident())
    for path in ("/", "/blocks", "/incidents/inc-0001"):
        async with http.get(token_web.url + path, headers=RESPONDER) as reply:
            page = await reply.text()
            assert "Containment is paused" in page
            assert "&lt;b&gt;wrong&lt;/b&gt;" in page
            assert "Resume containment" in page
        async with http.get(token_web.url + path, headers=VIEWER) as reply:
            assert "Resume containment" not in await reply.text()
    (view,) = daemon.silence_views
    url = f"{token_web.url}/silences/{view.silence_id}/end"
    async with http.post(url, data={"why": "repaired"}, headers=VIEWER) as reply:
        assert reply.status == 403
    async with http.post(url, data={"why": "repaired"}, headers=RESPONDER, allow_redirects=False) as reply:
        assert reply.status == 303
    assert daemon.silence_views == []


async def test_two_people_confirm_over_http_and_the_page_shows_the_first(
    token_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident(people=2))
    url = token_web.url + "/api/v1/incidents/inc-0001/review"
    body = {"decision": "confirm", "why": "a knife", "reason": "violence_confirmed"}
    status, noted = await ask(http, "POST", url, body, RESPONDER)
    assert (status, noted["confirmed_by"], noted["people"], noted["review"]) == (202, ["ana"], 2, None)
    async with http.get(token_web.url + "/incidents/inc-0001", headers=ADMIN) as reply:
        page = await reply.text()
    assert "2 people must confirm." in page
    assert "So far: ana." in page
    status, done = await ask(http, "POST", url, body, ADMIN)
    assert (status, done["review"]["reason"]) == (200, "violence_confirmed")


async def test_an_unknown_reason_or_decision_is_refused(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident())
    url = open_web.url + "/api/v1/incidents/inc-0001/review"
    for body, field in (
        ({"decision": "dismiss", "why": "a game", "reason": "boring"}, "reason"),
        ({"decision": "delete", "why": "a game"}, "decision"),
    ):
        status, refused = await ask(http, "POST", url, body)
        assert (status, refused["error"]["field"]) == (400, field)


async def test_whoever_is_late_learns_what_was_done_and_what_can_be_undone(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident())
    detail = daemon.details["inc-0001"]
    standing = Standing(
        (Happening(EffectKind.CUT, NOON + timedelta(seconds=7), "protocol", Reason.DEADLINE_PASSED.value),),
        (Undo("unblock", "the block can be lifted", "DELETE /api/v1/blocks/x"),),
    )
    daemon.details["inc-0001"] = replace(detail, standing=standing)
    url = open_web.url + "/api/v1/incidents/inc-0001/review"
    await ask(http, "POST", url, {"decision": "dismiss", "why": "a game"})
    status, refused = await ask(http, "POST", url, {"decision": "confirm", "why": "a fight"})
    error = refused["error"]
    assert (status, error["reason"]) == (409, "already_decided")
    assert "cut at 12:00:07 by protocol (deadline passed)" in error["message"]
    assert "the block can be lifted" in error["message"]
    assert error["happened"][0]["what"] == "cut"
    assert error["undo"] == [{"action": "unblock", "what": "the block can be lifted", "how": "DELETE /api/v1/blocks/x"}]
    async with http.post(
        open_web.url + "/incidents/inc-0001/review", data={"decision": "confirm", "why": "a fight"}
    ) as reply:
        assert reply.status == 409
        page = await reply.text()
    assert "cut at 12:00:07 by protocol" in page
    assert "a fight" in page or "decide" in page


async def test_the_form_offers_what_the_state_takes(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident(decisions=(ReviewDecision.DISMISS, ReviewDecision.RELEASE)))
    async with http.get(open_web.url + "/incidents/inc-0001") as reply:
        page = await reply.text()
    assert ('value="release"' in page, 'value="dismiss"' in page) == (True, True)
    assert ('value="confirm"' in page, 'value="escalate"' in page) == (False, False)


async def test_the_page_says_what_the_state_means_in_the_protocols_words(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    shown = incident()
    daemon.open(replace(shown, state_summary="Look at it <now>."))
    async with http.get(open_web.url + "/incidents/inc-0001") as reply:
        assert '<p id="meaning">Look at it &lt;now&gt;.</p>' in await reply.text()
    async with http.get(open_web.url + "/api/v1/incidents/inc-0001") as reply:
        assert (await reply.json())["incident"]["state_summary"] == "Look at it <now>."
