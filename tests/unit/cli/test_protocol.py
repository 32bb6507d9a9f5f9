from __future__ import annotations

from pathlib import Path

import pytest

from monitor.cli.main import main
from monitor.protocol.diagram import to_mermaid
from monitor.shipped import protocols_dir
from tests.fakes.protocols import shipped

BAD = Path(__file__).parents[1] / "protocol" / "bad"


def test_shipped_protocols_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["protocol", "check", *map(str, sorted(protocols_dir().glob("*.yaml")))]) == 0
    assert capsys.readouterr().out == "ok\n"


def test_every_mistake_of_every_file_is_told_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    files = [BAD / "untold_cut.yaml", BAD / "answers_itself_over_two_states.yaml", BAD / "missing.yaml"]

    assert main(["protocol", "check", *map(str, files)]) == 2
    heard = capsys.readouterr()

    assert heard.out == f"{len(heard.err.splitlines())} problems\n"
    assert f"{files[1]}:13: states.watching.on[0]: the end of preserve leads to preserve again" in heard.err
    assert f"{files[2]}: the file cannot be read" in heard.err


def test_a_protocol_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "drawn.mmd"

    assert main(["protocol", "show", "assisted", "--mermaid"]) == 0
    assert main(["protocol", "show", "assisted", "-o", str(file)]) == 0

    assert capsys.readouterr().out == file.read_text() == to_mermaid(shipped()["assisted"])
