from __future__ import annotations

from pathlib import Path

import pytest

from monitor.cli.main import main
from monitor.protocol.diagram import to_mermaid
from monitor.protocol.drawing import to_svg
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


def test_a_protocol_is_drawn_as_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "drawn.svg"

    assert main(["protocol", "show", "assisted", "--svg"]) == 0
    assert main(["protocol", "show", "assisted", "-o", str(file)]) == 0

    assert capsys.readouterr().out == file.read_text() == to_svg(shipped()["assisted"])


def test_a_picture_shows_the_values_that_were_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["protocol", "show", "assisted", "--svg", "-p", "decide_within=45s,crowd=50"]) == 0
    drawn = capsys.readouterr().out

    assert "decide_within = 45s" in drawn
    assert ">after 45s if severity act<" in drawn
    assert ">viewers 50<" in drawn


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("decide_within", "write NAME=VALUE"),
        ("nothing=1s", "has no 'nothing'; it has decide_within"),
        ("decide_within=1s", "less than 10s"),
        ("crowd=many", "this is no number"),
    ],
)
def test_wrong_parameters_are_refused(given: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["protocol", "show", "assisted", "-p", given]) == 2
    assert said in capsys.readouterr().err
