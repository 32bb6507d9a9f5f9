from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import MediaServerRefused
from monitor.servers.control import Answer
from monitor.servers.json_documents import as_text, read_answer, read_json


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"<html>", b"[" * 200_000, b'{"a":' * 100_000, b'{"a":1,"a":2}', b'[{"b":{"c":1,"c":1}}]', b"9" * 5000],
    ids=["empty", "cut", "html", "deep_list", "deep_object", "twice", "twice_inside", "long_number"],
)
def test_what_cannot_be_read_is_told_without_quoting_it(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"^this is no JSON document$"):
        read_json(document)


@given(st.binary(max_size=40))
def test_bytes_that_are_no_text_spoil_nothing_but_their_own_string(name: bytes) -> None:
    quoted = name.replace(b"\\", b"").replace(b'"', b"")

    read = read_json(b'[{"name":"' + quoted + b'"},{"name":"cam"}]')

    assert read == [{"name": quoted.decode("utf-8", "replace")}, {"name": "cam"}]


@given(st.text(st.characters(), max_size=10))
def test_a_name_can_be_stored_and_is_the_same_written_either_way(name: str) -> None:
    escaped = as_text(read_json(json.dumps(name).encode()))

    assert escaped.encode().decode() == escaped
    assert escaped == as_text(name)
    if not any("\ud800" <= character <= "\udfff" for character in name):
        assert escaped == name == read_json(json.dumps(name, ensure_ascii=False).encode())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(401, b"[1]"), "unauthorized"),
        (Answer(403, b"[1]"), "unauthorized"),
        (Answer(500, b"[1]"), "bad_status"),
        (Answer(302, b"[1]"), "bad_status"),
        (Answer(200, b'["1"]'), "not_a_listing"),
        (Answer(200, b"{}"), "not_a_listing"),
        (Answer(200, b""), "not_a_listing"),
    ],
)
def test_an_answer_is_what_was_meant_or_is_refused(answer: Answer, reason: str) -> None:
    assert read_answer(Answer(200, b"[1]"), list[int]) == [1]
    with pytest.raises(MediaServerRefused) as refusal:
        read_answer(answer, list[int])
    assert refusal.value.reason == reason
