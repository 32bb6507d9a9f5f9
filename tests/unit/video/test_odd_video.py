"""What is watched, and what is refused with which reason: every oddity is made by ffmpeg and met for real."""

from __future__ import annotations

import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from monitor.errors import SourceError
from monitor.video.clip import Clip, ClipSpec
from monitor.video.source import VideoSource
from monitor.vocabulary import Posture

SPEC = ClipSpec(frames=4, spacing_s=0.1, width=64, height=48)

X264 = "-c:v libx264 -preset ultrafast -threads 1 -g 30"
RAW_264 = f"{X264} -bsf:v h264_mp4toannexb -f mpegts"


@dataclass(frozen=True, slots=True)
class Odd:
    """One oddity.

    Attributes:
        make: Arguments of ffmpeg after its input; `{picture}` of one second or more goes in.
        suffix: Container.
        picture: The source filter.
        then: More pieces, filmed with these arguments and put behind the first, byte for byte.
        refused: The reason, where it is not watched.
        honoured: Whether every clip keeps the spacing.
        seconds: How much stream time the clips reach to, at least.
    """

    make: str
    suffix: str = "mkv"
    picture: str = "testsrc=size=320x180:rate=30:duration=6"
    then: tuple[tuple[str, str], ...] = ()
    refused: str = ""
    honoured: bool = True
    seconds: float = 4.0


SMALL, LARGE = "testsrc=size=160x120:rate=30:duration=3", "testsrc=size=640x360:rate=30:duration=3"

TABLE = {
    "size changes": Odd(RAW_264, "ts", SMALL, then=((LARGE, RAW_264),)),
    "frame rate changes": Odd(RAW_264, "ts", SMALL, then=(("testsrc=size=160x120:rate=15:duration=3", RAW_264),)),
    "codec changes": Odd(
        RAW_264, "ts", SMALL, then=((SMALL, "-c:v mpeg2video -g 15 -f mpegts"),), honoured=False, seconds=1.5
    ),
    "time base of 1/1000": Odd(X264, "flv"),
    "time base of 1/90000": Odd(X264 + " -video_track_timescale 90000", "mp4"),
    "B-frames": Odd("-c:v libx264 -preset medium -threads 1 -g 30 -bf 3 -b_strategy 0"),
    "open groups of pictures": Odd("-c:v libx264 -threads 1 -g 30 -bf 2 -x264-params open-gop=1", "ts"),
    "negative times": Odd(X264 + " -output_ts_offset -3 -avoid_negative_ts disabled", "mkv"),
    "33-bit times wrap": Odd(X264 + " -output_ts_offset 95440 -f mpegts", "ts"),
    "no times at all": Odd(X264 + " -f h264", "h264"),
    "10 bit": Odd("-c:v libx264 -preset ultrafast -threads 1 -g 30 -pix_fmt yuv420p10le"),
    "HDR, PQ": Odd(
        "-c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -g 30 -colorspace bt2020nc -color_trc smpte2084 "
        "-color_primaries bt2020 -x265-params log-level=none:pools=1",
    ),
    "HDR, HLG": Odd(
        "-c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -g 30 -colorspace bt2020nc -color_trc arib-std-b67 "
        "-color_primaries bt2020 -x265-params log-level=none:pools=1",
    ),
    "odd sides": Odd(
        "-c:v libx264 -preset ultrafast -g 30 -pix_fmt yuv444p",
        picture=SMALL.replace("160x120", "639x361"),
        seconds=1.5,
    ),
    "2 x 2 pixels": Odd(X264, picture=SMALL.replace("160x120", "2x2"), seconds=1.5),
    "anamorphic": Odd(X264 + " -vf setsar=64/45", "mp4"),
    "HEVC": Odd("-c:v libx265 -preset ultrafast -g 30 -x265-params log-level=none:pools=1", "ts"),
    "AV1": Odd("-c:v libaom-av1 -cpu-used 8 -usage realtime -g 30 -threads 1", picture=SMALL, seconds=1.5),
    "VP8": Odd("-c:v libvpx -deadline realtime -cpu-used 8 -g 30 -threads 1", "webm"),
    "VP9": Odd("-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 30 -threads 1", "webm"),
    "MJPEG": Odd("-c:v mjpeg -pix_fmt yuvj420p", "avi"),
    "interlaced": Odd(
        "-vf interlace -c:v mpeg2video -flags +ildct+ilme -g 15", "ts", "testsrc=size=320x240:rate=50:duration=6"
    ),
    "monochrome": Odd("-c:v libx264 -preset ultrafast -g 30 -pix_fmt gray"),
    "alpha": Odd("-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 30 -pix_fmt yuva420p", "webm"),
    "1 frame a second": Odd(X264, "mp4", "testsrc=size=160x120:rate=1:duration=12", honoured=False, seconds=6.0),
    "120 frames a second": Odd(X264, "mp4", "testsrc=size=160x120:rate=120:duration=6"),
    "240 frames a second": Odd(X264, "mp4", "testsrc=size=160x120:rate=240:duration=6", seconds=2.0),
    "sound alone": Odd("-vn -c:a aac", "mp4", refused="no_video"),
    "a codec that live video does not use": Odd("-c:v ffv1", "mkv", refused="no_video"),
    "pictures of 16384 x 64": Odd(
        "-c:v mjpeg -pix_fmt yuvj420p", "avi", "color=size=16384x64:rate=5:duration=1", refused="picture_too_large"
    ),
}


def made(folder: Path, odd: Odd) -> Path:
    path = folder / f"odd.{odd.suffix}"
    pieces = b""
    for picture, make in ((odd.picture, odd.make), *odd.then):
        subprocess.run(
            ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "anullsrc=d=6", "-map",
             "1:a" if "-vn" in make else "0:v", *make.split(), path],
            check=True, timeout=100, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        pieces += path.read_bytes()
    path.write_bytes(pieces)
    return path


def clips_of(path: Path, posture: Posture = Posture.CALM) -> list[Clip]:
    with VideoSource.open(str(path), open_timeout_s=10, read_timeout_s=5, live=False) as source:
        return list(source.clips(SPEC, posture=lambda: posture, keep=None, stop=threading.Event(), decode_slots=None))


@pytest.mark.parametrize("odd", TABLE.values(), ids=TABLE.keys())
def test_odd_video(tmp_path: Path, odd: Odd) -> None:
    path = made(tmp_path, odd)
    if odd.refused:
        with pytest.raises(SourceError) as caught:
            clips_of(path)
        assert caught.value.reason == odd.refused
        return
    clips = clips_of(path)
    assert clips
    for clip in clips:
        assert clip.frames.shape == (4, 48, 64, 3)
        assert list(clip.times_s) == sorted(clip.times_s)
    starts_s = [clip.times_s[0] for clip in clips]
    assert starts_s == sorted(starts_s)
    assert clips[-1].times_s[-1] >= odd.seconds
    assert all(clip.spacing_honoured for clip in clips) == odd.honoured
    # The test picture is not flat, and no clip is a grey nothing.
    assert all(float(np.std(clip.frames)) > 20 for clip in clips)
