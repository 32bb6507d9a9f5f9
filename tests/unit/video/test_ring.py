from __future__ import annotations

import io
import threading
from pathlib import Path

import av
import pytest

from monitor.video.clip import ClipSpec
from monitor.video.ring import PacketRing
from monitor.video.source import VideoSource
from monitor.vocabulary import Posture
from tests.fakes.footage import Footage, counting_grey, film

SPEC = ClipSpec(frames=4, spacing_s=0.1, width=32, height=32)


def record(ring: PacketRing, path: Path) -> None:
    with VideoSource.open(str(path), open_timeout_s=5, read_timeout_s=5, live=False) as source:
        clips = source.clips(
            SPEC, posture=lambda: Posture.CALM, keep=None, stop=threading.Event(), decode_slots=None, ring=ring
        )
        assert list(clips)


def decoded(data: bytes) -> list[tuple[float, float]]:
    """Time in seconds and mean brightness of every frame."""
    with av.open(io.BytesIO(data), "r") as container:
        return [
            (float(frame.time or 0.0), float(frame.to_ndarray(format="gray").mean()))
            for frame in container.decode(video=0)
        ]


def starts_with_keyframe(data: bytes) -> bool:
    with av.open(io.BytesIO(data), "r") as container:
        return next(container.demux(video=0)).is_keyframe


@pytest.mark.parametrize("name", ["a.mp4", "a.flv", "a.ts", "a.mkv", "a.m3u8"])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_what_is_kept_plays_again_without_loss(tmp_path: Path, name: str, b_frames: int) -> None:
    footage = Footage(duration_s=4, b_frames=b_frames, sound=True)
    path = film(tmp_path / name, footage, counting_grey(320, 180, footage.frames))
    ring = PacketRing(max_bytes=10_000_000)
    record(ring, path)
    frames = decoded(ring.remux())
    with av.open(str(path)) as original:
        expected = [float(frame.to_ndarray(format="gray").mean()) for frame in original.decode(video=0)]
    assert [brightness for _, brightness in frames] == pytest.approx(expected, abs=0.01)
    assert frames[-1][0] - frames[0][0] == pytest.approx(4 - 1 / 30, abs=0.01)


@pytest.mark.parametrize(
    ("codec", "container"), [("libx265", "mp4"), ("libsvtav1", "mp4"), ("libvpx-vp9", "mp4"), ("libvpx", "matroska")]
)
def test_other_codecs_play_again(tmp_path: Path, codec: str, container: str) -> None:
    ring = PacketRing(max_bytes=10_000_000)
    record(ring, film(tmp_path / "a.mkv", Footage(duration_s=2, codec=codec)))
    with av.open(io.BytesIO(ring.remux()), "r") as again:
        assert container in again.format.name
    assert len(decoded(ring.remux())) == 60


def test_it_plays_after_its_source_is_gone(tmp_path: Path) -> None:
    ring = PacketRing(max_bytes=10_000_000)
    path = film(tmp_path / "a.flv")
    record(ring, path)
    path.unlink()
    assert len(decoded(ring.remux())) == 120


def test_old_groups_are_dropped_whole(tmp_path: Path) -> None:
    ring = PacketRing(max_bytes=10_000_000, max_age_s=5.0)
    record(ring, film(tmp_path / "a.flv", Footage(duration_s=20, b_frames=3)))
    data = ring.remux()
    assert starts_with_keyframe(data)
    frames = decoded(data)
    # At least what was asked for, at most one group of 2 s more.
    assert 5.0 <= len(frames) / 30 <= 7.1


def test_bytes_are_bounded_and_the_newest_stay(tmp_path: Path) -> None:
    path = film(tmp_path / "a.flv", Footage(duration_s=20))
    bound = path.stat().st_size // 3
    ring = PacketRing(max_bytes=bound)
    record(ring, path)
    assert bound / 2 < ring.size_bytes <= bound
    data = ring.remux()
    assert starts_with_keyframe(data)
    assert len(decoded(data)) >= 120


def test_a_group_without_end_stays_bounded(tmp_path: Path) -> None:
    path = film(tmp_path / "a.flv", Footage(duration_s=20, gop_s=None))
    bound = path.stat().st_size // 3
    ring = PacketRing(max_bytes=bound)
    record(ring, path)
    assert bound / 2 < ring.size_bytes <= bound
    with av.open(io.BytesIO(ring.remux()), "r") as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) > 100


def test_a_reconnect_does_not_erase_what_came_before(tmp_path: Path) -> None:
    ring = PacketRing(max_bytes=10_000_000)
    record(ring, film(tmp_path / "a.flv", Footage(duration_s=4)))
    record(ring, film(tmp_path / "b.ts", Footage(duration_s=2, width=640, height=360)))
    assert [len(decoded(data)) for data in ring.remux_all()] == [120, 60]
    assert len(decoded(ring.remux())) == 60


def test_nothing_kept_is_an_empty_file() -> None:
    assert PacketRing(max_bytes=1000).remux() == b""
    assert PacketRing(max_bytes=1000).remux_all() == []


def test_remuxing_while_recording(tmp_path: Path) -> None:
    ring = PacketRing(max_bytes=100_000)
    path = film(tmp_path / "a.flv", Footage(duration_s=20))
    recording = threading.Thread(target=record, args=(ring, path))
    recording.start()
    while recording.is_alive():
        if data := ring.remux():
            assert decoded(data)
    recording.join()
