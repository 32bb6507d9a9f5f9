from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.cli.main import main
from monitor.shipped import protocols_dir

CANARY = "c4n4ry-0f6e2"


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens and nobody else can."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def static_server(text: str = "") -> str:
    return (
        "web: {listen: '127.0.0.1:0'}\n"
        "servers:\n"
        "  - {name: cameras, kind: static, cut_command: ['true'], streams: [{name: a, url: a.mp4}]}\n" + text
    )


def check(folder: Path, text: str, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str, list[str]]:
    """Return exit status, the last line and the problems and warnings."""
    (folder / "a.mp4").touch()
    (folder / "config.yaml").write_text(text)
    status = main(["check", "--config", str(folder / "config.yaml"), *options])
    shown = capsys.readouterr()
    assert CANARY not in shown.out + shown.err
    return status, shown.out, [line.replace(f"{folder}/", "") for line in shown.err.splitlines()]


def test_all_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, static_server(), capsys) == (0, "ok\n", [])


def test_every_problem_of_the_configuration_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, last, lines = check(tmp_path, f"dri_run: {CANARY}\nweb: {{listen: {CANARY}}}\nlog: {CANARY}\n", capsys)
    assert (status, last) == (2, "4 problems\n")
    assert [line.partition(": ")[0] for line in lines] == [
        "config.yaml:1",
        "config.yaml:1",
        "config.yaml:2",
        "config.yaml:3",
    ]


def test_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(tmp_path / "none.yaml")]) == 2
    shown = capsys.readouterr()
    assert "there is no such file" in shown.err
    assert shown.out == "1 problem\n"


def test_problems_of_protocols_model_and_servers_come_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], closed_port: int
) -> None:
    (tmp_path / "protocols").mkdir()
    (tmp_path / "protocols" / "assisted.yaml").write_text("protocol: assisted\n")
    text = static_server(
        "  - name: nginx\n"
        "    kind: nginx_rtmp\n"
        f"    stat_url: http://127.0.0.1:{closed_port}/stat?key={CANARY}\n"
        f"    control_url: http://127.0.0.1:{closed_port}/{CANARY}\n"
        "    rtmp_url: rtmp://127.0.0.1\n"
        "protocol: {directory: protocols}\n"
        "watch: {model: no-such-model}\n"
    )
    status, last, lines = check(tmp_path, text, capsys)
    assert status == 2
    assert last == f"{len(lines)} problems\n"
    assert any(line.startswith("protocols/assisted.yaml:") for line in lines)
    assert any("no-such-model" in line for line in lines)
    assert [line for line in lines if line.startswith("config.yaml:4: servers[1]: ")]


def test_no_probe_asks_no_server(tmp_path: Path, capsys: pytest.CaptureFixture[str], closed_port: int) -> None:
    text = static_server(
        "  - name: nginx\n"
        "    kind: nginx_rtmp\n"
        f"    stat_url: http://127.0.0.1:{closed_port}/stat\n"
        f"    control_url: http://127.0.0.1:{closed_port}/control\n"
        "    rtmp_url: rtmp://127.0.0.1\n"
    )
    assert check(tmp_path, text, capsys, "--no-probe") == (0, "ok\n", [])
    assert check(tmp_path, text, capsys)[0] == 2


def test_protocols_that_nobody_wrote_are_told_where_they_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVECORDON_SERVERS__0__PROTOCOL", "mine")
    status, last, lines = check(tmp_path, static_server("protocol:\n  default: yours\n"), capsys)
    known = "use one of " + ", ".join(sorted(path.stem for path in protocols_dir().glob("*.yaml")))
    assert (status, last) == (2, "2 problems\n")
    assert lines == [
        f"config.yaml:5: protocol.default: there is no such protocol: {known}",
        f"LIVECORDON_SERVERS__0__PROTOCOL: servers[0].protocol: there is no such protocol: {known}",
    ]


def test_warnings_alone_are_usable(tmp_path: Path, capsys: pytest.CaptureFixture[str], taken_port: int) -> None:
    text = f"web: {{listen: '127.0.0.1:{taken_port}'}}\nservers:\n  - name: demo\n    kind: embedded\n"
    text += f"    url: http://127.0.0.1:{taken_port}\n"
    status, last, lines = check(tmp_path, text, capsys)
    assert (status, last) == (0, "ok, 2 warnings\n")
    assert [line.partition(": the")[0] for line in lines] == [
        "warning: config.yaml:1: web.listen",
        "warning: config.yaml:5: servers[0].url",
    ]


def test_the_file_can_be_named_by_a_variable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text(static_server())
    monkeypatch.setenv("LIVECORDON_CONFIG", str(tmp_path / "mine.yaml"))
    assert main(["check", "--no-probe"]) == 0
    assert capsys.readouterr().out == "ok\n"
