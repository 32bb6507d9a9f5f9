from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from monitor.bench.methods import METHODS
from tests.fakes.bench_results import results, row, step
from tests.fakes.checkout import ROOT

PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
BEGIN, END = "<!-- tables: benchmarks/performance_tables.py -->\n", "\n<!-- end of tables -->"


def script() -> Any:
    spec = importlib.util.spec_from_file_location("performance_tables", ROOT / "benchmarks" / "performance_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_run_that_lies_beside_the_benchmarks() -> None:
    tables = script()
    measured = json.loads(Path(tables.RESULTS).read_text(encoding="utf-8"))
    assert measured["quick"] is False
    assert measured["not_measured"] == {}
    assert {shown["method"] for shown in measured["rows"]} == set(METHODS)
    shown, _, _ = PAGE.partition(BEGIN)[2].partition(END)
    assert shown == tables.tables(measured)


def test_every_key_of_the_json_is_explained() -> None:
    found = results(rows=[row("calm", 0.02)], scaling={"files": [step(1)]}).to_dict()
    _, _, explained = PAGE.partition("## The JSON")
    for key in (*found, *found["rows"][0], *found["with_inference"]["files"]):
        assert f"`{key}`" in explained, key


def test_what_was_not_measured_leaves_gaps_not_errors() -> None:
    text = script().tables(results(rows=[row("calm", 0.02)]).to_dict() | {"machine": full_machine()})
    assert "| 720p30 | calm in words | 2.0 | 20.0 | 18.0 to 24.0 | 50 |  |  |" in text


def full_machine() -> dict[str, Any]:
    names = ("processor", "cores", "system", "python", "pyav", "libavcodec", "ffmpeg", "opencv", "onnxruntime")
    return dict.fromkeys((*names, "load_before"), "x")
