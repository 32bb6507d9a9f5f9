from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import ConfigError, ModelPackageError, ProtocolDefinitionError
from monitor.yaml_source import MAX_BYTES, MAX_DEPTH, MAX_VALUES, parse_scalar, parse_yaml, path_text

TEXT = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_every_json_document_means_the_same_in_yaml(value: Any) -> None:
    assert parse_yaml(json.dumps(value, ensure_ascii=False), "f").data == value


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_input_is_read_or_refused_with_problems(text: str | bytes) -> None:
    with contextlib.suppress(ConfigError):
        parse_yaml(text, "f")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("0123", 123),
        ("0o17", 15),
        ("0x1F", 31),
        ("-7", -7),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("127.0.0.1:8930", "127.0.0.1:8930"),
        ("'5'", "5"),
        ("=", "="),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    read = parse_yaml(f"- {text}", "f").data[0]
    assert (read, type(read)) == (value, type(value))


def test_the_key_on_stays_a_word() -> None:
    assert parse_yaml("on: {detection: raised}", "f").data == {"on": {"detection": "raised"}}


def test_lines_of_keys_items_and_absent_children() -> None:
    document = parse_yaml("# intro\na: 1\n\nlist:\n  - x\n  - name: y\n    deep: {er: 2}\n  - - z\n", "f")
    assert document.line(("a",)) == 2
    assert document.line(("list",)) == 4
    assert document.line(("list", 0)) == 5
    assert document.line(("list", 1, "name")) == 6
    assert document.line(("list", 1, "deep", "er")) == 7
    assert document.line(("list", 2, 0)) == 8
    assert document.line(("list", 1, "absent", "deeper")) == 6
    assert document.line(("absent",)) == 2
    assert str(document.problem(("list", 1, "name"), "what", "mend")) == "f:6: list[1].name: what: mend"


def test_an_empty_document_has_no_lines() -> None:
    document = parse_yaml("# nothing\n", "f")
    assert (document.data, document.line(()), document.line(("a",))) == (None, None, None)


@pytest.mark.parametrize("error", [ConfigError, ProtocolDefinitionError, ModelPackageError])
def test_the_caller_chooses_the_error(error: type[ConfigError]) -> None:
    with pytest.raises(error) as caught:
        parse_yaml("a: 1\na: 2\nb: 1\nb: 2", "f", error)
    assert [problem.line for problem in caught.value.problems] == [2, 4]


def test_aliases_work_within_bounds() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x", "f").data == {"a": [1, 2], "b": [1, 2]}


def test_size_depth_and_count_are_bounded() -> None:
    parse_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH, "f")
    with pytest.raises(ConfigError, match="deeper"):
        parse_yaml("[" * 5000 + "]" * 5000, "f")
    with pytest.raises(ConfigError, match="larger than 1024 KiB"):
        parse_yaml("#" * (MAX_BYTES + 1), "f")
    with pytest.raises(ConfigError, match="more than 20000 values"):
        parse_yaml("[" + "0," * MAX_VALUES + "]", "f")


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    with pytest.raises(ConfigError, match="too long"):
        parse_yaml("a: " + "9" * 5000, "f")


@pytest.mark.parametrize(
    "text",
    [
        "password: *canary",
        "password: @canary",
        "password: %canary",
        "password: !canary x",
        'password: "canary\\q"',
        "password: 'canary",
        "password: canary: canary",
        "password: [canary",
        "{canary canary: [}",
        "? [canary]\n: canary",
        "canary\x00: 1",
    ],
)
def test_no_mistake_quotes_the_document(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f")
    assert "canary" not in str(caught.value)


def test_paths_read_as_people_write_them_and_forge_nothing() -> None:
    assert path_text(("servers", 0, "streams", 12, "url")) == "servers[0].streams[12].url"
    assert path_text(()) == ""
    assert "\n" not in path_text(("a\nerror: forged",))


def test_scalars_from_the_environment() -> None:
    assert parse_scalar("true") is True
    assert parse_scalar("[a, 2]") == ["a", 2]
    assert parse_scalar("'5'") == "5"
    assert parse_scalar("*no yaml") == "*no yaml"
    assert parse_scalar("a: b: c") == "a: b: c"
    assert parse_scalar("word # not a comment") == "word # not a comment"
