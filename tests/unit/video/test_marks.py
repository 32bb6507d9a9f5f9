from __future__ import annotations

from pathlib import Path

import av
import pytest
from av.video.stream import VideoStream
from hypothesis import given
from hypothesis import strategies as st

from monitor.video.marks import SliceMarks
from tests.fakes.footage import Footage, film

AVCC = b"\x01\x64\x00\x1f\xff\xe1"
"""The beginning of an MP4 configuration for H.264 with lengths of four bytes."""


def unit(header: int, size: int = 3) -> bytes:
    return size.to_bytes(4, "big") + bytes([header]) + bytes(size - 1)


def told(path: Path) -> list[bool | None]:
    """What the marks say of each packet."""
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        marks = SliceMarks(context.codec.canonical_name, context.extradata)
        return [marks.is_disposable(memoryview(p)) for p in container.demux(video=0) if p.size]


def kept_without_disposable(path: Path) -> int:
    """How many frames FFmpeg's own decoder keeps when it leaves out those that nothing refers to."""
    with av.open(str(path)) as container:
        stream: VideoStream = container.streams.video[0]
        stream.codec_context.skip_frame = "NONREF"
        return sum(1 for _ in container.decode(stream))


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("name", ["a.mp4", "a.flv", "a.ts", "a.mkv"])
@pytest.mark.parametrize("b_frames", [0, 2, 3])
def test_they_agree_with_the_decoder(tmp_path: Path, codec: str, name: str, b_frames: int) -> None:
    x264 = (("x264-params", "b-adapt=0"),) if codec == "libx264" else ()
    path = film(tmp_path / name, Footage(duration_s=2, b_frames=b_frames, codec=codec, x264=x264))
    marks = told(path)
    assert None not in marks
    assert marks.count(False) == kept_without_disposable(path)
    if b_frames and codec == "libx264":
        assert marks.count(True) >= 20


def test_other_codecs_tell_nothing(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", Footage(duration_s=0.5, codec="libvpx"))
    assert set(told(path)) == {None}


def test_parameter_sets_and_messages_stand_before_the_slice() -> None:
    marks = SliceMarks("h264", AVCC)
    assert marks.is_disposable(memoryview(unit(0x67) + unit(0x68) + unit(0x06, 500) + unit(0x01))) is True
    assert marks.is_disposable(memoryview(unit(0x67) + unit(0x68) + unit(0x06, 500) + unit(0x65))) is False
    in_start_codes = b"\0\0\0\1\x09\xf0\0\0\1\x67aa\0\0\0\1\x01bbb"
    assert SliceMarks("h264", None).is_disposable(memoryview(in_start_codes)) is True


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9"])
@given(data=st.binary(max_size=300), extradata=st.binary(max_size=30) | st.just(AVCC) | st.none())
def test_garbage_is_borne(codec: str, data: bytes, extradata: bytes | None) -> None:
    assert SliceMarks(codec, extradata).is_disposable(memoryview(data)) in (None, True, False)
    # Lengths that lie or lead in circles end too.
    assert SliceMarks("h264", AVCC).is_disposable(memoryview(unit(0x06, 1) * 1000)) is None


def test_a_picture_without_a_slice_tells_nothing() -> None:
    for extradata in (AVCC, None):
        marks = SliceMarks("h264", extradata)
        assert marks.is_disposable(memoryview(b"")) is None
        assert marks.is_disposable(memoryview(unit(0x06, 100))) is None
