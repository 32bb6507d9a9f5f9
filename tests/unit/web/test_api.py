from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.vocabulary import Freshness, Severity, StreamRef
from monitor.web.display import displayable, displayable_lines
from monitor.web.port import Check
from monitor.web.server import WebServer
from monitor.web.threshold_values import ThresholdView
from tests.fakes.web_daemon import NOON, FakeDaemon, incident, stream

ADMIN = {"Authorization": "Bearer admin-token-0123456789"}
RESPONDER = {"Authorization": "Bearer responder-token-0123456789"}


async def post_raw(
    http: aiohttp.ClientSession, url: str, body: bytes, content_type: str = "application/json"
) -> tuple[int, dict[str, Any]]:
    async with http.post(url, data=body, headers={"Content-Type": content_type}) as reply:
        return reply.status, await reply.json()


async def test_streams_come_most_urgent_first(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.stream_views = [
        stream("fresh"),
        stream("blind", freshness=Freshness.BLIND, verdict_age_s=None),
        stream("late", freshness=Freshness.LATE),
        stream("suspect", severity=Severity.REVIEW),
        stream("incident", incident_id="inc-0001"),
    ]
    async with http.get(open_web.url + "/api/v1/streams") as reply:
        streams = (await reply.json())["streams"]
    assert [view["title"] for view in streams] == [
        "live/incident",
        "live/suspect",
        "live/blind",
        "live/late",
        "live/fresh",
    ]
    assert streams[2]["freshness"] == "blind"
    assert streams[2]["verdict_age_s"] is None
    assert streams[1]["severity"] == "review"
    assert streams[4]["last_scores"] == {"violence": 0.0312}


async def test_only_the_most_urgent_streams_are_asked_for(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.stream_views = [
        stream("calm"),
        stream("blind", freshness=Freshness.BLIND),
        stream("grave", severity=Severity.ACT, incident_id="inc-0001"),
    ]
    async with http.get(open_web.url + "/api/v1/streams?top=2") as reply:
        assert [view["title"] for view in (await reply.json())["streams"]] == ["live/grave", "live/blind"]
    for wrong in ("0", "x", "501", ""):
        async with http.get(open_web.url + f"/api/v1/streams?top={wrong}") as reply:
            assert (reply.status, (await reply.json())["error"]["field"]) == (400, "top")


async def test_status_says_what_is_wrong(open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession) -> None:
    daemon.ready_checks.append(Check("classifier", ok=False, detail="inference failed"))
    daemon.dry_run = True
    async with http.get(open_web.url + "/api/v1/status") as reply:
        status = await reply.json()
    assert status["ready"] is False
    assert status["dry_run"] is True
    assert status["checks"][-1] == {"name": "classifier", "ok": False, "detail": "inference failed"}
    assert status["servers"][0]["name"] == "studio"


async def test_incidents_come_in_pages(open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession) -> None:
    for number in range(1, 6):
        daemon.open(incident(number))
    seen: list[str] = []
    after: str | None = None
    for _ in range(5):
        query = "limit=2" if after is None else f"limit=2&after={after}"
        async with http.get(f"{open_web.url}/api/v1/incidents?{query}") as reply:
            page = await reply.json()
        seen += [view["incident_id"] for view in page["incidents"]]
        after = page["next_after"]
        if after is None:
            break
    assert seen == ["inc-0005", "inc-0004", "inc-0003", "inc-0002", "inc-0001"]


async def test_closed_incidents_can_be_left_out(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident(1, closed_at=daemon.clock.now(), state="dismissed", reviewable=False))
    daemon.open(incident(2))
    async with http.get(open_web.url + "/api/v1/incidents?open=true") as reply:
        assert [view["incident_id"] for view in (await reply.json())["incidents"]] == ["inc-0002"]
    async with http.get(open_web.url + "/api/v1/incidents?open=false") as reply:
        assert len((await reply.json())["incidents"]) == 2


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("limit=", "limit"),
        ("limit=1_0", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=9999999999999999999", "limit"),
        ("open=yes", "open"),
        ("open=", "open"),
    ],
)
async def test_odd_queries_are_refused_with_the_field(
    open_web: WebServer, http: aiohttp.ClientSession, query: str, field: str
) -> None:
    async with http.get(f"{open_web.url}/api/v1/incidents?{query}") as reply:
        assert reply.status == 400
        error = (await reply.json())["error"]
    assert error["reason"] == "invalid_field"
    assert error["field"] == field


async def test_an_incident_tells_its_history(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident(1))
    async with http.get(open_web.url + "/api/v1/incidents/inc-0001") as reply:
        history = await reply.json()
    assert history["incident"]["review_due"] == "2026-11-23T12:01:35Z"
    assert history["severities"] == {"violence": "act"}
    assert [step["after"] for step in history["timeline"]] == ["close_look", "review"]
    assert [(effect["kind"], effect["outcome"]) for effect in history["effects"]] == [
        ("preserve", "succeeded"),
        ("alert", None),
    ]
    assert history["deliveries"][1]["last_reason"] == "timeout"
    assert history["evidence"][0]["frames"] == 48


@pytest.mark.parametrize("incident_id", ["nope", "%00", "..%2F..", "%F0%9F%92%A5", "a" * 3000, "%27%3B--"])
async def test_unknown_incidents_are_404(open_web: WebServer, http: aiohttp.ClientSession, incident_id: str) -> None:
    from yarl import URL

    async with http.get(URL(f"{open_web.url}/api/v1/incidents/{incident_id}", encoded=True)) as reply:
        assert reply.status == 404
        assert (await reply.json())["error"]["reason"] == "unknown_incident"
    url = URL(f"{open_web.url}/api/v1/incidents/{incident_id}/review", encoded=True)
    async with http.post(url, json={"decision": "confirm", "why": "seen it"}) as reply:
        assert reply.status == 404


async def test_a_review_counts_once_and_the_second_learns_of_the_first(
    token_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident(1))
    url = token_web.url + "/api/v1/incidents/inc-0001/review"
    async with http.post(url, json={"decision": "confirm", "why": "  a man\r\nis shot "}, headers=RESPONDER) as reply:
        assert reply.status == 200
        done = await reply.json()
    assert done["state"] == "contain"
    assert done["review"]["by"] == "ana"
    assert done["review"]["why"] == "a man\nis shot"
    async with http.post(url, json={"decision": "dismiss", "why": "too late"}, headers=ADMIN) as reply:
        assert reply.status == 409
        error = (await reply.json())["error"]
    assert error["reason"] == "already_decided"
    assert error["review"] == done["review"]
    assert "confirm by ana" in error["message"]


async def test_a_closed_incident_takes_no_review(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident(1, closed_at=daemon.clock.now(), state="ended", reviewable=False))
    url = open_web.url + "/api/v1/incidents/inc-0001/review"
    async with http.post(url, json={"decision": "confirm", "why": "seen it"}) as reply:
        assert reply.status == 409
        error = (await reply.json())["error"]
    assert error["reason"] == "incident_closed"
    assert "ended" in error["message"]


async def test_a_state_without_review_says_so(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident(1, state="watching", reviewable=False))
    url = open_web.url + "/api/v1/incidents/inc-0001/review"
    async with http.post(url, json={"decision": "confirm", "why": "seen it"}) as reply:
        assert reply.status == 409
        assert (await reply.json())["error"]["reason"] == "review_not_awaited"


async def test_only_an_admin_speaks_for_others_and_leaves_their_own_name(
    token_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident(1))
    daemon.open(incident(2))
    body = {"decision": "confirm", "why": "told by telephone", "by": "Maria"}
    by = {}
    for number, headers in ((1, RESPONDER), (2, ADMIN)):
        async with http.post(
            f"{token_web.url}/api/v1/incidents/inc-000{number}/review", json=body, headers=headers
        ) as reply:
            by[number] = (await reply.json())["review"]["by"]
    assert by == {1: "ana", 2: "Maria via root"}


GOOD = b'{"decision": "confirm", "why": "seen it"'


@pytest.mark.parametrize(
    ("body", "reason", "field"),
    [
        (b"", "bad_json", None),
        (b"{", "bad_json", None),
        (GOOD, "bad_json", None),
        (GOOD + b"} x", "bad_json", None),
        (b"\xef\xbb\xbf" + GOOD + b"}", "bad_json", None),
        (b'{"decision": "confirm", "why": "\xff\xfe\xfd"}', "bad_json", None),
        (b'{"decision": "confirm", "why": "\\ud800 lone"}', "bad_json", None),
        (b'{"decision": "confirm", "why": NaN}', "bad_json", None),
        (b"[" * 60000, "invalid_field", None),
        (b'{"why": ' + b"[" * 60000, "invalid_field", "why"),
        (b"[]", "invalid_field", None),
        (b"null", "invalid_field", None),
        (b'"confirm"', "invalid_field", None),
        (GOOD + b', "extra": 1}', "invalid_field", "extra"),
        (GOOD + b', "extra": NaN}', "invalid_field", "extra"),
        (b'{"why": "seen it"}', "invalid_field", "decision"),
        (b'{"decision": "confirm"}', "invalid_field", "why"),
        (b'{"decision": "maybe", "why": "seen it"}', "invalid_field", "decision"),
        (b'{"decision": "CONFIRM", "why": "seen it"}', "invalid_field", "decision"),
        (b'{"decision": 1, "why": "seen it"}', "invalid_field", "decision"),
        (b'{"decision": "confirm", "why": 1}', "invalid_field", "why"),
        (b'{"decision": "confirm", "why": null}', "invalid_field", "why"),
        (b'{"decision": "confirm", "why": "   \\n "}', "invalid_field", "why"),
        (b'{"decision": "confirm", "why": "ab"}', "invalid_field", "why"),
        (b'{"decision": "confirm", "why": "' + b"x" * 2001 + b'"}', "invalid_field", "why"),
        (b'{"decision": "confirm", "why": "nul \\u0000 inside"}', "invalid_field", "why"),
        (b'{"decision": "confirm", "why": "escape \\u001b[2J"}', "invalid_field", "why"),
        (GOOD + b', "by": ["x"]}', "invalid_field", "by"),
        (GOOD + b', "by": ""}', "invalid_field", "by"),
    ],
    ids=range(29),
)
async def test_bad_reviews_name_the_problem_and_change_nothing(
    *,
    open_web: WebServer,
    daemon: FakeDaemon,
    http: aiohttp.ClientSession,
    body: bytes,
    reason: str,
    field: str | None,
) -> None:
    daemon.open(incident(1))
    status, reply = await post_raw(http, open_web.url + "/api/v1/incidents/inc-0001/review", body)
    assert status == 400
    assert reply["error"]["reason"] == reason
    assert reply["error"].get("field") == field
    assert len(reply["error"]["message"]) > 20
    assert len(reply["error"]["message"]) < 400
    assert daemon.details["inc-0001"].summary.review is None


async def test_duplicate_keys_do_no_harm(open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession) -> None:
    daemon.open(incident(1))
    body = b'{"decision": "confirm", "decision": "dismiss", "why": "first", "why": "second"}'
    status, reply = await post_raw(http, open_web.url + "/api/v1/incidents/inc-0001/review", body)
    assert status == 200
    assert (reply["review"]["decision"], reply["review"]["why"]) == ("dismiss", "second")


async def test_compressed_bodies_are_not_unpacked(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    import gzip

    daemon.open(incident(1))
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    url = open_web.url + "/api/v1/incidents/inc-0001/review"
    async with http.post(url, data=gzip.compress(GOOD + b"}"), headers=headers) as reply:
        assert reply.status == 415


async def test_a_block_is_set_listed_and_lifted(
    token_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    blocks = token_web.url + "/api/v1/blocks"
    ref = StreamRef("studio", "live", "a b/c?&")
    body = {"server": "studio", "app": "live", "name": "a b/c?&", "for": "12h", "why": "confirmed attack"}
    async with http.post(blocks, json=body, headers=ADMIN) as reply:
        assert reply.status == 201
        made = await reply.json()
    assert made["stream_id"] == ref.stream_id
    assert made["until"] == "2026-11-24T00:00:00Z"
    assert made["by"] == "root"
    assert daemon.is_blocked(ref)
    async with http.get(blocks, headers=ADMIN) as reply:
        assert await reply.json() == {"blocks": [made]}
    for status in (204, 404):
        async with http.delete(f"{blocks}/{ref.stream_id}", json={"why": "a mistake"}, headers=ADMIN) as reply:
            assert reply.status == status
    assert daemon.removed == [(ref, "root", "a mistake")]
    assert not daemon.is_blocked(ref)


async def test_a_live_stream_is_blocked_by_its_id(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    ref = StreamRef("studio", "live", "cam1")
    body = {"stream_id": ref.stream_id, "for": "forever", "why": "confirmed attack"}
    async with http.post(open_web.url + "/api/v1/blocks", json=body) as reply:
        assert reply.status == 201
        assert (await reply.json())["until"] is None
    assert daemon.is_blocked(ref)


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"for": "soon"}, 400, "for"),
        ({"for": "0s"}, 400, "for"),
        ({"for": "-1h"}, 400, "for"),
        ({"for": "99999999d"}, 400, "for"),
        ({"for": "9" * 400 + "d"}, 400, "for"),
        ({"for": 12}, 400, "for"),
        ({"server": "other"}, 404, "server"),
        ({"server": None}, 400, "server"),
        ({"app": None}, 400, "app"),
        ({"name": ""}, 400, "name"),
        ({"name": "x" * 501}, 400, "name"),
        ({"name": "nul\0"}, 400, "name"),
        ({"why": "  "}, 400, "why"),
        ({"stream_id": "studio-0"}, 400, "stream_id"),
        ({"stream_id": "studio-0", "server": None, "app": None, "name": None}, 404, "stream_id"),
    ],
    ids=range(15),
)
async def test_bad_blocks_are_refused_with_the_field(
    *,
    open_web: WebServer,
    daemon: FakeDaemon,
    http: aiohttp.ClientSession,
    change: dict[str, object],
    status: int,
    field: str,
) -> None:
    body = {"server": "studio", "app": "live", "name": "x", "for": "12h", "why": "confirmed attack", **change}
    async with http.post(open_web.url + "/api/v1/blocks", json=body) as reply:
        assert reply.status == status
        assert (await reply.json())["error"]["field"] == field
    assert daemon.block_views == []


