from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import structlog

from monitor.evidence import package
from monitor.evidence.package import (
    MANIFEST,
    Frame,
    PackageSummary,
    ScoredClip,
    Video,
    damaged_files,
    read_summary,
    write_package,
)


def video(path: Path, content: bytes = b"moving pictures", **changes: Any) -> Video:
    if not path.exists():
        path.write_bytes(content)
    usual = {
        "suffix": "mp4",
        "most_bytes": 1000,
        "sha256": hashlib.sha256(content).hexdigest(),
        "start_s": 10.0,
        "end_s": 70.5,
        "arrived_from": 1e9,
        "arrived_to": 1e9 + 60,
    }
    return Video(path, **{**usual, **changes})


def write(root: Path, *videos: Video) -> PackageSummary:
    return write_package(
        root,
        incident_id="incident-1",
        key="1.0.preserve",
        about={},
        preserved_at=5.0,
        frames=[Frame(0.5, 1e9, b"jpeg")],
        scores=[ScoredClip(0.0, 1.0, {"violence": 0.9})],
        videos=videos,
    )


def test_a_video_is_copied_hashed_and_described(tmp_path: Path) -> None:
    summary = write(tmp_path / "evidence", video(tmp_path / "0.mp4"))
    assert (summary.videos, summary.video_s, summary.video_bytes) == (1, 60.5, 15)
    folder = tmp_path / "evidence" / summary.reference
    assert (folder / "video.mp4").read_bytes() == b"moving pictures"
    entry = json.loads((folder / MANIFEST).read_bytes())["files"]["video.mp4"]
    assert (entry["start_s"], entry["end_s"], entry["arrived_to"]) == (10.0, 70.5, 1e9 + 60)
    assert damaged_files(folder) == []
    assert (folder / "video.mp4").stat().st_mode & 0o007 == 0
    (folder / "video.mp4").write_bytes(b"other pictures!")
    assert damaged_files(folder) == ["video.mp4"]


def test_several_are_numbered_and_those_before_stay_without(tmp_path: Path) -> None:
    summary = write(tmp_path / "e", video(tmp_path / "0.mp4"), video(tmp_path / "1.mkv", b"more", suffix="mkv"))
    assert {path.name for path in (tmp_path / "e" / summary.reference).glob("video*")} == {"video-1.mp4", "video-2.mkv"}
    assert (summary.videos, summary.video_bytes) == (2, 19)
    without = write(tmp_path / "other")
    assert (without.videos, without.video_s, without.video_bytes) == (0, 0.0, 0)
    assert read_summary(tmp_path / "other", tmp_path / "other" / without.reference) == without


def trap(tmp_path: Path, kind: str) -> Video:
    path = tmp_path / "0.mp4"
    secret = tmp_path / "secret"
    secret.write_bytes(b"moving pictures")
    match kind:
        case "link":
            path.symlink_to(secret)
        case "hard link":
            path.hardlink_to(secret)
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "missing":
            found = video(path)
            path.unlink()
            return found
        case "too large":
            return video(path, most_bytes=14)
        case "empty":
            return video(path, b"")
        case "other content":
            return video(path, sha256=hashlib.sha256(b"x").hexdigest())
        case _:
            pytest.fail(f"no such trap: {kind}")
    return video(path)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("link", "unreadable"),
        ("hard link", "not_a_file"),
        ("pipe", "not_a_file"),
        ("folder", "not_a_file"),
        ("missing", "unreadable"),
        ("too large", "wrong_size"),
        ("empty", "wrong_size"),
        ("other content", "other_content"),
    ],
)
def test_what_is_no_honest_file_is_left_out_and_the_rest_is_kept(tmp_path: Path, kind: str, reason: str) -> None:
    with structlog.testing.capture_logs() as logs:
        summary = write(tmp_path / "e", trap(tmp_path, kind), video(tmp_path / "good", b"good"))
    assert [(entry["event"], entry["reason"]) for entry in logs] == [("evidence_video_refused", reason)]
    folder = tmp_path / "e" / summary.reference
    assert (summary.frames, summary.scores, summary.videos) == (1, 1, 1)
    assert [path.name for path in folder.glob("video*")] == ["video-2.mp4"]
    assert damaged_files(folder) == []


def test_a_full_disk_costs_the_video_and_not_the_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: int, target: Path, most_bytes: int) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(package, "_copy_bytes", full)
    with structlog.testing.capture_logs() as logs:
        summary = write(tmp_path / "e", video(tmp_path / "0.mp4"))
    assert [entry["reason"] for entry in logs] == ["no_space"]
    assert (summary.frames, summary.videos) == (1, 0)
    assert damaged_files(tmp_path / "e" / summary.reference) == []
