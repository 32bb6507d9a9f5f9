from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from monitor.cli.main import COMMANDS, main

PROGRAM = (
    "import sys; from monitor.cli.main import main; sys.argv[0] = 'livecordon';"
    "\ntry: main()"
    "\nfinally: print(sorted({'pydantic', 'aiohttp', 'numpy', 'onnxruntime', 'av'} & set(sys.modules)), file=sys.stderr)"
)


def completed(line: str, at: int) -> tuple[set[str], str]:
    """Return what bash is offered for the word number `at`, and which heavy modules that took."""
    asked = {"_LIVECORDON_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(at)}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | asked, capture_output=True, text=True, timeout=60, check=True
    )
    return {row.partition(",")[2] for row in ended.stdout.splitlines()}, ended.stderr.strip()


def test_commands_are_offered_without_importing_them() -> None:
    assert completed("livecordon ", 1) == (set(COMMANDS), "[]")
    assert completed("livecordon d", 1)[0] == {"db", "deliveries", "demo", "doctor", "drill"}


def test_options_are_offered() -> None:
    assert completed("livecordon doctor --s", 2)[0] == {"--streams", "--strict"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_is_printed_asks_livecordon(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_LIVECORDON_COMPLETE={shell}_complete" in script
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=script, text=True, check=True, timeout=60)
