"""What is watched, and what is refused with which reason: every oddity is made by ffmpeg and met for real."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
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
        mend: What else is done to the bytes.
        refused: The reason, where it is not watched.
        broken: The reason why watching ends before the video does, to be opened anew.
        honoured: Whether every clip keeps the spacing.
        seconds: How much stream time the clips reach to, at least.
    """

    make: str
    suffix: str = "mkv"
    picture: str = "testsrc=size=320x180:rate=30:duration=6"
    then: tuple[tuple[str, str], ...] = ()
    mend: Callable[[bytes], bytes] = bytes
    refused: str = ""
    broken: str = ""
    honoured: bool = True
    seconds: float = 4.0


def with_times_near_32_bits(flv: bytes) -> bytes:
    """Add 2^32 - 3000 ms to the times of an FLV file, modulo 2^32, as an encoder does that ran for seven weeks."""
    mended, at = bytearray(flv), 13
    while at + 11 <= len(mended):
        low, high = mended[at + 4 : at + 7], mended[at + 7 : at + 8]
        time_ms = (int.from_bytes(high + low, "big") + 2**32 - 3000) % 2**32
        mended[at + 4 : at + 8] = time_ms.to_bytes(4, "big")[1:] + time_ms.to_bytes(4, "big")[:1]
        at += 11 + int.from_bytes(mended[at + 1 : at + 4], "big") + 4
    return bytes(mended)


SMALL, LARGE = "testsrc=size=160x120:rate=30:duration=3", "testsrc=size=640x360:rate=30:duration=3"

