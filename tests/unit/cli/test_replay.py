from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.cli.main import main


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    file = tmp_path / "scores.csv"
    rows = [f"{number},{0.95 if 20 <= number < 120 else 0.1}" for number in range(200)]
    file.write_text("\n".join(["t,violence", *rows]))
    return file


def test_protocols_and_thresholds_are_set_side_by_side(scores: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["replay", str(scores), "--server-can", "hold", "--json"]
    arguments += ["--protocol", "assisted,decide_within=30s", "--protocol", "immediate"]
    arguments += ["--thresholds", "review=0.6,act=0.9", "--thresholds", "review=0.97,act=0.99"]

    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)

    names = ["review 0.6, act 0.9", "review 0.97, act 0.99"]
    assert [run["name"] for run in found["runs"]] == [
        f"{protocol} at {thresholds}"
        for protocol in ("assisted,decide_within=30s", "immediate")
        for thresholds in names
    ]
    assisted, nothing, immediate, _ = found["runs"]
    assert assisted["parameters"]["decide_within"] == "30s"
    urgent = next(state for state in assisted["states"] if state["state"] == "urgent")
    assert assisted["effects"]["hold"]["first_s"] == urgent["to"] == urgent["from"] + 30
    assert nothing["effects"] == {}
    assert [state["state"] for state in nothing["states"]] == ["calm"]
    assert immediate["effects"]["cut"]["count"] == 1
    assert immediate["off_air_s"] > assisted["off_air_s"] > 0


def test_people_see_what_differs(scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = tmp_path / "drawn.png"
    arguments = ["replay", str(scores), "--thresholds", "review=0.6,act=0.9", "--plot", str(drawn)]

    assert main([*arguments, "--protocol", "observe", "--protocol", "immediate"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[0] == f"{scores}: 199.0 s, 200 clips"
    assert next(line for line in lines if line.startswith("ends in")).split() == ["ends", "in", "grave", "contained"]
    assert next(line for line in lines if line.startswith("cut:")).split()[-4] == "-"
    assert drawn.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--thresholds", "review"], "write review=0.6,act=0.9"),
        (["--thresholds", "review=2"], "write review=0.6,act=0.9"),
        (["--thresholds", "review=0.9,act=0.5"], "act is below review"),
        (["--protocol", "observe,x=1"], "has no 'x'"),
        (["--protocol", "nothing"], "there is no such protocol"),
        ([word for _ in range(7) for word in ("--protocol", "observe")], "compare at most 6"),
        (["--plot", "/nowhere/at/all.png"], "there is no folder"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str], said: str, scores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(scores), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_labels_that_the_model_does_not_have_need_thresholds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scores.csv"
    file.write_text("t,arson\n1,0.5\n")

    assert main(["replay", str(file)]) == 2
    assert "the model has no label 'arson'" in capsys.readouterr().err
    assert main(["replay", str(file), "--thresholds", "review=0.4,act=0.9"]) == 0
