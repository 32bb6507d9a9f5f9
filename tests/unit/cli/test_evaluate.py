from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.cli import evaluate as command
from monitor.cli.main import EXIT_FAILED, EXIT_USAGE, main
from monitor.evaluation import plot as plot_module
from monitor.evaluation.pictures import Shown
from tests.fakes.checkout import ROOT
from tests.fakes.footage import Footage, Picture, film, garbage, plain
from tests.fakes.model_packages import write_image_package, write_motion_package

CONFIG = """\
servers: [{name: here, kind: static, streams: [{name: file, url: /nowhere.mp4}]}]
detection: {review: {hits: 2, of: 3}, act: {hits: 3, of: 4}, clear_after: 2s}
"""
HEADING = "path,label,dataset,group,licence\n"
WHITE, BLACK = plain(255, 255, 255, 160, 90), plain(0, 0, 0, 160, 90)


def flashing(every: int) -> Picture:
    """White for one second of every few."""
    return lambda number: WHITE(number) if number // 10 % every == 0 else BLACK(number)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy model that takes bright for violent, and a list of bright violent, dark normal and a few bad rows."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_image_package(folder / "model")
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "clips").mkdir()
    footage = Footage(duration_s=12, frame_rate=10, width=160, height=90)
    rows = []
    for number in range(3):
        film(folder / f"clips/bright{number}.mp4", footage, WHITE)
        rows.append(f"bright{number}.mp4,violence,staged,v{number},MIT")
    for number in range(6):
        film(folder / f"clips/dark{number}.mp4", footage, BLACK)
        rows.append(f"dark{number}.mp4,normal,{'staged' if number < 3 else 'ordinary'},,MIT")
    film(folder / "clips/flashing.mp4", footage, flashing(6))
    rows.append("flashing.mp4,normal,ordinary,,MIT")
    garbage(folder / "clips/garbage.mp4")
    rows += ["garbage.mp4,normal,ordinary,,MIT", "missing.mp4,normal,ordinary,,MIT", "dark0.mp4,fine,ordinary,,MIT"]
    (folder / "clips/clips.csv").write_text(HEADING + "\n".join(rows) + "\n")
    return folder


def arguments(toys: Path, *more: str) -> list[str]:
    usual = ["--config", str(toys / "config.yaml"), "--model", str(toys / "model")]
    return ["evaluate", str(toys / "clips/clips.csv"), *usual, *more]


def evaluated(toys: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert main(arguments(toys, "--json", *more)) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def without_cost(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if not name.startswith("cpu_ms")}


@pytest.mark.parametrize("sampling", ["calm", "close"])
def test_json_tells_what_was_asked_for(toys: Path, capsys: pytest.CaptureFixture[str], sampling: str) -> None:
    found = evaluated(toys, capsys, "--sampling", sampling, "--jobs", "1")
    assert (found["sampling"], found["label"], found["clip_score"]) == (sampling, "bright", "mean")
    staged, ordinary, everything = found["datasets"]["staged"], found["datasets"]["ordinary"], found["all"]
    for one in (staged, everything):
        assert (one["auc"], one["average_precision"]) == (1.0, pytest.approx(1.0))
        assert one["auc_ci95"] == [1.0, 1.0]
        assert one["recall_review"] == 1.0
    assert (ordinary["auc"], ordinary["auc_ci95"], ordinary["recall_act"]) == (None, None, None)
    assert [one["clips"] for one in (staged, ordinary, everything)] == [6, 4, 10]
    assert everything["normal_hours"] == pytest.approx(7 * 12 / 3600, rel=0.02)
    assert everything["clips_without_group"] == 7
    assert staged["false_reviews_per_hour"] == 0
    assert staged["false_reviews_per_hour_ci95"][1] == pytest.approx(3.689 / staged["normal_hours"], rel=1e-3)
    assert 0 <= found["ece"] < 0.2
    assert found["cpu_ms_per_clip"] == found["cpu_ms_per_clip_decode"] + found["cpu_ms_per_clip_classify"] > 0
    assert [(one["line"], one["path"], one["reason"]) for one in found["skipped"]] == [
        (12, "garbage.mp4", "unknown_container"),
        (13, "missing.mp4", "not_found"),
        (14, "dark0.mp4", "unknown_label"),
    ]
    assert found["onset"]["streams"] == 2
    assert found["onset"]["review"]["noticed"] + found["onset"]["review"]["before"] == 2


def test_every_key_is_explained(toys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "evaluating.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", page))
    assert keys(evaluated(toys, capsys, "--jobs", "1")) - {"staged", "ordinary", "bright"} - named == EXPLAINED_BY_NAME


EXPLAINED_BY_NAME = {"threshold", "hits", "of", "clear_ratio", "clear_after_s"}
"""Those of the rules are the configuration's own words."""


