"""The systemd unit: understood by systemd's own tool, as closed as it says, and in step with the daemon."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from monitor.cli.main import EXIT_USAGE
from monitor.daemon.stopping import LONGEST_STOP_S
from tests.fakes.checkout import ROOT

UNIT = ROOT / "deploy" / "systemd" / "livecordon.service"
MOST_EXPOSED = 1.5
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze")


def service() -> dict[str, str]:
    """Return the settings of the service; of those that stand there several times, the first."""
    lines = UNIT.read_text().partition("[Service]")[2].partition("\n[")[0].splitlines()
    settings: dict[str, str] = {}
    for key, _, value in (line.partition("=") for line in lines if line and not line.startswith("#")):
        settings.setdefault(key, value)
    return settings


def test_the_daemon_has_its_time_to_stop_and_is_not_started_again_in_vain() -> None:
    settings = service()
    assert settings["Type"] == "notify"
    assert float(settings["TimeoutStopSec"].removesuffix("s")) > LONGEST_STOP_S
    assert int(settings["RestartPreventExitStatus"]) == EXIT_USAGE
    assert settings["ExecReload"].split()[1:] == ["-HUP", "$MAINPID"]
    # The heartbeat comes every second; Livecordon's own idea of "stuck" is 15 s.
    assert float(settings["WatchdogSec"].removesuffix("s")) >= 15


@needs_systemd
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    # It asks whether the programs are there: Livecordon's stands for itself.
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/livecordon/bin/livecordon", "/bin/true"))
    ended = subprocess.run([str(ANALYZE), "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in (ended.stdout + ended.stderr).splitlines() if UNIT.name in line]
    assert complaints == []


@needs_systemd
def test_it_is_as_closed_as_the_page_says() -> None:
    command = [str(ANALYZE), "security", "--offline=true", "--no-pager", str(UNIT)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "offline" in ended.stderr:
        pytest.skip("needs systemd 250")
    found = re.search(r"Overall exposure level for livecordon\.service: ([0-9.]+)", ended.stdout)
    assert found is not None, ended.stderr
    assert float(found[1]) <= MOST_EXPOSED
