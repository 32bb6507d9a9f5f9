from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import GateRequestError
from monitor.servers.nginx_rtmp.gate import MAX_BODY_BYTES, parse_publish_hook, publish_hook_reply
from monitor.servers.nginx_rtmp.names import as_listed
from monitor.servers.port import GateReply, GateRequest, RawGateRequest
from monitor.vocabulary import StreamRef

FORM = "application/x-www-form-urlencoded"
BODY = (
    b"app=live&flashver=FMLE/3.0%20(compatible%3B%20Lavf59.27&swfurl=&tcurl=rtmp://192.0.2.1:1935/live&pageurl="
    b"&addr=192.0.2.7&clientid=31&call=publish&name=cam&type=live"
)


def parse(body: bytes, content_type: str = FORM) -> GateRequest:
    return parse_publish_hook("edge", RawGateRequest(content_type=content_type, body=body))


def test_the_form_that_nginx_sends_is_read() -> None:
    assert parse(BODY) == GateRequest("publish", StreamRef("edge", "live", "cam"), "31", "192.0.2.7")


@pytest.mark.parametrize(
    "arguments",
    [
        b"name=innocent",
        b"call=play",
        b"app=other",
        b"addr=9.9.9.9",
        b"clientid=1",
        b"name=a&name=b&call=connect",
        b"&&=&",
    ],
)
def test_arguments_that_the_publisher_appended_change_nothing(arguments: bytes) -> None:
    assert parse(BODY + b"&" + arguments) == parse(BODY)


@given(st.binary(max_size=200))
def test_no_argument_whatever_changes_what_is_decided_on(arguments: bytes) -> None:
    assert parse(BODY + b"&" + arguments) == parse(BODY)


@pytest.mark.parametrize("key", [b"n%61me", b"%6eame", b" name", b"name ", b"NAME", b"name%00"])
def test_a_key_in_disguise_is_no_key(key: bytes) -> None:
    disguised = BODY.replace(b"app=live&", b"app=live&" + key + b"=innocent&")

    assert parse(disguised).ref == StreamRef("edge", "live", "cam")


@given(st.binary(min_size=1, max_size=255))
def test_an_escaped_name_is_the_listed_name(name: bytes) -> None:
    # nginx escapes at least these; a plus sign stands for itself.
    escaped = quote(name, safe="/:;=@$!*'(),+[]<>\"\\^`{|}~").encode()

    request = parse(BODY.replace(b"name=cam", b"name=" + escaped))

    assert request.ref == StreamRef("edge", "live", as_listed(name))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"call=publish",
        BODY.replace(b"&name=cam", b""),
        BODY.replace(b"name=cam", b"name="),
        BODY.replace(b"name=cam", b"name"),
        BODY.replace(b"app=live&", b""),
        BODY.replace(b"app=live", b"app="),
        BODY.replace(b"call=publish", b"call="),
        BODY.replace(b"&call=publish", b""),
        BODY.replace(b"name=cam", b"name=" + b"x" * 256),
        BODY + b"&" + b"x" * MAX_BODY_BYTES,
    ],
)
def test_a_form_that_says_too_little_or_too_much_is_refused(body: bytes) -> None:
    with pytest.raises(GateRequestError):
        parse(body)


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data", "text/plain"])
def test_only_forms_are_read(content_type: str) -> None:
    with pytest.raises(GateRequestError, match="notify_method"):
        parse(BODY, content_type)


def test_the_content_type_may_have_parameters_and_capitals() -> None:
    assert parse(BODY, "Application/X-WWW-Form-Urlencoded; charset=utf-8") == parse(BODY)


def test_other_calls_need_no_stream() -> None:
    request = parse(b"app=live&flashver=&swfurl=&tcurl=&pageurl=&addr=192.0.2.7&epoch=5&call=connect")

    assert request == GateRequest("connect", None, "", "192.0.2.7")


@pytest.mark.parametrize("call", ["play", "publish_done", "update_publish"])
def test_other_calls_keep_their_name(call: str) -> None:
    assert parse(BODY.replace(b"call=publish", f"call={call}".encode())).call == call


@pytest.mark.parametrize("address", [b"unix:", b"", b"999.1.1.1", b"\xff", b"192.0.2.7%3Cb%3E"])
def test_an_address_that_is_none_is_left_out(address: bytes) -> None:
    assert parse(BODY.replace(b"192.0.2.7", address)).publisher_address is None


def test_a_session_that_is_no_number_is_left_out() -> None:
    assert parse(BODY.replace(b"clientid=31", b"clientid=31%26x")).session == ""


def test_nginx_understands_the_replies() -> None:
    assert publish_hook_reply(allow=True) == GateReply(200)
    assert publish_hook_reply(allow=False) == GateReply(403)
