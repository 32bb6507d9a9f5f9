from __future__ import annotations

import os
from pathlib import Path

import pytest

from monitor.errors import ClassifierError, ModelPackageError
from monitor.evaluation import scoring_rows
from monitor.evaluation.listing import ClipRow
from monitor.evaluation.scoring_rows import ModelChoice, score_rows
from monitor.vocabulary import Posture
from tests.fakes.footage import Footage, film
from tests.fakes.model_packages import image_manifest, write_image_package


def deadly(file: Path) -> bool:
    return file.name.startswith("deadly")


def test_a_file_that_kills_its_process_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = write_image_package(tmp_path / "model")
    footage = Footage(duration_s=1, frame_rate=10)
    names = ["a.mp4", "deadly.mp4", "b.mp4", "c.mp4"]
    rows = [
        ClipRow(line, name, film(tmp_path / name, footage), violent=False, dataset="d", group=name, grouped=True)
        for line, name in enumerate(names, start=2)
    ]
    # Pickled by name, so the processes run the real module: the way to kill one is in what they read.
    (tmp_path / "deadly.mp4").unlink()
    os.mkfifo(tmp_path / "deadly.mp4")
    done: list[int] = []
    monkeypatch.setattr(scoring_rows, "_score_here", _or_die)
    scored, skipped = score_rows(rows, ModelChoice(package), (Posture.CALM,), jobs=2, on_done=done.append)
    assert [row.path for row, _ in scored] == ["a.mp4", "b.mp4", "c.mp4"]
    assert [(one.line, one.path, one.reason) for one in skipped] == [(3, "deadly.mp4", "crashed")]
    assert done == [1, 2, 3, 4]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_model_that_cannot_be_used_says_so_itself(tmp_path: Path, jobs: int) -> None:
    package = write_image_package(tmp_path / "model", test_scores=[[0.5], [0.5]])
    rows = [
        ClipRow(line, str(line), tmp_path / str(line), violent=False, dataset="d", group="g", grouped=True)
        for line in (2, 3)
    ]
    with pytest.raises(ModelPackageError, match="self-test"):
        score_rows(rows, ModelChoice(package), (Posture.CALM,), jobs=jobs)


def test_a_model_on_a_server_is_refused_in_words(tmp_path: Path) -> None:
    manifest = {name: value for name, value in image_manifest().items() if name != "file"}
    manifest["remote"] = {"protocol": "kserve_v2", "model": "toy"}
    package = write_image_package(tmp_path / "model", manifest=manifest)
    with pytest.raises(ClassifierError, match="runs on an inference server"):
        score_rows([], ModelChoice(package), (Posture.CALM,), jobs=1)


_score_here = scoring_rows._score_here


def _or_die(file: Path, postures: tuple[Posture, ...]) -> object:
    if deadly(file):
        os._exit(11)
    return _score_here(file, postures)
