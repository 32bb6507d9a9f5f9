from __future__ import annotations

import aiohttp

from monitor.web.acknowledge_port import AcknowledgeWay
from monitor.web.server import WebServer
from tests.fakes.web_acknowledging import SIGNED, FakeAcknowledging
from tests.fakes.web_daemon import FakeDaemon, incident
from tests.unit.web.conftest import RESPONDER

HEADERS = {"Authorization": f"Bearer {RESPONDER}"}


async def test_the_api_says_who_was_first(
    token_web: WebServer, daemon: FakeDaemon, answering: FakeAcknowledging, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident(1))
    url = f"{token_web.url}/api/v1/incidents/inc-0001/acknowledge"
    answers = []
    for _ in range(2):
        async with http.post(url, json={}, headers=HEADERS) as reply:
            assert reply.status == 200
            answers.append(await reply.json())
    assert [(one["incident_id"], one["by"], one["first"]) for one in answers] == [
        ("inc-0001", "ana", True),
        ("inc-0001", "ana", False),
    ]
    async with http.post(url, json={"by": "somebody else"}, headers=HEADERS) as reply:
        assert (await reply.json())["error"]["reason"] == "invalid_field"
    answering.closed.add("inc-0001")
    async with http.post(url, json={}, headers=HEADERS) as reply:
        assert (reply.status, (await reply.json())["error"]["reason"]) == (409, "incident_closed")


async def test_looking_at_a_link_acknowledges_nothing_and_its_button_does_without_signing_in(
    token_web: WebServer, daemon: FakeDaemon, answering: FakeAcknowledging, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident(1))
    now = daemon.clock.now().timestamp()
    url = f"{token_web.url}/acknowledge/{answering.links.token('inc-0001', 'chat', until=now + 60)}"
    for method in ("GET", "HEAD"):
        async with http.request(method, url) as reply:
            assert reply.status == 200
            text = await reply.text()
            assert method == "HEAD" or "I am on it" in text
    assert answering.taken == {}
    async with http.post(url, data={}, headers={"Origin": "https://elsewhere.example"}) as reply:
        assert reply.status == 403, "another site's page cannot press it"
    assert answering.taken == {}
    async with http.post(url, headers={"Content-Type": "application/x-www-form-urlencoded"}) as reply:
        assert reply.status == 200
        assert "Thank you" in await reply.text()
    assert answering.taken == {"inc-0001": ("a link sent to chat", AcknowledgeWay.LINK)}
    async with http.post(url, headers={"Content-Type": "application/x-www-form-urlencoded"}) as reply:
        assert "Somebody is on it already" in await reply.text()


async def test_a_link_that_is_old_or_not_ours_opens_nothing(
    token_web: WebServer, daemon: FakeDaemon, answering: FakeAcknowledging, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident(1))
    now = daemon.clock.now().timestamp()
    token = answering.links.token("inc-0001", "chat", until=now + 60)
    said, _, mac = token.partition(".")
    old = answering.links.token("inc-0001", "chat", until=now)
    other = answering.links.token("inc-0002", "chat", until=now + 60)
    mixed = f"{other.partition('.')[0]}.{mac}"
    for wrong in (old, said, f"{said}.", f".{mac}", mixed, token[:-2], "x" * 5000, "%FF.%FF", f"{said}.{mac}.{mac}"):
        for method in ("GET", "POST"):
            async with http.request(method, f"{token_web.url}/acknowledge/{wrong}") as reply:
                assert reply.status == 403, wrong
    assert answering.taken == {}


async def test_pagerduty_needs_its_signature_and_no_token(
    token_web: WebServer, daemon: FakeDaemon, answering: FakeAcknowledging, http: aiohttp.ClientSession
) -> None:
    for receiver, signature, body, status in (
        ("pager", SIGNED, b"{}", 200),
        ("pager", "", b"{}", 401),
        ("other", SIGNED, b"{}", 401),
        ("pager", SIGNED, b"nonsense", 400),
    ):
        url = f"{token_web.url}/api/v1/pagerduty/{receiver}"
        async with http.post(url, data=body, headers={"X-PagerDuty-Signature": signature}) as reply:
            assert reply.status == status
