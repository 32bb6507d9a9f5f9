from __future__ import annotations

import base64
from pathlib import Path

import pytest
from pydantic import SecretStr

from monitor.config.secrets import (
    expand_variables,
    missing_variables,
    readable_by_others,
    resolve_secret,
    signing_secret_weakness,
    token_weakness,
)
from monitor.config.section import Secret
from monitor.errors import ConfigError


def whsec(length: int) -> SecretStr:
    return SecretStr("whsec_" + base64.b64encode(b"x" * length).decode())


def test_a_variable_without_white_space_around_it() -> None:
    assert resolve_secret(Secret(env="A"), {"A": " c4n4ry\n"}).get_secret_value() == "c4n4ry"


def test_the_first_line_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"c4n4ry\r\nnot this\n")
    assert resolve_secret(Secret(file=tmp_path / "s"), {}).get_secret_value() == "c4n4ry"


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"\nc4n4ry", "is empty"), (b"\xff\xfec4n4ry\n", "no text"), (None, "cannot be read")],
)
def test_files_that_hold_no_secret(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "s").write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        resolve_secret(Secret(file=tmp_path / "s"), {})
    assert "c4n4ry" not in str(caught.value)


@pytest.mark.parametrize("environ", [{}, {"A": ""}, {"A": "  "}])
def test_variables_that_hold_no_secret(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="environment variable A is "):
        resolve_secret(Secret(env="A"), environ)


@pytest.mark.parametrize(
    ("token", "weakness"),
    [
        ("0123456789abcdef", None),
        ("~!@#$%^&*()_+{}|:", None),
        ("0123456789abcde", "shorter than 16"),
        ("0123456789 abcdef", "HTTP header"),
        ("0123456789abcdé-f", "HTTP header"),
    ],
)
def test_tokens(token: str, weakness: str | None) -> None:
    found = token_weakness(SecretStr(token))
    assert found is None if weakness is None else weakness in str(found)


@pytest.mark.parametrize(
    ("secret", "weakness"),
    [
        (whsec(24), None),
        (whsec(64), None),
        (whsec(23), "24 to 64 bytes, not 23"),
        (whsec(65), "24 to 64 bytes, not 65"),
        (SecretStr("whsec_"), "not 0"),
        (SecretStr("whsec_c4n4ry!"), "no base64"),
        (SecretStr("whsec_c4n4r"), "no base64"),
        (SecretStr("c4n4ry"), "does not start with whsec_"),
    ],
)
def test_signing_secrets(secret: SecretStr, weakness: str | None) -> None:
    found = signing_secret_weakness(secret)
    assert found is None if weakness is None else weakness in str(found)
    assert "c4n4r" not in str(found)


def test_a_file_that_everybody_may_read_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "s"
    file.write_text("c4n4ry")
    file.chmod(0o640)
    assert not readable_by_others(Secret(file=file))
    file.chmod(0o644)
    assert readable_by_others(Secret(file=file))
    assert not readable_by_others(Secret(file=tmp_path / "none"))
    assert not readable_by_others(Secret(env="A"))


def test_variables_in_addresses() -> None:
    text = "rtsp://${LOGIN}@${HOST}/${LOGIN}$NOT{THIS}"
    assert expand_variables(text, {"LOGIN": "me", "HOST": "h"}) == "rtsp://me@h/me$NOT{THIS}"
    assert missing_variables(text, {"HOST": ""}) == ("LOGIN", "HOST")
    with pytest.raises(ConfigError) as caught:
        expand_variables(text, {})
    assert [problem.file for problem in caught.value.problems] == [
        "environment variable LOGIN",
        "environment variable HOST",
    ]
