"""How `livecordon run` ends when a part of the daemon fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from monitor.cli import run as run_module
from monitor.cli.main import EXIT_FAILED, main
from monitor.errors import StoreError


async def _two_parts_fail(first: Exception, second: Exception) -> None:
    async def fail(error: Exception) -> None:
        raise error

    async def nested() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail(first))

    async with asyncio.TaskGroup() as group:
        group.create_task(nested())
        group.create_task(fail(second))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run_module, "build_parts", lambda *_: None)
    monkeypatch.setattr(run_module, "Daemon", lambda _: None)
    monkeypatch.setattr(run_module, "configure_logging", lambda *_: None)
    path = tmp_path / "config.yaml"
    path.write_text("servers: [{name: relay, kind: embedded}]\n")
    return path


def test_a_store_that_another_daemon_took_over_is_said_in_one_line(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = StoreError("another Livecordon daemon has taken over this store", reason="in_use", retryable=False)
    monkeypatch.setattr(run_module, "_until_stopped", lambda *_: _two_parts_fail(lost, lost))
    assert main(["run", "--config", str(config)]) == EXIT_FAILED
    assert capsys.readouterr().err.splitlines()[-1:] == [f"livecordon: {lost}"]


def test_a_defect_keeps_its_traceback(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = StoreError("another Livecordon daemon has taken over this store", reason="in_use", retryable=False)
    monkeypatch.setattr(run_module, "_until_stopped", lambda *_: _two_parts_fail(lost, KeyError("defect")))
    assert main(["run", "--config", str(config)]) == EXIT_FAILED
    shown = capsys.readouterr().err
    assert "KeyError" in shown
    assert "Traceback" in shown
