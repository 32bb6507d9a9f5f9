"""Deleting what a media server has written of one stream: that, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.errors import UnsafeCallRefused
from monitor.servers.written_files import WrittenFiles, written_files

CAMS = ("cam.m3u8", "cam-0.ts", "cam-12.ts", "cam.mpd", "cam-init.m4v", "cam-3.m4v", "cam-1.key")
OTHERS = (
    "cam-2-0.ts",
    "cam-2.m3u8",
    "cam2.m3u8",
    "camera-0.ts",
    "xcam-0.ts",
    "cam-0.ts.bak",
    "cam",
    "cam-x.ts",
    "notes.txt",
)


def put(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"12345")


def left(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if not file.is_dir()}


def test_the_streams_own_files_go_and_those_of_its_neighbours_stay(tmp_path: Path) -> None:
    put(tmp_path, *CAMS, *(name for name in OTHERS if name != "cam"))
    before = written_files(tmp_path, "live", "cam", delete=False)
    assert before == WrittenFiles(files=len(CAMS), bytes=5 * len(CAMS), playlists=2)
    assert written_files(tmp_path, "live", "cam", delete=True).deleted == len(CAMS)
    assert left(tmp_path) == set(OTHERS) - {"cam"}
    # `cam-2` has a playlist that `cam` does not own, and `cam-2.ts` would be the second segment of `cam`.
    assert written_files(tmp_path, "live", "cam-2", delete=True).deleted == 2


def test_a_folder_of_its_own_is_emptied_of_what_a_server_writes_there(tmp_path: Path) -> None:
    put(tmp_path / "live" / "cam", "index.m3u8", "0.ts", "17.ts", "init.m4v", "other.m3u8", "readme", "cam2-0.ts")
    put(tmp_path / "studio" / "cam", "index.m3u8")
    assert written_files(tmp_path / "{app}", "live", "cam", delete=True).deleted == 4
    assert left(tmp_path) == {
        *(f"live/cam/{name}" for name in ("other.m3u8", "readme", "cam2-0.ts")),
        "studio/cam/index.m3u8",
    }


def test_a_stream_called_like_an_applications_folder_takes_nothing_of_it(tmp_path: Path) -> None:
    put(tmp_path / "live", "cam.m3u8", "cam-0.ts")
    assert written_files(tmp_path, "live", "live", delete=True) == WrittenFiles()
    assert len(left(tmp_path)) == 2


@pytest.mark.parametrize(
    "name", ["..", ".", "../live2/cam", "a/b", "", ".hidden", "cam*", "cam\0", "c am", "k\u00e4m", "x" * 201, "cam\n"]
)
@pytest.mark.parametrize("of_app", [False, True])
def test_names_that_could_lead_elsewhere_are_refused(tmp_path: Path, name: str, of_app: bool) -> None:
    put(tmp_path / "live", *CAMS)
    with pytest.raises(UnsafeCallRefused):
        written_files(tmp_path / "{app}", name if of_app else "live", "cam" if of_app else name, delete=True)
    assert len(left(tmp_path)) == len(CAMS)


def test_links_are_not_followed_and_not_deleted(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "index.m3u8", "0.ts", "precious")
    hls = tmp_path / "hls"
    hls.mkdir()
    (hls / "cam").symlink_to(tmp_path / "elsewhere")
    (hls / "cam.m3u8").symlink_to(tmp_path / "elsewhere" / "precious")
    (hls / "cam-0.ts").mkdir()
    assert written_files(hls, "live", "cam", delete=True) == WrittenFiles()
    assert left(tmp_path / "elsewhere") == {"index.m3u8", "0.ts", "precious"}
    assert (hls / "cam.m3u8").is_symlink()


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert written_files(tmp_path / "none", "live", "cam", delete=True) == WrittenFiles()
