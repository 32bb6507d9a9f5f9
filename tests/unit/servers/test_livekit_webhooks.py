"""LiveKit's webhooks: only those that it signed itself are heard, and they ask nothing."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

import pytest

from monitor.errors import GateRequestError
from monitor.servers.livekit.adapter import LiveKitMediaServer
from monitor.servers.port import RawGateRequest
from monitor.vocabulary import StreamRef
from tests.fakes.fake_livekit import KEY, SECRET, FakeLiveKit, token, webhook_token
from tests.fakes.livekit_site import ENVIRON, livekit_section

BODY = json.dumps(
    {
        "event": "track_published",
        "room": {"sid": "RM_1", "name": "stage", "numParticipants": 2},
        "participant": {"sid": "PA_1", "identity": "anne"},
        "track": {"sid": "TR_1"},
        "id": "EV_1",
        "createdAt": "1700000000",
    }
).encode()


@pytest.fixture
async def server() -> AsyncIterator[LiveKitMediaServer]:
    section = livekit_section(FakeLiveKit(api_url="http://127.0.0.1:1"))
    async with LiveKitMediaServer(section, environ=ENVIRON) as ready:
        yield ready


def webhook(authorization: str, body: bytes = BODY) -> RawGateRequest:
    return RawGateRequest("application/webhook+json", body, headers={"authorization": authorization})


async def test_a_signed_webhook_is_heard(server: LiveKitMediaServer) -> None:
    asked = server.parse_gate_request(webhook(webhook_token(BODY)))

    assert (asked.call, asked.ref, asked.session) == ("track_published", StreamRef("edge", "stage", "anne"), "PA_1")
    assert asked.news
    assert server.gate_reply(asked, allow=True).status == 200
    # Nothing that it tells can be refused, and LiveKit would only say it again.
    assert server.gate_reply(asked, allow=False).status == 200


@pytest.mark.parametrize(
    ("event", "news"), [("room_finished", True), ("egress_ended", False), ("of later days", False)]
)
async def test_only_what_comes_and_goes_is_news(server: LiveKitMediaServer, event: str, news: bool) -> None:
    body = json.dumps({"event": event, "room": {"name": "stage"}}).encode()

    asked = server.parse_gate_request(webhook(webhook_token(body), body))

    assert (asked.call, asked.ref, asked.news) == (event, None, news)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "x.y.z",
        webhook_token(BODY, secret="another secret of 32 characters!"),
        webhook_token(BODY, expires_in_s=-120),
        webhook_token(BODY, iss="APIother"),
        webhook_token(b"{}"),
        webhook_token(BODY, sha256=""),
        webhook_token(BODY, sha256="%%%"),
        webhook_token(BODY, sha256=7),
        token({"iss": KEY, "exp": int(time.time()) + 300}),
        token({"iss": KEY, "sha256": "x"}),
        token({"iss": KEY, "exp": int(time.time()) + 300, "sha256": "x"}, algorithm="none"),
    ],
    ids=[
        *("nothing", "no_token", "no_jwt", "other_secret", "expired", "other_key", "other_body", "no_digest"),
        *("no_base64", "no_text", "left_out", "for_ever", "unsigned"),
    ],
)
async def test_what_livekit_did_not_sign_is_refused(server: LiveKitMediaServer, authorization: str) -> None:
    with pytest.raises(GateRequestError) as refusal:
        server.parse_gate_request(webhook(authorization))

    assert SECRET not in str(refusal.value)
    assert server.gate_reply(None, allow=False).status == 403


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"event":7}', b"\xff", b'{"event":"' + b"x" * 300_000 + b'"}'])
async def test_a_signed_body_of_another_shape_is_refused(server: LiveKitMediaServer, body: bytes) -> None:
    with pytest.raises(GateRequestError):
        server.parse_gate_request(webhook(webhook_token(body), body))


async def test_a_short_secret_of_development_does() -> None:
    section = livekit_section(FakeLiveKit(api_url="http://127.0.0.1:1"))
    async with LiveKitMediaServer(section, environ={"LIVEKIT": "secret"}) as server:
        assert server.parse_gate_request(webhook(webhook_token(BODY, secret="secret"))).news
