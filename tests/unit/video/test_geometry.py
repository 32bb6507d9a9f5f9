"""Which way up and in which proportions pictures are shown: to people as a viewer sees them, to models as they ask."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.video.clip import Clip, ClipSpec, Fit
from monitor.video.source import KeptSample, VideoSource
from monitor.vocabulary import Posture
from tests.fakes.footage import Footage, film

RED, GREEN, BLUE, WHITE = (230, 20, 20), (20, 200, 20), (20, 20, 230), (235, 235, 235)


def quarters(width: int, height: int) -> NDArray[np.uint8]:
    """Red and green above, blue and white below."""
    picture = np.empty((height, width, 3), np.uint8)
    middle, centre = height // 2, width // 2
    picture[:middle, :centre], picture[:middle, centre:] = RED, GREEN
    picture[middle:, :centre], picture[middle:, centre:] = BLUE, WHITE
    return picture


def filmed(path: Path, width: int, height: int, *options: str, pixel_format: str = "yuv420p") -> Path:
    """Film the quarters, and have ffmpeg write `options` beside them."""
    plain = path.with_name("plain.mp4")
    picture = quarters(width, height)
    footage = Footage(duration_s=2.0, frame_rate=10, width=width, height=height, gop_s=1.0, pixel_format=pixel_format)
    film(plain, footage, lambda _number: picture)
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-i", plain, "-c", "copy", *options, path],
        check=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return path


def shown(path: Path, *, width: int = 64, height: int = 48, fit: Fit = "stretch") -> tuple[Clip, NDArray[np.uint8]]:
    """Return the first clip for a model of one picture, and the first picture that is kept as evidence, RGB."""
    kept: list[KeptSample] = []
    with VideoSource.open(str(path), open_timeout_s=10, read_timeout_s=5, live=False) as source:
        clips = source.clips(
            ClipSpec(frames=1, spacing_s=0.1, width=width, height=height, fit=fit),
            posture=lambda: Posture.CALM,
            keep=kept.append,
            stop=threading.Event(),
            decode_slots=None,
        )
        clip = next(clips)
    picture = cv2.imdecode(np.frombuffer(kept[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return clip, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8)


def corners(picture: NDArray[np.uint8]) -> list[str]:
    """Return the colours above left, above right, below left and below right."""
    names = {"red": RED, "green": GREEN, "blue": BLUE, "white": WHITE}
    height, width = picture.shape[:2]
    found = []
    for row, column in ((1, 1), (1, 3), (3, 1), (3, 3)):
        pixel = picture[height * row // 4, width * column // 4].astype(int)
        found.append(min(names, key=lambda name: int(np.abs(pixel - names[name]).sum())))
    return found


def lit(picture: NDArray[np.uint8]) -> tuple[int, int]:
    """Return how many columns and rows are not black."""
    bright = picture.max(axis=2) > 100
    return int(bright.any(axis=0).sum()), int(bright.any(axis=1).sum())


def played(path: Path) -> NDArray[np.uint8]:
    """Return the first picture as a player shows it, RGB."""
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-i", path, "-frames:v", "1", path.with_suffix(".png")],
        check=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    picture = cv2.imread(str(path.with_suffix(".png")))
    assert picture is not None
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_people_and_models_see_a_turned_picture_upright(tmp_path: Path, degrees: int) -> None:
    path = filmed(tmp_path / "turned.mp4", 320, 180, "-metadata:s:v:0", f"rotate={degrees}")
    clip, evidence = shown(path)
    upright = corners(played(path))
    assert (upright == ["red", "green", "blue", "white"]) == (degrees == 0)
    assert corners(evidence) == upright
    assert corners(clip.frames[0]) == upright
    assert evidence.shape[:2] == ((180, 320) if degrees % 180 == 0 else (320, 180))


def anamorphic(folder: Path, ratio: str, width: int = 160, height: int = 180) -> Path:
    return filmed(folder / "wide.mp4", width, height, "-bsf:v", f"h264_metadata=sample_aspect_ratio={ratio}")


def test_people_see_anamorphic_pictures_in_proportion(tmp_path: Path) -> None:
    _, evidence = shown(anamorphic(tmp_path, "2/1"))
    assert evidence.shape[:2] == (180, 320)
    _, evidence = shown(anamorphic(tmp_path, "1/2"))
    assert evidence.shape[:2] == (180, 80)


def test_a_turned_anamorphic_picture_is_as_high_as_it_was_wide(tmp_path: Path) -> None:
    options = ("-bsf:v", "h264_metadata=sample_aspect_ratio=2/1", "-metadata:s:v:0", "rotate=90")
    clip, evidence = shown(filmed(tmp_path / "both.mp4", 160, 180, *options), fit="letterbox", width=64, height=64)
    assert evidence.shape[:2] == (320, 180)
    assert lit(clip.frames[0]) == pytest.approx((36, 64), abs=1)


@pytest.mark.parametrize(("fit", "content"), [("stretch", (64, 48)), ("letterbox", (64, 36)), ("crop", (64, 48))])
def test_models_see_anamorphic_pictures_as_they_ask(tmp_path: Path, fit: Fit, content: tuple[int, int]) -> None:
    """160 x 180 shown as 320 x 180: a model that wants proportions kept sees 16:9."""
    clip, _ = shown(anamorphic(tmp_path, "2/1"), fit=fit)
    assert lit(clip.frames[0]) == pytest.approx(content, abs=1)
    if fit != "letterbox":
        assert corners(clip.frames[0]) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("ratio", ["1/1000", "1000/1", "0/1"])
def test_absurd_pixels_are_taken_for_squares(tmp_path: Path, ratio: str) -> None:
    _, evidence = shown(anamorphic(tmp_path, ratio))
    assert evidence.shape[:2] == (180, 160)


@pytest.mark.parametrize(("width", "height"), [(639, 361), (33, 17), (17, 240)])
def test_odd_sides_keep_their_proportions(tmp_path: Path, width: int, height: int) -> None:
    clip, evidence = shown(filmed(tmp_path / "odd.mp4", width, height, pixel_format="yuv444p"))
    shrink = min(1.0, 320 / max(width, height))
    assert evidence.shape[:2] == (round(height * shrink), round(width * shrink))
    assert corners(evidence) == corners(clip.frames[0]) == ["red", "green", "blue", "white"]


def test_bars_in_the_picture_stay_in_it(tmp_path: Path) -> None:
    """A letterboxed broadcast is shown as it was sent: whoever cut the bars off could be made to cut off the picture."""
    picture = np.zeros((180, 320, 3), np.uint8)
    picture[24:156] = WHITE
    path = film(tmp_path / "bars.mp4", Footage(duration_s=2.0, frame_rate=10, gop_s=1.0), lambda _number: picture)
    clip, evidence = shown(path)
    assert lit(evidence) == pytest.approx((320, 132), abs=2)
    assert lit(clip.frames[0]) == pytest.approx((64, 35), abs=2)


def test_mixed_sizes_are_each_shown_whole(tmp_path: Path) -> None:
    """A pixel's shape is asked for with each picture, not once."""
    first, second = (
        filmed(
            tmp_path / f"{number}.ts", width, 180, "-bsf:v", f"h264_metadata=sample_aspect_ratio={ratio}"
        ).read_bytes()
        for number, (width, ratio) in enumerate(((160, "2/1"), (320, "1/1")))
    )
    both = tmp_path / "both.ts"
    both.write_bytes(first + second)
    kept: list[KeptSample] = []
    with VideoSource.open(str(both), open_timeout_s=10, read_timeout_s=5, live=False) as source:
        clips: Iterable[Clip] = source.clips(
            ClipSpec(frames=1, spacing_s=0.1, width=64, height=48),
            posture=lambda: Posture.FULL,
            keep=kept.append,
            stop=threading.Event(),
            decode_slots=None,
        )
        assert len(list(clips)) >= 4
    shapes = {cv2.imdecode(np.frombuffer(one.jpeg, np.uint8), cv2.IMREAD_COLOR).shape[:2] for one in kept}  # type: ignore[union-attr]  # None would fail here
    assert shapes == {(180, 320)}
