from __future__ import annotations

import json

import pytest

from monitor.errors import GateRequestError
from monitor.servers.port import GateRequest, RawGateRequest
from monitor.servers.srs.gate import MAX_BODY_BYTES, hook_reply, parse_hook
from monitor.vocabulary import StreamRef
from tests.fakes.srs import takes_for_yes

HOOK: dict[str, object] = {
    "server_id": "vid-0xk989d",
    "service_id": "382k456r",
    "action": "on_publish",
    "client_id": "341w361a",
    "ip": "192.0.2.7",
    "vhost": "__defaultVhost__",
    "app": "live",
    "tcUrl": "rtmp://127.0.0.1:1935/live?vhost=__defaultVhost__",
    "stream": "cam",
    "param": "?user=alice&stream=innocent&token=x",
    "stream_url": "/live/cam",
    "stream_id": "vid-124q9y3",
}


def parse(**changes: object) -> GateRequest:
    return parse_body(json.dumps(HOOK | changes).encode())


def parse_body(body: bytes) -> GateRequest:
    return parse_hook("edge", RawGateRequest(content_type="application/json", body=body))


def test_the_hook_that_srs_sends_is_read() -> None:
    assert parse() == GateRequest("publish", StreamRef("edge", "live", "cam"), "341w361a", "192.0.2.7")


def test_other_virtual_hosts_have_applications_of_their_own() -> None:
    refs = {parse(vhost=vhost, app=app).ref for vhost in ("__defaultVhost__", "a") for app in ("live", "a/live")}

    assert StreamRef("edge", "live", "cam") in refs
    assert StreamRef("edge", "a/live", "cam") in refs
    assert len(refs) == 4


@pytest.mark.parametrize("client", [341361, "341361"])
def test_older_versions_number_their_clients(client: object) -> None:
    assert parse(client_id=client).session == "341361"


@pytest.mark.parametrize(
    ("action", "stream", "call", "name"),
    [
        ("on_play", "cam.m3u8", "play", "cam"),
        ("on_stop", "cam.m3u8", "stop", "cam"),
        ("on_play", "cam", "play", "cam"),
        # Nobody can hide behind the ending.
        ("on_publish", "cam.m3u8", "publish", "cam.m3u8"),
        ("on_unpublish", "cam", "unpublish", "cam"),
    ],
)
def test_viewers_of_hls_ask_for_the_playlist(action: str, stream: str, call: str, name: str) -> None:
    request = parse(action=action, stream=stream)

    assert (request.call, request.ref) == (call, StreamRef("edge", "live", name))


def test_only_the_end_of_a_publication_is_news() -> None:
    news = {
        action: parse(action=action).news for action in ("on_publish", "on_unpublish", "on_play", "on_stop", "on_hls")
    }

    assert [action for action, is_news in news.items() if is_news] == ["on_unpublish"]


def test_a_connection_names_no_stream() -> None:
    hook = {key: value for key, value in HOOK.items() if key != "stream"} | {"action": "on_connect"}

    assert parse_body(json.dumps(hook).encode()).ref is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"action=on_publish&app=live&stream=cam",
        b"[]",
        b"[" * 100_000,
        json.dumps(HOOK).encode()[:-1] + b',"stream":"innocent"}',
        json.dumps(HOOK | {"pad": "x" * MAX_BODY_BYTES}).encode(),
        *(
            json.dumps(HOOK | change).encode()
            for change in (
                {"action": ""},
                {"action": "on_"},
                {"action": "publish"},
                {"action": None},
                {"app": ""},
                {"vhost": ""},
                {"stream": ""},
                {"stream": ["cam"]},
                {"app": None},
            )
        ),
    ],
)
def test_a_hook_that_says_too_little_or_two_things_is_refused(body: bytes) -> None:
    with pytest.raises(GateRequestError):
        parse_body(body)


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff\xfe", b"\xed\xa0\x80", "кам".encode(), b"a\x01b"])
def test_a_name_of_strange_bytes_reads_as_in_the_listing(name: bytes) -> None:
    body = json.dumps(HOOK).encode().replace(b'"cam"', b'"' + name + b'"')

    assert parse_body(body).ref == StreamRef("edge", "live", name.decode("utf-8", "replace"))


@pytest.mark.parametrize("address", ["", "unix:", "999.1.1.1", "192.0.2.7<b>", "localhost"])
def test_an_address_that_is_none_is_left_out(address: str) -> None:
    assert parse(ip=address).publisher_address is None


@pytest.mark.parametrize("client", ["", "../streams", "a b", "x" * 65])
def test_a_client_that_cannot_be_addressed_is_left_out(client: str) -> None:
    assert parse(client_id=client).session == ""


def test_srs_understands_the_replies() -> None:
    yes, no = hook_reply(allow=True), hook_reply(allow=False)

    assert takes_for_yes(yes.status, yes.body)
    assert not takes_for_yes(no.status, no.body)
    # Whichever of the two a version looks at.
    assert not takes_for_yes(200, no.body)
    assert not takes_for_yes(no.status, yes.body)
