"""The code that partners are told to copy, run as they would run it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from monitor.alerts.signing import Signer, public_part, written
from monitor.config.models import AlertsSection
from tests.fakes.receiver import SECRET

PAGE = (Path(__file__).parents[3] / "docs" / "receiving.md").read_text(encoding="utf-8")
OTHER = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
BODY = '{"data": {"stream_name": "Zürich %s \\" \\u0000"}}\n'.encode()

Check = Callable[[dict[str, str], bytes], bool]


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


def by_python(headers: dict[str, str], body: bytes, _folder: Path) -> bool:
    names: dict[str, Any] = {}
    exec(block("python"), names)  # it is our own page
    return bool(names["is_genuine"](headers, body, SECRET))


def by_node(headers: dict[str, str], body: bytes, folder: Path) -> bool:
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    (folder / "body").write_bytes(body)
    call = f"isGenuine({json.dumps(headers)}, require('fs').readFileSync('body'), {json.dumps(SECRET)})"
    (folder / "check.js").write_text(block("javascript") + f"\nconsole.log({call});\n", encoding="utf-8")
    done = subprocess.run(["node", "check.js"], cwd=folder, capture_output=True, text=True, check=True)
    return {"true\n": True, "false\n": False}[done.stdout]


def by_shell(headers: dict[str, str], body: bytes, folder: Path) -> bool:
    (folder / "body").write_bytes(body)
    (folder / "check.sh").write_text(block("sh"), encoding="utf-8")
    environ = {
        "PATH": "/usr/bin:/bin",
        "SECRET": SECRET,
        "ID": headers["webhook-id"],
        "TIMESTAMP": headers["webhook-timestamp"],
        "SIGNATURE": headers["webhook-signature"],
    }
    done = subprocess.run(["sh", "check.sh"], cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert not done.stderr
    return {("genuine\n", 0): True, ("forged\n", 1): False}[(done.stdout, done.returncode)]


@pytest.fixture(params=[by_python, by_node, by_shell])
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Check:
    return lambda headers, body: bool(request.param(headers, body, tmp_path))


def signed(*secrets: str, at: datetime | None = None) -> dict[str, str]:
    return Signer([SecretStr(secret) for secret in secrets]).headers("event-1", BODY, at=at or datetime.now(UTC))


def test_what_the_sender_signed_is_genuine_also_while_a_secret_is_replaced(check: Check) -> None:
    assert check(signed(SECRET), BODY)
    assert check(signed(OTHER, SECRET), BODY)


def test_anything_else_is_forged(check: Check) -> None:
    assert not check(signed(OTHER), BODY)
    assert not check(signed(SECRET), BODY + b" ")
    assert not check(signed(SECRET) | {"webhook-id": "event-2"}, BODY)
    assert not check(signed(SECRET) | {"webhook-signature": "v1,"}, BODY)
    later = {"webhook-timestamp": str(int(signed(SECRET)["webhook-timestamp"]) + 1)}
    assert not check(signed(SECRET) | later, BODY)


@pytest.mark.parametrize("verify", [by_python, by_node])
@pytest.mark.parametrize("off", [timedelta(minutes=-6), timedelta(minutes=6)])
def test_a_replayed_request_is_refused(
    verify: Callable[[dict[str, str], bytes, Path], bool], off: timedelta, tmp_path: Path
) -> None:
    assert not verify(signed(SECRET, at=datetime.now(UTC) + off), BODY, tmp_path)


def test_the_configuration_shown_is_valid() -> None:
    (example,) = re.findall(r"^```yaml\n(alerts:.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    section = AlertsSection.model_validate(yaml.safe_load(example)["alerts"])
    assert [receiver.name for receiver in section.receivers] == ["partner"]


def theirs_by_python(headers: dict[str, str], public: str, body: bytes, _folder: Path) -> bool:
    names: dict[str, Any] = {}
    exec(block("py"), names)  # it is our own page
    return bool(names["is_theirs"](headers, body, public))


def theirs_by_node(headers: dict[str, str], public: str, body: bytes, folder: Path) -> bool:
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    (folder / "body").write_bytes(body)
    call = f"isTheirs({json.dumps(headers)}, require('fs').readFileSync('body'), {json.dumps(public)})"
    (folder / "check.js").write_text(block("js") + f"\nconsole.log({call});\n", encoding="utf-8")
    done = subprocess.run(["node", "check.js"], cwd=folder, capture_output=True, text=True, check=True)
    return {"true\n": True, "false\n": False}[done.stdout]


@pytest.mark.parametrize("verify", [theirs_by_python, theirs_by_node])
def test_a_public_key_tells_who_signed(tmp_path: Path, verify: Callable[..., bool]) -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    signer = Signer([SecretStr(SECRET)], [SecretStr(written(one)) for one in (other, key)])
    headers = signer.headers("event-1", BODY, at=datetime.now(UTC))
    assert verify(headers, public_part(key), BODY, tmp_path)
    assert not verify(headers, public_part(Ed25519PrivateKey.generate()), BODY, tmp_path)
    assert not verify(headers, public_part(key), BODY + b" ", tmp_path)
    assert not verify(signed(SECRET), public_part(key), BODY, tmp_path)
