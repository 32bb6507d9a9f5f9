from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from monitor.bench.plot import draw
from monitor.bench.results import Results
from monitor.bench.running import run_bench
from monitor.bench.table import print_results
from monitor.cli import bench as command
from monitor.errors import ModelPackageError
from tests.fakes.bench_results import results, row, step

FULL = results(
    rows=[row("calm", 0.02), row("ffmpeg", 0.1, like_for_like=True), row("opencv", 0.12, like_for_like=True)],
    scaling={"files": [step(1), step(40), step(80, share=0.6)], "rtmp": [step(1, verdicts_ms=(30.0, 40.0))]},
    not_measured={"opencv on 1080p30": "no such codec"},
)


def text_of(found: Results) -> str:
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        print_results(found, console)
    return console.export_text()


def test_tables_show_what_the_json_says() -> None:
    text = text_of(FULL)
    assert "calm in words" in text
    assert "5.0 x" in text
    assert "6.0 x" in text
    assert "20.0" in text
    assert "60%  lost" in text
    assert "12.0 MiB" in text
    assert "not measured: opencv on 1080p30: no such codec" in text
    assert "p50 30 ms, p95 40 ms" in text


def test_a_limit_that_was_not_reached_is_a_lower_bound() -> None:
    lines = text_of(FULL).splitlines()
    assert any("files" in line and line.rstrip().endswith(" 20") for line in lines)
    assert any("rtmp" in line and line.rstrip().endswith("at least 0.5") for line in lines)


def test_nothing_measured_at_all_is_shown_too() -> None:
    assert "not measured: x: y" in text_of(results(not_measured={"x": "y"}))


def test_drawings_are_pictures(tmp_path: Path) -> None:
    for name, found in (("a.png", FULL), ("b.png", results())):
        draw(tmp_path / name, found)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / name).stat().st_size > 5_000


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What `run_bench` was asked for, without running it."""
    asked: list[dict[str, object]] = []

    def run(*, quick: bool, model: str, progress: Callable[[str, int, int], None]) -> Results:
        asked.append({"quick": quick, "model": model})
        progress("sampling", 1, 2)
        return FULL

    monkeypatch.setattr(command, "run_bench", run)
    return asked


def test_the_command_prints_tables_or_json(measured: list[dict[str, object]], tmp_path: Path) -> None:
    tables = CliRunner().invoke(command.bench, ["--quick"], standalone_mode=False)
    assert tables.exception is None
    assert "calm in words" in tables.stdout
    printed = CliRunner().invoke(command.bench, ["--json", "-", "--model", "mine"], standalone_mode=False)
    assert json.loads(printed.stdout) == FULL.to_dict()
    assert measured == [{"quick": True, "model": "violent-motion"}, {"quick": False, "model": "mine"}]
    both = [f"--json={tmp_path / 'a.json'}", f"--plot={tmp_path / 'a.png'}"]
    files = CliRunner().invoke(command.bench, both, standalone_mode=False)
    assert "calm in words" in files.stdout
    assert json.loads((tmp_path / "a.json").read_text()) == FULL.to_dict()
    assert (tmp_path / "a.png").exists()


def test_a_plot_that_cannot_be_drawn_is_said_before_measuring(
    measured: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda _name: None)
    done = CliRunner().invoke(command.bench, ["--plot", str(tmp_path / "a.png")])
    assert done.exit_code == 2
    assert "livecordon[plot]" in done.stderr
    assert measured == []


def test_an_unknown_model_is_said_before_anything_is_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.bench.footage.make_loops", lambda *_, **__: pytest.fail("generated"))
    with pytest.raises(ModelPackageError):
        run_bench(quick=True, model="no-such-model", progress=lambda *_: None)