TABLE = {
    "size changes": Odd(RAW_264, "ts", SMALL, then=((LARGE, RAW_264),)),
    "frame rate changes": Odd(RAW_264, "ts", SMALL, then=(("testsrc=size=160x120:rate=15:duration=3", RAW_264),)),
    "codec changes": Odd(
        RAW_264, "ts", SMALL, then=((SMALL, "-c:v mpeg2video -g 15 -f mpegts"),), broken="decode_failed", seconds=1.5
    ),
    "codec changes for the better": Odd(
        RAW_264,
        "ts",
        SMALL,
        then=(
            (
                SMALL.replace("=3", "=6"),
                "-c:v libx265 -g 30 -x265-params log-level=none:pools=1 -preset ultrafast -f mpegts",
            ),
        ),
        broken="decode_failed",
        seconds=1.5,
    ),
    "streams are numbered anew": Odd(RAW_264, "ts", SMALL, then=((SMALL, RAW_264 + " -streamid 0:0x300"),)),
    "time base of 1/1000": Odd(X264, "flv"),
    "time base of 1/90000": Odd(X264 + " -video_track_timescale 90000", "mp4"),
    "B-frames": Odd("-c:v libx264 -preset medium -threads 1 -g 30 -bf 3 -b_strategy 0"),
    "open groups of pictures": Odd("-c:v libx264 -threads 1 -g 30 -bf 2 -x264-params open-gop=1", "ts"),
    "negative times": Odd(X264 + " -output_ts_offset -3 -avoid_negative_ts disabled", "mkv"),
    "33-bit times wrap": Odd(X264 + " -output_ts_offset 95440 -f mpegts", "ts"),
    "31-bit times wrap": Odd(X264 + " -output_ts_offset 2147480", "flv"),
    "32-bit times wrap": Odd(X264, "flv", mend=with_times_near_32_bits),
    "sound comes 8 s before the picture": Odd(
        "-map 1:a -c:a aac -filter:v setpts=PTS+8/TB -c:v libx264 -preset ultrafast -threads 1 -g 30", "ts"
    ),
    "every frame a keyframe": Odd("-c:v libx264 -preset ultrafast -threads 1 -g 1"),
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
    path.write_bytes(odd.mend(pieces))
    return path


def clips_of(path: Path, posture: Posture = Posture.CALM) -> tuple[list[Clip], str]:
    """Return the clips, and why there are no more of them: empty at the end."""
    clips: list[Clip] = []
    try:
        with VideoSource.open(str(path), open_timeout_s=10, read_timeout_s=5, live=False) as source:
            clips.extend(
                source.clips(SPEC, posture=lambda: posture, keep=None, stop=threading.Event(), decode_slots=None)
            )
    except SourceError as error:
        return clips, error.reason
    return clips, ""


CLOSELY = (
    "size changes",
    "codec changes",
    "streams are numbered anew",
    "B-frames",
    "33-bit times wrap",
    "32-bit times wrap",
    "no times at all",
    "every frame a keyframe",
    "HEVC",
    "VP9",
    "MJPEG",
    "interlaced",
    "1 frame a second",
)
"""Looked at in the other postures too: whatever bears on what is skipped, or on time."""


@pytest.mark.parametrize(
    ("name", "posture"),
    [(name, Posture.CALM) for name in TABLE]
    + [(name, posture) for name in CLOSELY for posture in (Posture.CLOSE, Posture.FULL)],
)
def test_odd_video(tmp_path: Path, name: str, posture: Posture) -> None:
    odd = TABLE[name]
    clips, reason = clips_of(made(tmp_path, odd), posture)
    assert reason == (odd.refused or odd.broken)
    if odd.refused:
        return
    assert clips
    for clip in clips:
        assert clip.frames.shape == (4, 48, 64, 3)
        assert list(clip.times_s) == sorted(clip.times_s)
    starts_s = [clip.times_s[0] for clip in clips]
    assert starts_s == sorted(starts_s)
    assert clips[-1].times_s[-1] >= odd.seconds
    # What is cut off in the middle of a clip cannot give it all its frames.
    assert all(clip.spacing_honoured for clip in (clips[:-1] if odd.broken else clips)) == odd.honoured
    # The test picture is not flat, and no clip is a grey nothing.
    assert all(float(np.std(clip.frames)) > 20 for clip in clips)


def fragmented(folder: Path, timescale: int, seconds: int) -> tuple[bytes, bytes]:
    """Return how so many seconds of fragmented MP4 begin, and the rest."""
    path = folder / "piece.mp4"
    make = f"{X264} -video_track_timescale {timescale} -movflags frag_keyframe+empty_moov+default_base_moof -f mp4"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc=size=160x120:rate=30:duration={seconds}",
         *make.split(), path],
        check=True, timeout=100, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    data = path.read_bytes()
    first = data.index(b"moof") - 4
    return data[:first], data[first:]


@pytest.mark.parametrize("posture", Posture)
@pytest.mark.parametrize("scales", [(90_000, 1000), (1000, 90_000)])
def test_a_time_base_that_changes_in_mid_stream(tmp_path: Path, scales: tuple[int, int], posture: Posture) -> None:
    """As the parts of a playlist may. FFmpeg goes on with the first: time then crawls, or races."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:12", "#EXT-X-MEDIA-SEQUENCE:0"]
    for number, (scale, seconds) in enumerate(zip(scales, (3, 12), strict=True)):
        begin, rest = fragmented(tmp_path, scale, seconds)
        (tmp_path / f"begin{number}.mp4").write_bytes(begin)
        (tmp_path / f"rest{number}.m4s").write_bytes(rest)
        lines += ["#EXT-X-DISCONTINUITY"] * number
        lines += [f'#EXT-X-MAP:URI="begin{number}.mp4"', f"#EXTINF:{seconds}.0,", f"rest{number}.m4s"]
    (tmp_path / "list.m3u8").write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    clips, reason = clips_of(tmp_path / "list.m3u8", posture)
    assert reason == ""
    after = [clip for clip in clips if clip.times_s[0] > 3.0]
    assert after
    # A crawling clock is found out and packets are counted. A racing one is, too, where they come at their own pace; of
    # a file, clips say that they are not what the model asked for.
    assert all(clip.spacing_honoured for clip in after) == (scales[0] > scales[1])
