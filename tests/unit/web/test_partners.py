from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import aiohttp
import pytest
from yarl import URL

from monitor.web.partners_port import PartnerAlertView, PartnerReply
from monitor.web.server import WebServer
from monitor.web.settings import AccessToken, Role, WebSettings
from tests.fakes.web_daemon import NOON, FakeDaemon

TOKEN = "viewer-token-0123456789"


class FakePartners:
    """Remembers what reached it, and answers with what it is told."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, bytes]] = []
        self.reply = PartnerReply(200, b"{}", {"Content-Type": "application/cloudevents+json", "webhook-id": "r1"})

    @property
    def feed(self) -> FakePartners:
        return self

    async def take(self, partner: str, headers: Mapping[str, str], body: bytes) -> PartnerReply:
        self.taken.append((partner, headers.get("webhook-id", ""), body))
        return self.reply

    async def page(self, partner: str, headers: Mapping[str, str], target: bytes, after: str) -> PartnerReply:
        self.taken.append((f"{partner}+{after}", headers.get("webhook-id", ""), target))
        return self.reply

    def alerts(self) -> Sequence[PartnerAlertView]:
        view = PartnerAlertView(
            partner="north",
            incident_id="i1",
            state="standing",
            word="contained",
            severity="act",
            label="violence",
            title="live/<b>x</b>",
            page_link=None,
            drill=False,
            first_at=NOON,
            heard_at=NOON,
            watched_until=NOON + timedelta(minutes=15),
            streams=("edge-0",),
            acted=("shown", "watched"),
            disagrees=False,
        )
        return [view]


def serving(partners: FakePartners, daemon: FakeDaemon) -> WebServer:
    return WebServer(
        WebSettings(tokens=(AccessToken("vera", Role.VIEWER, TOKEN),)),
        daemon=daemon,
        incidents=daemon,
        blocks=daemon,
        quiet=daemon,
        gate=daemon,
        clock=daemon.clock,
        partners=partners,
    )


async def test_what_is_signed_needs_no_token_and_reaches_the_service_as_it_was_sent(
    daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    partners = FakePartners()
    async with serving(partners, daemon) as web:
        address = web.url + "/api/v1/partners/north/events"
        async with http.post(address, data=b"\x00 raw", headers={"Webhook-Id": "e1"}) as reply:
            assert (reply.status, await reply.read(), reply.headers["webhook-id"]) == (200, b"{}", "r1")
        target = "/api/v1/feed?partner=north&after=a%2Fb"
        async with http.get(URL(web.url + target, encoded=True), headers={"Webhook-Id": "e2"}) as reply:
            assert reply.status == 200
        assert partners.taken == [("north", "e1", b"\x00 raw"), ("north+a/b", "e2", target.encode())]
        async with http.post(address, data=b"x" * 70_000) as reply:
            assert reply.status == 413
        async with http.post(address, data=b"x", headers={"Sec-Fetch-Site": "cross-site"}) as reply:
            assert reply.status == 403
        assert len(partners.taken) == 2


@pytest.mark.parametrize(
    ("refused", "status", "reason"),
    [("unauthenticated", 401, "unauthenticated"), ("malformed", 400, "bad_json"), ("too_many", 429, "too_many_events")],
)
async def test_a_refusal_says_no_more_than_it_must(
    daemon: FakeDaemon, http: aiohttp.ClientSession, refused: str, status: int, reason: str
) -> None:
    partners = FakePartners()
    partners.reply = PartnerReply(status, refused=refused)
    async with (
        serving(partners, daemon) as web,
        http.post(web.url + "/api/v1/partners/x/events", data=b"{}") as reply,
    ):
        assert (reply.status, (await reply.json())["error"]["reason"]) == (status, reason)


async def test_responders_see_what_partners_warn_of_and_strangers_do_not(
    daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    async with serving(FakePartners(), daemon) as web:
        async with http.get(web.url + "/api/v1/partners/alerts") as reply:
            assert reply.status == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with http.get(web.url + "/api/v1/partners/alerts", headers=headers) as reply:
            (alert,) = (await reply.json())["alerts"]
            assert (alert["partner"], alert["acted"]) == ("north", ["shown", "watched"])
        async with http.get(web.url + "/", headers=headers) as reply:
            page = await reply.text()
        assert "warns of violence" in page
        assert "<b>x</b>" not in page
