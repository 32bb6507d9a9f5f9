from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest

from monitor.cli import watch as watch_module
from monitor.cli import watch_progress
from monitor.cli.main import EXIT_INTERRUPTED, EXIT_USAGE, main
from monitor.errors import SourceStalledError
from monitor.video.clip import Clip
from monitor.vocabulary import Posture
from tests.fakes.footage import Footage, film, garbage, plain, sound_only
from tests.fakes.model_packages import HEIGHT, WIDTH, write_image_package
from tests.fakes.sources import Script, ScriptedSource, Step

CONFIG = """\
servers: [{name: here, kind: static, streams: [{name: file, url: /nowhere.mp4}]}]
detection: {review: {hits: 2, of: 3}, act: {hits: 2, of: 3}, clear_after: 2s}
protocol: {default: immediate}
"""
WHITE, BLACK = plain(255, 255, 255), plain(0, 0, 0)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a toy model that takes bright for violent, a configuration, and films to watch."""
    folder = tmp_path_factory.mktemp("watch")
    write_image_package(folder / "model")
    (folder / "config.yaml").write_text(CONFIG)
    film(folder / "bright.mp4", Footage(duration_s=8.0, frame_rate=10), WHITE)
    film(folder / "dark.mp4", Footage(duration_s=4.0, frame_rate=10), BLACK)
    sound_only(folder / "sound.mp4")
    garbage(folder / "garbage.mp4")
    return folder


def arguments(toys: Path, *more: str) -> list[str]:
    return ["watch", "--config", str(toys / "config.yaml"), "--model", str(toys / "model"), *more]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_is_one_record_a_line_and_nothing_else(toys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(toys, "--json", str(toys / "bright.mp4"))) == 0
    out, err = capsys.readouterr()
    records = lines(out)
    assert err == ""
    assert {record["type"] for record in records} == {"score", "detection", "transition", "effect", "summary"}
    assert all(set(record["scores"]) == {"bright"} for record in records if record["type"] == "score")
    assert {"type": "effect", "effect": "cut", "dry_run": True}.items() <= next(
        record for record in records if record.get("effect") == "cut"
    ).items()
    summary = records[-1]
    assert (summary["type"], summary["source"]) == ("summary", str(toys / "bright.mp4"))
    assert summary["duration_s"] == pytest.approx(8.0, abs=0.2)
    assert (summary["max_severity"], summary["final_state"]) == ("act", "contained")
    assert summary["clips"] == sum(record["type"] == "score" for record in records)


def test_sources_that_cannot_be_watched_are_named_and_the_others_still_run(
    toys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [toys / "missing.mp4", toys / "sound.mp4", toys / "garbage.mp4"]
    assert main(arguments(toys, "--json", *map(str, bad), str(toys / "dark.mp4"))) == 1
    out, err = capsys.readouterr()
    assert [line.split(":")[1].strip() for line in err.splitlines()] == [str(path) for path in bad]
    assert all(line.startswith("livecordon: ") and "Traceback" not in line for line in err.splitlines())
    assert [record["source"] for record in lines(out) if record["type"] == "summary"] == [str(toys / "dark.mp4")]


def test_people_read_sentences(toys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(toys, str(toys / "bright.mp4"))) == 0
    out = capsys.readouterr().out
    assert "bright raised to act" in out
    assert "calm -> containing (detection raised)" in out
    assert "would cut" in out
    assert "would request review" in out
    assert out.splitlines()[-1].endswith("worst act, ends in contained")


def test_an_address_is_shown_without_its_secrets(toys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(toys, "rtmp://user:c4n4ry@127.0.0.1:1/live/x?key=c4n4ry")) == 1
    out, err = capsys.readouterr()
    assert "c4n4ry" not in out + err
    assert err.startswith("livecordon: rtmp://")


def test_realtime_takes_as_long_as_the_film(toys: Path) -> None:
    began_s = time.monotonic()
    assert main(arguments(toys, "--json", "--realtime", str(toys / "dark.mp4"))) == 0
    assert time.monotonic() - began_s >= 2.9


def test_a_plot_is_drawn_and_is_a_picture(toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "scores.png"
    sources = [str(toys / "bright.mp4"), str(toys / "missing.mp4"), str(toys / "dark.mp4")]
    assert main(arguments(toys, "--json", "--posture", "full", "--plot", str(file), *sources)) == 1
    assert file.read_bytes().startswith(b"\x89PNG")
    assert f"drew {file}" in capsys.readouterr().err
    import cv2

    picture = cv2.imread(str(file))
    assert picture is not None
    assert picture.shape[1] > 1000
    assert picture.shape[0] > 600  # two sources were watched
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_a_plot_that_cannot_be_written_is_refused_before_anything_is_watched(
    toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "nowhere" / "scores.png"
    assert main(arguments(toys, "--plot", str(file), str(toys / "dark.mp4"))) == EXIT_USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert "there is no folder" in err


def test_without_a_terminal_a_line_now_and_then_says_how_far_it_has_come(
    toys: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_progress, "_LINE_EVERY_S", 0.0)
    assert main(arguments(toys, str(toys / "dark.mp4"))) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[0].startswith(f"{toys / 'dark.mp4'}: watched ")
    assert err.splitlines()[0].endswith(" s of 4 s")
    assert "watched" not in out
    assert main(arguments(toys, "--json", str(toys / "dark.mp4"))) == 0
    assert capsys.readouterr().err == ""


def test_with_a_terminal_the_records_still_go_where_the_output_goes(toys: Path) -> None:
    master, terminal = pty.openpty()
    try:
        command = [sys.executable, "-m", "monitor", *arguments(toys, "--json", str(toys / "bright.mp4"))]
        environment = {**os.environ, "TERM": "xterm"}
        ended = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=terminal, timeout=60, check=False, env=environment
        )
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # a terminal whose other end is closed
            while chunk := os.read(master, 65536):
                shown += chunk
    finally:
        os.close(master)
    assert ended.returncode == 0
    assert lines(ended.stdout.decode())[-1]["type"] == "summary"
    assert b'"type"' not in shown
    assert b"s of stream" in shown


class Scripted(ScriptedSource):
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def grey(at_s: float, level: int) -> Clip:
    frames = np.full((1, HEIGHT, WIDTH, 3), level, np.uint8)
    return Clip(frames=frames, times_s=(at_s,), arrived_at=0.0, posture=Posture.CALM, spacing_honoured=True)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Sequence[Step]]]:
    """What live sources do, one after the other."""
    connections: list[Sequence[Step]] = []
    lives: list[bool] = []

    def open_source(_url: str, *, open_timeout_s: float, read_timeout_s: float, live: bool) -> Scripted:
        assert open_timeout_s > 0
        assert read_timeout_s > 0
        lives.append(live)
        return Scripted(Script([]), connections.pop(0))

    monkeypatch.setattr(watch_module, "VideoSource", SimpleNamespace(open=open_source))
    yield connections
    assert all(lives)


def test_a_live_source_that_stalls_is_summed_up_and_the_next_one_watched(
    toys: Path, script: list[Sequence[Step]], capsys: pytest.CaptureFixture[str]
) -> None:
    script += [[grey(1.0, 255), grey(2.0, 255), SourceStalledError("no packet came")], [grey(1.0, 0)]]
    assert main(arguments(toys, "--json", "rtmp://one/live/a", "rtmp://one/live/b")) == 1
    out, err = capsys.readouterr()
    first, second = [record for record in lines(out) if record["type"] == "summary"]
    assert (first["clips"], first["duration_s"], first["max_severity"]) == (2, 2.0, "act")
    assert (second["clips"], second["max_severity"]) == (1, "none")
    assert err.splitlines() == ["livecordon: rtmp://one/…: no packet came"]


def test_an_interruption_ends_the_watch_with_what_was_seen(
    toys: Path, tmp_path: Path, script: list[Sequence[Step]], capsys: pytest.CaptureFixture[str]
) -> None:
    script += [[grey(1.0, 255), KeyboardInterrupt()]]
    file = tmp_path / "scores.png"
    status = main(arguments(toys, "--json", "--plot", str(file), "rtmp://one/live/a", "rtmp://one/live/never"))
    assert status == EXIT_INTERRUPTED
    assert lines(capsys.readouterr().out)[-1]["clips"] == 1
    assert file.exists()