def keys(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(keys, value))
    if not isinstance(value, dict):
        return set()
    return {key.removesuffix("_ci95") for key in value}.union(*map(keys, value.values()))


def test_false_alarms_are_those_of_detector_and_protocol(toys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A second of white every six: two windows in a row, which is a review each time, and never three, which were a cut.
    ordinary = evaluated(toys, capsys, "--sampling", "close", "--jobs", "1")["datasets"]["ordinary"]
    assert (ordinary["false_reviews"], ordinary["false_cuts"]) == (2, 0)
    assert ordinary["false_reviews_per_hour"] == pytest.approx(2 / ordinary["normal_hours"])
    assert ordinary["windows_at_review"]["normal"] == pytest.approx(4 / ordinary["windows"], abs=0.02)


def test_neither_processes_nor_runs_change_a_figure(toys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = evaluated(toys, capsys, "--jobs", "1")
    together = evaluated(toys, capsys, "--jobs", "2")
    assert without_cost(alone) == without_cost(together)
    other = evaluated(toys, capsys, "--jobs", "1", "--seed", "7")
    assert other["all"]["auc"] == alone["all"]["auc"]
    assert other["seed"] == 7


def test_the_table_is_for_people_and_names_what_was_left_out(toys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(toys, "--jobs", "1")) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for words in ("staged", "ordinary", "1.000 (1.00-1.00)", "3 rows skipped", "line 13: missing.mp4", "flatter"):
        assert words in out
    assert "7 clips name no group" in out
    assert max(map(len, out.splitlines())) <= 132


def test_violent_clips_are_veiled_and_no_others(
    toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def picture_of(file: Path, at_s: float, *, veiled: bool) -> Shown:
        asked.append((file.name, veiled))
        black: NDArray[np.uint8] = np.zeros((9, 16, 3), np.uint8)
        return Shown(at_s, black)

    monkeypatch.setattr(plot_module, "picture_of", picture_of)
    picture = tmp_path / "a.png"
    assert main(arguments(toys, "--jobs", "1", "--plot", str(picture))) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().err.endswith(f"drew {picture}\n")
    assert {name for name, veiled in asked if veiled} == {f"bright{number}.mp4" for number in range(3)}
    assert {name for name, veiled in asked if not veiled} >= {"flashing.mp4"}
    assert all(name.startswith("bright") is veiled for name, veiled in asked)


def test_one_label_alone_still_gives_rates_and_a_plot(
    toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = tmp_path / "normal.csv"
    listing.write_text("path,label,dataset\ndark0.mp4,normal,a\ndark1.mp4,normal,a\n")
    picture = tmp_path / "a.png"
    more = ["--config", str(toys / "config.yaml"), "--model", str(toys / "model"), "--root", str(toys / "clips")]
    assert main(["evaluate", str(listing), *more, "--jobs", "1", "--plot", str(picture), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["all"]["auc"], found["all"]["false_cuts_per_hour"], found["onset"]["streams"]) == (None, 0.0, 0)
    assert found["ece_balanced"] is None
    assert picture.stat().st_size > 5_000


def test_mistakes_of_the_command_line_and_the_list_end_with_2(
    toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = tmp_path / "clips.csv"
    listing.write_text("file,label,dataset\na.mp4,normal,d\n")
    assert main(["evaluate", str(listing), *arguments(toys)[2:]]) == EXIT_USAGE
    assert capsys.readouterr().err == (
        f"{listing}:1: path: the list has no such column: begin with the heading path,label,dataset,group,licence\n"
    )
    assert main(arguments(toys, "--label", "gun")) == EXIT_USAGE
    assert "the model has bright" in capsys.readouterr().err
    assert main(arguments(toys, "--plot", str(tmp_path / "no/where.png"))) == EXIT_USAGE
    assert "no folder" in capsys.readouterr().err
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert main(arguments(toys, "--plot", str(tmp_path / "a.png"))) == EXIT_USAGE
    assert "livecordon[plot]" in capsys.readouterr().err


def test_several_labels_without_violence_need_one_named(
    toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_motion_package(tmp_path / "motion")
    more = ["--config", str(toys / "config.yaml"), "--model", str(tmp_path / "motion")]
    assert main(["evaluate", str(toys / "clips/clips.csv"), *more]) == EXIT_USAGE
    assert "--label is needed" in capsys.readouterr().err


def test_nothing_that_can_be_scored_is_a_failure_in_words(
    toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = tmp_path / "clips.csv"
    listing.write_text("path,label,dataset\nmissing.mp4,normal,d\n")
    assert main(["evaluate", str(listing), *arguments(toys)[2:], "--jobs", "1"]) == EXIT_FAILED
    assert "line 2: missing.mp4: there is nothing" in capsys.readouterr().err


def test_it_runs_as_people_run_it(toys: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "monitor", *arguments(toys, "--json")],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert ended.stderr == ""
    assert json.loads(ended.stdout)["all"]["auc"] == 1.0