@pytest.mark.parametrize("path", ["/api/v1/incidents", "/api/v1/incidents/inc-0001", "/api/v1/blocks"])
async def test_a_broken_store_is_503(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession, path: str
) -> None:
    daemon.store_broken = True
    async with http.get(open_web.url + path) as reply:
        assert reply.status == 503
        assert (await reply.json())["error"]["reason"] == "store_failed"


async def test_our_own_mistake_is_a_500_without_details(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(daemon, "streams", broken)
    async with http.get(open_web.url + "/api/v1/streams") as reply:
        assert reply.status == 500
        text = await reply.text()
    assert json.loads(text)["error"]["reason"] == "internal"
    assert "secret detail" not in text


async def test_hostile_titles_are_spelled_out_in_json(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.stream_views = [replace(stream(), title="live/\udc80\u202egpj\0<b>")]
    async with http.get(open_web.url + "/api/v1/streams") as reply:
        assert (await reply.json())["streams"][0]["title"] == "live/\\udc80\\u202egpj\\u0000<b>"


@given(st.text(max_size=300))
def test_displayable_text_is_bounded_printable_and_encodes(text: str) -> None:
    shown = displayable(text)
    assert all(character.isprintable() for character in shown)
    assert len(shown) <= 200 * len("\\u10ffff")
    shown.encode()
    if text.isprintable() and len(text) <= 200:
        assert shown == text
    displayable_lines(text).encode()


async def test_thresholds_say_what_holds_and_where_it_comes_from(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.threshold_views = [
        ThresholdView(
            "studio", "sport", "violence", Severity.REVIEW, 0.81234, 0.732, 20.0, learnt=True, hours=312.44,
            hours_needed=62.5, counted_per_1000_h=17.2, frozen=True, since=NOON,
        ),
        ThresholdView("studio", "*", "violence", Severity.ACT, 0.904, 0.904),
    ]  # fmt: skip
    async with http.get(open_web.url + "/api/v1/thresholds") as reply:
        assert reply.status == 200
        found = await reply.json()
    assert found["model"] == "violent-motion@1"
    learnt, configured = found["thresholds"]
    assert learnt == {
        "server": "studio",
        "app": "sport",
        "label": "violence",
        "severity": "review",
        "threshold": 0.8123,
        "default": 0.732,
        "budget_per_1000_h": 20.0,
        "learnt": True,
        "hours": 312.4,
        "hours_needed": 62.5,
        "counted_per_1000_h": 17.2,
        "frozen": True,
        "extrapolated": False,
        "since": "2026-11-23T12:00:00Z",
    }
    assert (configured["threshold"], configured["learnt"], configured["since"]) == (0.904, False, None)
