"""Whatever publishers call themselves: no two have one path or one address, and no question breaks the gate."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import GateRequestError, UnsafeCallRefused
from monitor.servers.livekit.addresses import watch_address
from monitor.servers.mediamtx.gate import parse_question
from monitor.servers.mediamtx.paths import path_of, read_address, ref_of
from monitor.servers.port import RawGateRequest
from monitor.vocabulary import StreamRef

# Mostly what is dangerous in an address, and a few letters, so that names often nearly meet.
WORDS = st.text(st.sampled_from("ab./\\%25~-_:@?#&= {}\0\né\ud800"), max_size=6) | st.text(max_size=8)
REFS = st.builds(StreamRef, st.just("edge"), WORDS, WORDS)


def mediamtx_path(ref: StreamRef) -> str | None:
    try:
        return path_of(ref)
    except UnsafeCallRefused:
        return None


@given(REFS, REFS)
def test_a_mediamtx_path_is_one_streams_alone(first: StreamRef, second: StreamRef) -> None:
    path = mediamtx_path(first)
    if path is not None:
        assert ref_of("edge", path) == first
        assert first == second or mediamtx_path(second) != path
        address = urlsplit(read_address("rtsp://u@h:1/", path, user="a@b", password="c/d"))
        assert (address.hostname, address.port, address.path) == ("h", 1, f"/{path}")


@given(st.sampled_from(["https://h/x/{room}/{identity}/i.m3u8", "rtsp://h/{identity}/{room}"]), REFS, REFS)
def test_a_livekit_address_is_one_participants_alone(template: str, first: StreamRef, second: StreamRef) -> None:
    def address(ref: StreamRef) -> str | None:
        try:
            return watch_address(template, room=ref.app, identity=ref.name)
        except UnsafeCallRefused:
            return None

    made = address(first)
    if made is not None:
        assert first == second or address(second) != made
        assert made.isascii()
        assert made.isprintable()
        parts = urlsplit(made)
        assert (parts.hostname, parts.query, parts.fragment) == ("h", "", "")
        assert parts.path.count("/") == template.partition("//")[2].count("/")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
QUESTIONS = st.fixed_dictionaries(
    {},
    optional={
        "action": st.sampled_from(["publish", "read", "api", ""]) | JSON,
        "path": WORDS | JSON,
        "ip": st.ip_addresses().map(str) | JSON,
        "user": JSON,
        "password": JSON,
        "id": st.uuids().map(str) | JSON,
    },
).map(lambda fields: json.dumps(fields).encode())


@given(QUESTIONS | st.binary(max_size=64))
def test_a_question_of_mediamtx_is_understood_or_refused(body: bytes) -> None:
    try:
        asked = parse_question("edge", RawGateRequest("application/json", body))
    except GateRequestError:
        return
    assert (asked.ref is not None) == (asked.call in {"publish", "read", "playback"})
    if asked.ref is not None:
        assert mediamtx_path(asked.ref) is not None
