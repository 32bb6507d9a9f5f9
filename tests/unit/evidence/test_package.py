from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import EffectError
from monitor.evidence import package
from monitor.evidence.package import (
    MANIFEST,
    Frame,
    PackageSummary,
    ScoredClip,
    damaged_files,
    packages_of,
    write_package,
)

FRAMES = [Frame(number / 2, 1e9 + number / 2, bytes([number]) * 50) for number in range(3)]
SCORES = [ScoredClip(0.0, 1.0, {"violence": 0.91})]


def write(root: Path, incident_id: str = "incident-1", key: str = "1.0.preserve", **changes: Any) -> PackageSummary:
    return write_package(
        root,
        incident_id=incident_id,
        key=key,
        **{"about": {"stream_id": "edge-1"}, "preserved_at": 5.0, "frames": FRAMES, "scores": SCORES, **changes},
    )


def test_a_package_holds_every_frame_and_score_with_its_hash(tmp_path: Path) -> None:
    summary = write(tmp_path)
    assert (summary.reference, summary.frames, summary.scores) == ("incident-1/1.0.preserve", 3, 1)
    folder = tmp_path / summary.reference
    manifest = json.loads((folder / MANIFEST).read_bytes())
    assert (manifest["incident_id"], manifest["stream_id"]) == ("incident-1", "edge-1")
    assert manifest["files"]["frames/001.jpg"]["time_s"] == 0.5
    assert (folder / "frames/001.jpg").read_bytes() == FRAMES[1].jpeg
    assert json.loads((folder / "scores.json").read_bytes())[0]["scores"] == {"violence": 0.91}
    assert damaged_files(folder) == []
    assert packages_of(tmp_path, "incident-1") == [summary]
    assert packages_of(tmp_path, "incident-2") == []


def test_nobody_else_on_the_machine_may_read_it(tmp_path: Path) -> None:
    root = tmp_path / "evidence"
    write(root)
    assert {stat.S_IMODE(path.stat().st_mode) & 0o007 for path in (root, *root.rglob("*"))} == {0}


def test_a_second_call_returns_the_first_package(tmp_path: Path) -> None:
    first = write(tmp_path)
    assert write(tmp_path, frames=[], scores=[], preserved_at=99.0) == first


@pytest.mark.parametrize("fail_at", range(1, 12))
def test_whatever_breaks_off_leaves_no_package_and_the_next_call_writes_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    real = os.fsync
    calls = 0

    def failing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == fail_at:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    try:
        write(tmp_path)
    except EffectError as error:
        assert error.reason == "evidence_not_written"  # noqa: PT017 - the last steps may fail after the rename
    monkeypatch.undo()
    found = packages_of(tmp_path, "incident-1")
    assert all(damaged_files(tmp_path / one.reference) == [] and one.frames == 3 for one in found)
    assert not list(tmp_path.rglob("*.unfinished"))
    assert write(tmp_path).frames == 3


def test_what_a_crash_left_unfinished_is_no_package(tmp_path: Path) -> None:
    unfinished = tmp_path / "incident-1" / ".1.0.preserve.unfinished"
    (unfinished / "frames").mkdir(parents=True)
    (unfinished / MANIFEST).write_text("{}")
    assert packages_of(tmp_path, "incident-1") == []
    assert write(tmp_path).frames == 3
    assert not unfinished.exists()


def _rewrite(folder: Path) -> None:
    (folder / "frames/001.jpg").write_bytes(b"another picture")


def _remove(folder: Path) -> None:
    (folder / "frames/001.jpg").unlink()


def _add(folder: Path) -> None:
    (folder / "frames/999.jpg").write_bytes(b"one more")


@pytest.mark.parametrize(
    ("damage", "named"), [(_rewrite, "frames/001.jpg"), (_remove, "frames/001.jpg"), (_add, "frames/999.jpg")]
)
def test_damage_is_found(tmp_path: Path, damage: Callable[[Path], None], named: str) -> None:
    folder = tmp_path / write(tmp_path).reference
    damage(folder)
    assert damaged_files(folder) == [named]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"files": 3}', b"\xff"])
def test_a_broken_manifest_hides_no_other_package_and_is_not_written_over(tmp_path: Path, content: bytes) -> None:
    broken = write(tmp_path)
    whole = write(tmp_path, key="2.0.preserve")
    (tmp_path / broken.reference / MANIFEST).write_bytes(content)
    assert packages_of(tmp_path, "incident-1") == [whole]
    with pytest.raises(EffectError) as caught:
        write(tmp_path)
    assert caught.value.reason == "evidence_damaged"
    assert (tmp_path / broken.reference / MANIFEST).read_bytes() == content


HOSTILE = st.sampled_from(["", ".", "..", "../x", "/etc", "a/b", "a\0b", "a\n", ".hidden", "x" * 200, "é"]) | st.text(
    max_size=12
).filter(lambda text: not package._SAFE_NAME.fullmatch(text))


@given(HOSTILE, st.booleans())
def test_no_name_leads_out_of_the_evidence_folder(name: str, as_key: bool) -> None:
    root = Path("/nonexistent-root")
    with pytest.raises(EffectError) as caught:
        write(root, key=name) if as_key else write(root, incident_id=name)
    assert caught.value.reason == "unsafe_name"
    assert packages_of(root, name) == []


def test_a_folder_that_cannot_be_written_is_an_effect_error(tmp_path: Path) -> None:
    (tmp_path / "evidence").touch()
    with pytest.raises(EffectError) as caught:
        write(tmp_path / "evidence")
    assert caught.value.reason == "evidence_not_written"
