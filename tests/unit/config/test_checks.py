from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config.control_addresses import is_loopback
from monitor.config.loading import load_config


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST", "[::1]", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "[::]", "10.0.0.1", "example.org", "localhost.example.org", "127.0.0.1.example.org", "", "127.1"],
)
def test_everything_else_can_be_reached_by_others(host: str) -> None:
    assert not is_loopback(host)


def test_listening_for_all_is_allowed_with_tokens(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "servers: [{name: demo, kind: embedded}]\n"
        "web:\n"
        "  listen: '[::]:8930'\n"
        "  gate_token: {env: GATE}\n"
        "  tokens: [{name: ada, role: admin, secret: {env: ADA}}]\n"
    )
    assert load_config(file, {"GATE": "0" * 16, "ADA": "1" * 16}).warnings() == ()


def test_warnings_point_at_their_lines(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    (tmp_path / "token").chmod(0o644)
    file = tmp_path / "config.yaml"
    file.write_text(
        "web:\n"
        "  gate_token:\n"
        "    file: token\n"
        "servers:\n"
        "  - {name: a, kind: embedded, insecure_control: true, url: 'http://10.0.0.1:80'}\n"
        "  - {name: d, kind: static, insecure_control: true, cut_webhook: 'http://10.0.0.1/', streams: [{name: x, url: x.mp4}]}\n"
    )
    relay = "the embedded relay is for demo and tests, and has no protection on a network: keep it on 127.0.0.1"
    assert [str(warning).removeprefix(f"{tmp_path}/config.yaml:") for warning in load_config(file, {}).warnings()] == [
        "3: web.gate_token.file: every user of this machine may read this secret: chmod 600",
        "5: servers[0].url: " + relay,
        "5: servers[0].url: streams are controlled unencrypted here: use https",
        "6: servers[1].cut_webhook: streams are controlled unencrypted here: use https",
    ]
