from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import structlog

from monitor.daemon.evidence import MOST_VIDEOS, kept_video_of
from monitor.watch.messages import EvidenceVideo
from monitor.watch.spool_duty import HandedOver


def said(name: str = "0.mp4", **changes: Any) -> EvidenceVideo:
    usual = {
        "size_bytes": 5,
        "sha256": "ab" * 32,
        "start_s": 0.0,
        "end_s": 60.0,
        "arrived_from": 1.0,
        "arrived_to": 61.0,
    }
    return EvidenceVideo(name, **{**usual, **changes})


def test_what_a_watcher_says_is_looked_for_in_its_folder(tmp_path: Path) -> None:
    kept = kept_video_of(HandedOver(tmp_path, (said(), said("1.mkv"))), "s", 1_000_000)
    assert [(one.path, one.suffix) for one in kept.files] == [(tmp_path / "0.mp4", "mp4"), (tmp_path / "1.mkv", "mkv")]
    assert 1_000_000 < kept.files[0].most_bytes < 2_200_000
    assert kept.trouble == ""


@pytest.mark.parametrize(
    "odd",
    [
        said("../0.mp4"),
        said("/etc/passwd"),
        said("0.mp4\n"),
        said("0.mp4/../../x.mp4"),
        said("0.sh"),
        said(""),
        said(".mp4"),
        said("٣.mp4"),
        said(end_s=math.nan),
        said(arrived_to=math.inf),
    ],
)
def test_what_makes_no_sense_is_refused_and_the_rest_is_kept(tmp_path: Path, odd: EvidenceVideo) -> None:
    with structlog.testing.capture_logs() as logs:
        kept = kept_video_of(HandedOver(tmp_path, (odd, said("1.mp4"))), "s", 1000)
    assert [one.path.name for one in kept.files] == ["1.mp4"]
    assert kept.trouble == "video_refused"
    assert [(entry["event"], entry["items"]) for entry in logs] == [("evidence_refused", 1)]


def test_numbers_and_words_are_bounded(tmp_path: Path) -> None:
    many = tuple(said(f"{number}.mp4") for number in range(MOST_VIDEOS + 5))
    assert len(kept_video_of(HandedOver(tmp_path, many), "s", 1000).files) == MOST_VIDEOS
    assert kept_video_of(HandedOver(tmp_path, (), "disk"), "s", 1000).trouble == "disk"
    assert kept_video_of(HandedOver(tmp_path, (), "<b>rtmp://secret"), "s", 1000).trouble == "video_refused"
    assert kept_video_of(HandedOver(None, (said(),)), "s", 1000).files == ()
