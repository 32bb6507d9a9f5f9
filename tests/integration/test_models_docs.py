"""The commands of docs/models.md, run as written, and its reference kept up to date."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.classify.reference import format_markdown
from tests.fakes import model_packages as toys
from tests.fakes.checkout import ROOT

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
FIRST_PAGE = PAGE[PAGE.index("\n## In ten minutes\n") : PAGE.index("\n## What models look like\n")]
COMMANDS = {
    line: shown.strip().splitlines()
    for block in re.findall(r"^```console\n(.*?)^```$", FIRST_PAGE, re.DOTALL | re.MULTILINE)
    for line, _, shown in (part.partition("\n") for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:])
}


def without_numbers(line: str) -> str:
    return re.sub(r"[0-9]+(?:\.[0-9]+)?", "#", line)


def test_the_reference_is_up_to_date() -> None:
    _, _, reference = PAGE.partition("Made by `livecordon models format`.\n\n")
    assert reference == format_markdown(), "replace what follows 'Made by' by the output of: livecordon models format"


@pytest.mark.timeout(180)
def test_every_command_does_what_the_page_shows(tmp_path: Path, brawl: Path) -> None:
    (tmp_path / "fight.onnx").write_bytes(toys.image_model().SerializeToString())
    (tmp_path / "recording.mp4").write_bytes(brawl.read_bytes())
    assert len(COMMANDS) == 4
    for line, shown in COMMANDS.items():
        program, *arguments = line.split()
        assert program == "livecordon"
        done = subprocess.run(
            [sys.executable, "-m", "monitor", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        if shown:
            printed = done.stdout.splitlines()
            assert [without_numbers(part) for part in printed] == [without_numbers(part) for part in shown]
    # What the first page promises to be there, and what a person must still decide.
    assert {path.name for path in (tmp_path / "fight").iterdir()} == {"manifest.yaml", "model.onnx", "self_test.npz"}
    assert "DECIDE" in (tmp_path / "fight" / "manifest.yaml").read_text()
