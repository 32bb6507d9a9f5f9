from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import yaml

from monitor.classify.package import load_package
from monitor.cli.main import EXIT_FAILED, EXIT_USAGE, main
from monitor.config.loading import load_config
from monitor.daemon.thresholds_of_model import basis_of
from monitor.detect.budget import Standing, Tally
from monitor.detect.ladder import RUNGS, log_odds_of
from monitor.detect.rules import rules_for
from monitor.store import thresholds
from monitor.store.database import Database
from monitor.store.thresholds import LearntRow
from tests.fakes.footage import Footage, film, plain
from tests.fakes.model_packages import write_image_package

BUDGET = ("--budget", "20 per 1000 stream-hours")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A configuration with a toy model that takes bright for violent, and a dark file."""
    write_image_package(tmp_path / "model")
    config = {
        "data_dir": "data",
        "servers": [{"name": "here", "kind": "static", "streams": [{"name": "file", "url": "/nowhere.mp4"}]}],
        "watch": {"model": "./model"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    film(tmp_path / "dark.mp4", Footage(duration_s=6, frame_rate=10, width=160, height=90), plain(0, 0, 0, 160, 90))
    return tmp_path


def call(site: Path, *more: str) -> int:
    return main(["calibrate", "--config", str(site / "config.yaml"), *more])


def put(site: Path, hours: float, *, model: str | None = None, standing: Standing | None = None) -> None:
    """Store what a daemon would have learnt."""
    package = load_package(site / "model")
    config = load_config(site / "config.yaml", {}).config
    rows = [
        LearntRow(
            server="here",
            app="*",
            label="bright",
            severity="review",
            basis=basis_of(rules_for(config.detection, package), model or package.score_digest),
            standing=asdict(standing or Standing(log_odds_of(0.8))),
            tally=Tally(hours, hours * np.exp(-1.5 * (np.arange(RUNGS) * 0.1 - 4)), np.zeros(RUNGS)).to_dict(),
            saved_at=1.0,
        )
    ]

    async def write() -> None:
        async with Database(config.store_path) as database, database.transaction() as connection:
            await thresholds.save(connection, rows)

    asyncio.run(write())


def test_a_few_seconds_of_video_show_nothing_and_it_says_so(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(site, str(site / "dark.mp4"), *BUDGET, "--jobs", "1") == EXIT_FAILED
    text = capsys.readouterr().out
    assert "cannot show 20 per 1000 stream-hours" in text
    assert "From 62.5 hours on" in text
    assert "threshold:" not in text


def test_what_was_learnt_gives_a_threshold_to_paste(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(site, 1000.0)
    assert call(site, *BUDGET) == 0
    text = capsys.readouterr().out
    pasted = yaml.safe_load(text[text.index("detection:") :])
    assert 0.9 < pasted["detection"]["review"]["threshold"] < 0.95
    assert "here/*" in text
    assert call(site, *BUDGET, "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)["suggestions"]
    assert one["hours"] == 1000
    assert one["per_1000_h"]["low"] < 20 < one["per_1000_h"]["high"]


def test_below_what_was_in_force_only_the_next_step_is_suggested(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The budget would hold from 0.93 on; but streams were watched with 0.98.
    put(site, 1000.0, standing=Standing(log_odds_of(0.98), first=log_odds_of(0.98)))
    assert call(site, *BUDGET, "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)["suggestions"]
    assert one["current"] == pytest.approx(0.98)
    assert log_odds_of(one["threshold"]) == pytest.approx(log_odds_of(0.98) - 0.25)


def test_another_models_counts_are_not_used(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(site, 1000.0, model="other@1")
    assert call(site, *BUDGET) == EXIT_FAILED
    assert "nothing that was counted with this model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "word"), [((), "--budget is needed"), (("--budget", "few"), "such as 20 per 1000 stream-hours")]
)
def test_a_budget_is_needed(site: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], word: str) -> None:
    assert call(site, *more) == EXIT_USAGE
    assert word in " ".join(capsys.readouterr().err.split())


def test_without_files_or_a_store_it_says_what_to_do(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(site, *BUDGET) == EXIT_FAILED
    assert "there is no store" in capsys.readouterr().err
