"""Two real daemons, each with a media server of its own, that tell each other."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from monitor.demo.partners import play_partners

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(180)]


async def test_a_copy_elsewhere_is_contained_the_sender_is_told_and_its_withdrawal_releases(tmp_path: Path) -> None:
    shown = io.StringIO()
    await play_partners(tmp_path, Console(file=shown, width=200), calm_s=5.0)
    steps = [line.split("●")[1].strip().split("  ")[0] for line in shown.getvalue().splitlines() if "●" in line]
    assert steps == [
        "daemons ready",
        "attack contained",
        "partner heard",
        "watched closely",
        "copy contained",
        "receipt",
        "taken back",
        "released",
    ]
    logs = "".join((tmp_path / name / "daemon.log").read_text() for name in ("north", "south"))
    assert "Traceback" not in logs
    assert "whsec_" not in logs
