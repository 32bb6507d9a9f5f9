from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import structlog

from monitor.vocabulary import StreamRef
from monitor.watch.spool_folder import ABANDONED_AFTER_S, STREAM_FOLDER, SpoolFolder

STREAM = StreamRef("edge", "live", "cam").stream_id
OTHER = StreamRef("edge-2", "live", "../cam").stream_id


def folder_at(path: Path, stream_bytes: int = 1000, total_bytes: int = 10_000) -> SpoolFolder:
    return SpoolFolder(path, stream_bytes, total_bytes)


def put(spool: SpoolFolder, stream_id: str, name: str, size_bytes: int = 100, age_s: float = 0.0) -> Path:
    path = spool.path / stream_id / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * size_bytes)
    at = time.time() - age_s
    os.utime(path, (at, at))
    os.utime(path.parent, (at, at))
    return path


def names(spool: SpoolFolder) -> set[str]:
    return {path.name for path in spool.path.rglob("*") if path.is_file() or path.is_symlink()}


def test_stream_ids_are_fit_names_whatever_publishers_write() -> None:
    for name in ("../../x", "a\0b", "", "\n", "x" * 5000, "handover"):
        assert STREAM_FOLDER.fullmatch(StreamRef("e", name, name).stream_id)
    assert not STREAM_FOLDER.fullmatch("handover")


def test_it_is_made_private_with_its_parents(tmp_path: Path) -> None:
    spool = folder_at(tmp_path / "data" / "spool")
    assert spool.prepare()
    assert spool.path.stat().st_mode & 0o777 == 0o700
    assert (spool.path / "handover").stat().st_mode & 0o777 == 0o700
    assert spool.prepare()


@pytest.mark.parametrize("kind", ["shared", "file", "link", "unmade"])
def test_what_is_not_private_is_not_used(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "spool"
    match kind:
        case "shared":
            path.mkdir()
            path.chmod(0o750)
        case "file":
            path.write_bytes(b"mine")
        case "link":
            (tmp_path / "elsewhere").mkdir(mode=0o700)
            path.symlink_to(tmp_path / "elsewhere")
        case _:
            (tmp_path / "file").write_bytes(b"")
            path = tmp_path / "file" / "spool"
    with structlog.testing.capture_logs() as logs:
        assert not folder_at(path).prepare()
    assert [entry["event"] for entry in logs] == ["spool_unusable"]


def test_what_is_abandoned_goes_and_what_is_recent_outlives_a_restart(tmp_path: Path) -> None:
    spool = folder_at(tmp_path / "spool")
    assert spool.prepare()
    put(spool, STREAM, "a-000000.like", age_s=ABANDONED_AFTER_S + 5)
    put(spool, STREAM, "a-000000.000000.part", age_s=ABANDONED_AFTER_S + 5)
    put(spool, OTHER, "a-000001.000000.part", age_s=ABANDONED_AFTER_S + 60)
    put(spool, OTHER, "a-000001.000001.part", age_s=ABANDONED_AFTER_S - 5)
    (spool.path / "handover" / "left").mkdir()
    assert spool.prepare()
    assert names(spool) == {"a-000001.000000.part", "a-000001.000001.part"}
    assert not (spool.path / STREAM).exists()
    assert list((spool.path / "handover").iterdir()) == []


def test_what_a_dead_watcher_wrote_goes_while_the_stream_goes_on(tmp_path: Path) -> None:
    spool = folder_at(tmp_path / "spool")
    assert spool.prepare()
    for name in ("a-000000.like", "a-000000.000000.part", "a-000000.000001.part"):
        put(spool, STREAM, name, age_s=ABANDONED_AFTER_S + 5)
    # A group of pictures so long that its first part is old: what came later cannot be shown without it.
    for name in ("b-000000.like", "b-000000.000000.part"):
        put(spool, STREAM, name, age_s=ABANDONED_AFTER_S + 5)
    put(spool, STREAM, "b-000000.000001.part")
    assert spool.tidy() == 300
    assert names(spool) == {"b-000000.like", "b-000000.000000.part", "b-000000.000001.part"}


def test_bounds_hold_for_each_stream_and_in_all_and_the_oldest_go(tmp_path: Path) -> None:
    spool = folder_at(tmp_path / "spool", stream_bytes=350, total_bytes=600)
    assert spool.prepare()
    for number in range(5):
        put(spool, STREAM, f"a-000000.{number:06d}.part", age_s=50 - number)
    for number in range(3):
        put(spool, OTHER, f"b-000000.{number:06d}.part", age_s=48.5 - number)
    assert spool.tidy() == 600
    kept = {path.name for path in (spool.path / STREAM).iterdir()}
    assert kept == {f"a-000000.{number:06d}.part" for number in (2, 3, 4)}
    spool.total_bytes = 300
    assert spool.tidy() == 300
    assert names(spool) == {"a-000000.000003.part", "a-000000.000004.part", "b-000000.000002.part"}


def test_nothing_but_its_own_files_is_ever_removed(tmp_path: Path) -> None:
    spool = folder_at(tmp_path / "spool")
    assert spool.prepare()
    outside = tmp_path / "edge-0123456789abcdef"
    outside.mkdir()
    (outside / "a-000000.000000.part").write_bytes(b"x" * 5000)
    (spool.path / "edge-fedcba9876543210").symlink_to(outside)
    mine = put(spool, STREAM, "notes.txt", size_bytes=50_000, age_s=10_000)
    (spool.path / "photos").mkdir()
    (spool.path / "photos" / "a-000000.000000.part").write_bytes(b"x" * 50_000)
    spool.tidy()
    spool.clear()
    assert mine.exists()
    assert (outside / "a-000000.000000.part").exists()
    assert (spool.path / "photos" / "a-000000.000000.part").exists()


def test_clearing_leaves_nothing_of_its_own(tmp_path: Path) -> None:
    spool = folder_at(tmp_path / "spool")
    assert spool.prepare()
    put(spool, STREAM, "a-000000.000000.part")
    put(spool, STREAM, "a-000000.like")
    with spool.handover() as folder:
        (folder / "0.mp4").write_bytes(b"x")
        spool.clear()
        assert list(spool.path.iterdir()) == []


def test_a_handover_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    spool = folder_at(tmp_path / "spool")
    assert spool.prepare()
    with spool.handover() as first, spool.handover() as second:
        assert first != second
        assert first.stat().st_mode & 0o777 == 0o700
        (first / "0.mp4").write_bytes(b"x")
    assert list((spool.path / "handover").iterdir()) == []


def test_a_spool_that_vanishes_is_said_once(tmp_path: Path) -> None:
    spool = folder_at(tmp_path / "spool")
    assert spool.prepare()
    (spool.path / "handover").rmdir()
    spool.path.rmdir()
    with structlog.testing.capture_logs() as logs:
        assert [spool.tidy(), spool.tidy()] == [0, 0]
        spool.clear()
    assert [entry["event"] for entry in logs] == ["spool_not_tidied"]
    with pytest.raises(OSError, match="No such file"), spool.handover():
        pass
