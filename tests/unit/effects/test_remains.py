"""What a cut leaves for viewers: measured, taken away, and told, whatever goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config.section import RemainsSection
from monitor.effects.remains import Remains
from monitor.vocabulary import StreamRef
from tests.fakes.scripted_nginx import http, scripted_nginx

CAM = StreamRef("edge", "live", "cam")


def hls(folder: Path) -> Path:
    folder.mkdir()
    for name in ("cam.m3u8", "cam-0.ts", "cam-1.ts", "cam2.m3u8"):
        (folder / name).write_bytes(b"123")
    return folder


async def told(ref: StreamRef = CAM, **settings: object) -> dict[str, object]:
    async with Remains({"edge": RemainsSection.model_validate(settings)}) as remains:
        return dict(await remains.after(ref))


async def test_nothing_is_said_where_nothing_is_known() -> None:
    assert await told(StreamRef("other", "live", "cam"), folder="/nowhere") == {}


async def test_what_is_left_is_counted_and_only_purged_where_that_is_wished(tmp_path: Path) -> None:
    folder = hls(tmp_path / "hls")
    left = {"written_files": 3, "written_bytes": 9, "purged_files": 0, "remaining_files": 3}
    assert await told(folder=folder) == left
    assert await told(folder=folder, purge=True) == {**left, "purged_files": 3, "remaining_files": 0}
    assert [file.name for file in folder.iterdir()] == ["cam2.m3u8"]


async def test_a_playlist_is_asked_for_after_everything_else(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with scripted_nginx() as cdn:
        cdn.on_stat = lambda _: http(b"", status="404 Not Found") if mark.exists() else http(b"#EXTM3U")
        address = f"http://127.0.0.1:{cdn.port}/hls/{{app}}/{{name}}.m3u8"
        assert await told(address=address) == {"playlist_readable": True}
        assert await told(
            address=address, purge_command=["/bin/sh", "-c", f"test $0 = cam && touch {mark}", "{name}"]
        ) == {
            "purge_command": True,
            "playlist_readable": False,
        }
        assert cdn.stats == 2


async def test_what_fails_is_told_and_keeps_nothing_else_from_being_done(tmp_path: Path) -> None:
    folder = hls(tmp_path / "hls")
    (tmp_path / "file").write_text("no folder")
    assert await told(folder=tmp_path / "file", purge_command=["/bin/false"]) == {
        "remains_unknown": "folder purge_command"
    }
    assert await told(StreamRef("edge", "live", "../cam"), folder=folder, purge=True) == {"remains_unknown": "folder"}
    after = await told(folder=folder, purge=True, purge_command=["/bin/sleep", "9"], timeout="100ms")
    assert (after["remaining_files"], after["remains_unknown"]) == (0, "purge_command")


def test_purging_needs_a_folder() -> None:
    with pytest.raises(ValueError, match="name the folder"):
        RemainsSection(purge=True)
