from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from monitor.errors import GateRequestError
from monitor.servers.ovenmediaengine.gate import MAX_BODY_BYTES, parse_webhook, webhook_reply
from monitor.servers.port import GateRequest, RawGateRequest
from monitor.vocabulary import StreamRef
from tests.fakes.ovenmediaengine import FakeOvenMediaEngine

ENGINE = FakeOvenMediaEngine()
KEY = SecretStr(ENGINE.webhook_secret)
OPENING = ENGINE.webhook("opening", "rtmp://203.0.113.5:1935/app/cam?key=x", ip="192.0.2.7")


def parse(
    body: bytes, *, signature: str | None = None, secret: SecretStr | None = KEY, query: Mapping[str, str] | None = None
) -> GateRequest:
    headers = {"x-ome-signature": ENGINE.signature(body) if signature is None else signature}
    return parse_webhook("edge", RawGateRequest("application/json", body, query or {}, headers), secret=secret)


def test_the_webhook_that_is_sent_is_read() -> None:
    assert parse(OPENING) == GateRequest("publish", StreamRef("edge", "app", "cam"), "", "192.0.2.7")


def test_the_signature_is_that_of_the_documentation() -> None:
    # RFC 2202, test case 2, in the alphabet for addresses and without padding.
    engine = FakeOvenMediaEngine()
    engine.webhook_secret = "Jefe"
    body = b"what do ya want for nothing?"

    assert engine.signature(body) == "7_zfauXrL6LSdBbV8YTfnCWafHk"
    with pytest.raises(GateRequestError, match="not what OvenMediaEngine sends"):
        parse(body, signature=engine.signature(body), secret=SecretStr("Jefe"))


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "=",
        ENGINE.signature(OPENING) + "=",
        ENGINE.signature(OPENING)[:-1],
        ENGINE.signature(OPENING).swapcase(),
        ENGINE.signature(OPENING + b" "),
        "\udcff",
        "é",
    ],
)
def test_a_wrong_signature_is_refused(signature: str) -> None:
    with pytest.raises(GateRequestError, match="signature"):
        parse(OPENING, signature=signature)


@given(st.integers(0, len(OPENING) - 1), st.integers(1, 255))
def test_not_one_byte_may_be_changed_on_the_way(place: int, change: int) -> None:
    body = bytearray(OPENING)
    body[place] ^= change

    with pytest.raises(GateRequestError, match="signature"):
        parse(bytes(body), signature=ENGINE.signature(OPENING))


def test_another_key_is_refused_and_so_is_everybody_without_one() -> None:
    with pytest.raises(GateRequestError, match="signature"):
        parse(OPENING, secret=SecretStr("another"))
    with pytest.raises(GateRequestError, match="webhook_secret"):
        parse(OPENING, secret=None)


def test_the_signature_is_over_the_bytes_and_not_over_what_they_say() -> None:
    rewritten = json.dumps(json.loads(OPENING)).encode()
    assert rewritten != OPENING

    with pytest.raises(GateRequestError, match="signature"):
        parse(rewritten, signature=ENGINE.signature(OPENING))


@pytest.mark.parametrize(
    ("direction", "status", "url", "call", "name"),
    [
        ("incoming", "opening", "srt://h:9999/app/cam", "publish", "cam"),
        ("incoming", "opening", "ws://h:3333/app/cam?direction=send", "publish", "cam"),
        ("incoming", "closing", "rtmp://h/app/cam", "closing", "cam"),
        ("outgoing", "opening", "http://h:3333/app/cam/llhls.m3u8?x=/a/b", "play", "cam"),
        ("outgoing", "closing", "ws://h/app/cam/master", "closing", "cam"),
    ],
)
def test_who_comes_and_who_goes_is_told_apart(direction: str, status: str, url: str, call: str, name: str) -> None:
    request = parse(ENGINE.webhook(status, url, direction=direction))

    assert (request.call, request.ref) == (call, StreamRef("edge", "app", name))
    assert request.news == ((direction, status) == ("incoming", "closing"))


@pytest.mark.parametrize("url", ["", "rtmp://h", "rtmp://h/app", "no address"])
def test_viewers_and_leavers_need_no_stream(url: str) -> None:
    assert parse(ENGINE.webhook("opening", url, direction="outgoing")).ref is None
    assert parse(ENGINE.webhook("closing", url)).ref is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "rtmp://h",
        "rtmp://h/",
        "rtmp://h/app",
        "rtmp://h/app/",
        "rtmp://h//cam",
        "rtmp://h/app/cam/more",
        "rtmp://h?/app/cam",
        "/app/cam",
        "//h/app/cam",
    ],
)
def test_a_publisher_names_one_application_and_one_stream(url: str) -> None:
    with pytest.raises(GateRequestError):
        parse(ENGINE.webhook("opening", url))


@pytest.mark.parametrize("name", ["cam%31", "cam\n", "\tcam", "cam#x", "cam;x", " cam", "CAM", "cаm"])  # noqa: RUF001 - Cyrillic
def test_a_name_in_disguise_stays_in_disguise(name: str) -> None:
    # The disguise cannot be watched, which is why the gate refuses it: see the adapter's addresses.
    assert parse(ENGINE.webhook("opening", f"rtmp://h/app/{name}")).ref == StreamRef("edge", "app", name)


def test_the_address_of_the_gate_says_which_virtual_host_asks() -> None:
    assert parse(OPENING, query={"vhost": "studio"}).ref == StreamRef("edge", "studio/app", "cam")
    assert parse(OPENING, query={"vhost": "default"}).ref == StreamRef("edge", "app", "cam")
    for vhost in ("", "a/b", "a b"):
        with pytest.raises(GateRequestError, match="vhost"):
            parse(OPENING, query={"vhost": vhost})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[1]",
        b"[" * 50_000,
        b'{"request":{"direction":"incoming","status":"opening"}}',
        b'{"request":{"direction":"sideways","status":"opening","url":"rtmp://h/app/cam"}}',
        b'{"request":{"direction":"incoming","status":"ajar","url":"rtmp://h/app/cam"}}',
        b'{"request":{"direction":"incoming","status":"opening","url":["rtmp://h/app/cam"]}}',
        OPENING + b" " * MAX_BODY_BYTES,
    ],
)
def test_a_signed_body_that_is_no_webhook_is_refused(body: bytes) -> None:
    with pytest.raises(GateRequestError):
        parse(body)


def test_a_client_may_be_left_out_and_its_headers_are_not_believed() -> None:
    webhook = json.loads(OPENING)
    webhook["client"]["real_ip"] = "198.51.100.1"
    told = parse(json.dumps(webhook).encode())
    del webhook["client"]

    assert told.publisher_address == "192.0.2.7"
    assert parse(json.dumps(webhook).encode()).publisher_address is None


@pytest.mark.parametrize("allow", [True, False])
@pytest.mark.parametrize("call", ["publish", "play", None])
def test_the_answer_is_a_real_boolean_with_status_200(call: str | None, allow: bool) -> None:
    request = None if call is None else GateRequest(call, None)

    reply = webhook_reply(request, allow=allow)

    assert (reply.status, reply.content_type) == (200, "application/json")
    assert json.loads(reply.body)["allowed"] is allow


def test_who_leaves_is_answered_with_nothing() -> None:
    reply = webhook_reply(GateRequest("closing", None), allow=True)

    assert (reply.status, json.loads(reply.body)) == (200, {})
