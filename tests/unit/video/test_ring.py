from __future__ import annotations

import hashlib
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.stream import VideoStream
from hypothesis import given
from hypothesis import strategies as st

from monitor.video.clip import ClipSpec
from monitor.video.parts import Like, packet_head, packets_of, parse_like, part_head
from monitor.video.remux import VideoFile, remux
from monitor.video.ring import BUFFER_BYTES, LikeFile, PacketRing, Part
from monitor.video.source import VideoSource
from monitor.vocabulary import Posture
from tests.fakes.footage import Footage, counting_grey, film

SPEC = ClipSpec(frames=4, spacing_s=0.1, width=32, height=32)


class FolderStore:
    """Writes at once, and loses what it is told to lose."""

    def __init__(self, folder: Path, part_bytes: int = 3_000_000) -> None:
        self.folder = folder
        self.part_bytes = part_bytes
        self.chunks: list[int] = []
        self.parts: dict[str, Part] = {}
        self.likes_to_lose = 0
        self.loses: Callable[[Part], bool] = lambda _: False
        self._numbers = itertools.count()
        folder.mkdir()

    def new_reel(self) -> str:
        return f"abc-{next(self._numbers):06d}"

    def write_like(self, like: LikeFile, content: bytes) -> None:
        like.lost = self.likes_to_lose > 0
        self.likes_to_lose -= 1
        if not like.lost:
            (self.folder / like.name).write_bytes(content)

    def append(self, part: Part, data: bytearray) -> None:
        if self.loses(part):
            part.lost = True
            return
        self.chunks.append(len(data))
        self.parts[part.name] = part
        with (self.folder / part.name).open("ab") as file:
            file.write(data)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "spool")


def record(ring: PacketRing, path: Path) -> None:
    with VideoSource.open(str(path), open_timeout_s=5, read_timeout_s=5, live=False) as source:
        clips = source.clips(
            SPEC, posture=lambda: Posture.CALM, keep=None, stop=threading.Event(), decode_slots=None, ring=ring
        )
        assert list(clips)
    ring.flush()


def seconds(packet: Packet[VideoStream]) -> float:
    return float((packet.dts or 0) * packet.time_base)


def remuxed(
    store: FolderStore, *, max_age_s: float = 60.0, max_bytes: int = 50_000_000
) -> list[tuple[Path, VideoFile]]:
    into = store.folder.with_name("out")
    into.mkdir(exist_ok=True)
    return [(into / file.name, file) for file in remux(store.folder, into, max_age_s=max_age_s, max_bytes=max_bytes)]


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path), "r") as container:
        return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", ["a.mp4", "a.flv", "a.ts", "a.mkv", "a.m3u8"])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_what_is_kept_plays_again_without_loss(store: FolderStore, tmp_path: Path, name: str, b_frames: int) -> None:
    footage = Footage(duration_s=4, b_frames=b_frames, sound=True)
    path = film(tmp_path / name, footage, counting_grey(320, 180, footage.frames))
    record(PacketRing(store), path)
    ((again, said),) = remuxed(store)
    frames, expected = pictures(again), pictures(path)
    assert len(frames) == len(expected) == footage.frames
    assert all(np.array_equal(*pair) for pair in zip(frames, expected, strict=True))
    assert said.name == "0.mp4"
    assert said.size_bytes == again.stat().st_size
    assert said.sha256 == hashlib.sha256(again.read_bytes()).hexdigest()
    assert said.end_s - said.start_s == pytest.approx(4 - 1 / 30, abs=0.15)
    assert said.arrived_from <= said.arrived_to
    assert again.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("codec", "suffix"), [("libx265", ".mp4"), ("libsvtav1", ".mp4"), ("libvpx-vp9", ".mp4"), ("libvpx", ".mkv")]
)
def test_other_codecs_play_again(store: FolderStore, tmp_path: Path, codec: str, suffix: str) -> None:
    record(PacketRing(store), film(tmp_path / "a.mkv", Footage(duration_s=2, codec=codec)))
    ((again, _),) = remuxed(store)
    assert again.suffix == suffix
    assert len(pictures(again)) == 60


def test_it_plays_after_its_source_is_gone(store: FolderStore, tmp_path: Path) -> None:
    path = film(tmp_path / "a.flv")
    record(PacketRing(store), path)
    path.unlink()
    ((again, _),) = remuxed(store)
    assert len(pictures(again)) == 120


def test_little_is_held_in_memory(store: FolderStore, tmp_path: Path) -> None:
    path = film(tmp_path / "a.flv", Footage(duration_s=20, gop_s=None, width=640, height=360))
    assert path.stat().st_size > 4 * BUFFER_BYTES
    record(PacketRing(store), path)
    assert max(store.chunks) < BUFFER_BYTES + 200_000
    assert len(store.chunks) < path.stat().st_size / BUFFER_BYTES + 10


def test_a_stream_of_keyframes_does_not_become_a_file_for_each(store: FolderStore, tmp_path: Path) -> None:
    ring = PacketRing(store)
    path = film(tmp_path / "a.flv", Footage(duration_s=4, gop_s=1 / 30))
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        ring.begin(video)
        for packet in container.demux(video):
            ring.add(packet, time_s=seconds(packet), arrived_at=seconds(packet))
    ring.flush()
    assert 2 <= len(store.parts) <= 4
    ((again, _),) = remuxed(store)
    assert len(pictures(again)) == 120


def test_a_group_without_end_is_split(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "spool", part_bytes=100_000)
    path = film(tmp_path / "a.flv", Footage(duration_s=20, gop_s=None))
    record(PacketRing(store), path)
    parts = list(store.parts.values())
    assert len(parts) > 3
    assert [part.keyframe_first for part in parts] == [True] + [False] * (len(parts) - 1)
    assert max(part.size_bytes for part in parts) <= 100_000 + 50
    ((again, _),) = remuxed(store)
    assert len(pictures(again)) == 600
    for part in parts[:2]:
        (store.folder / part.name).unlink()
    ((headless, _),) = remuxed(store)
    with av.open(str(headless)) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) > 100


def test_groups_that_ended_too_long_ago_are_left_out_whole(store: FolderStore, tmp_path: Path) -> None:
    ring = PacketRing(store)
    path = film(tmp_path / "a.flv", Footage(duration_s=20, b_frames=3))
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        ring.begin(video)
        for packet in container.demux(video):
            ring.add(packet, time_s=seconds(packet), arrived_at=1000 + seconds(packet))
    ring.flush()
    ((again, said),) = remuxed(store, max_age_s=5.0)
    frames = pictures(again)
    # At least what was asked for, at most one group of 2 s more.
    assert 5.0 <= len(frames) / 30 <= 7.1
    assert np.array_equal(frames[-1], pictures(path)[-1])
    assert said.arrived_from - 1000 == pytest.approx(said.start_s)
    everything = sum(part.size_bytes for part in store.parts.values())
    ((newest, _),) = remuxed(store, max_bytes=everything // 2)
    assert 4.0 <= len(pictures(newest)) / 30 <= 12.0


def test_each_connection_is_a_file_of_its_own(store: FolderStore, tmp_path: Path) -> None:
    ring = PacketRing(store)
    record(ring, film(tmp_path / "a.flv", Footage(duration_s=4)))
    record(ring, film(tmp_path / "b.ts", Footage(duration_s=2, width=640, height=360)))
    assert [len(pictures(again)) for again, _ in remuxed(store)] == [120, 60]
    record(PacketRing(store), film(tmp_path / "a.flv", Footage(duration_s=4)))
    assert [again.name for again, _ in remuxed(store)] == ["0.mp4", "1.mp4", "2.mp4"]


def test_after_a_loss_it_goes_on_with_the_next_keyframe(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "spool", part_bytes=40_000)
    store.loses = lambda part: part.number == 1
    path = film(tmp_path / "a.flv", Footage(duration_s=8))
    record(PacketRing(store), path)
    parts = list(store.parts.values())
    assert parts[0].number == 0
    assert parts[1].number == 2
    assert parts[1].keyframe_first
    ((again, _),) = remuxed(store)
    frames = pictures(again)
    assert 120 < len(frames) < 240
    assert np.array_equal(frames[-1], pictures(path)[-1])


def test_a_lost_description_is_written_anew_with_the_next_keyframe(store: FolderStore, tmp_path: Path) -> None:
    store.likes_to_lose = 2
    path = film(tmp_path / "a.flv", Footage(duration_s=8))
    record(PacketRing(store), path)
    ((again, _),) = remuxed(store)
    frames = pictures(again)
    assert len(frames) == 120
    assert np.array_equal(frames[0], pictures(path)[120])


def test_pictures_too_large_for_the_store_are_left_out(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "spool", part_bytes=100)
    record(PacketRing(store), film(tmp_path / "a.flv"))
    assert remuxed(store) == []


def test_nothing_is_taken_before_a_connection_or_after_the_end(store: FolderStore, tmp_path: Path) -> None:
    ring = PacketRing(store)
    ring.flush()
    ring.close()
    record(ring, film(tmp_path / "a.flv"))
    assert store.parts == {}
    assert remuxed(store) == []
    assert remux(tmp_path / "nowhere", tmp_path, max_age_s=60, max_bytes=1000) == ()


def test_what_is_cut_off_planted_or_no_file_is_left_out(store: FolderStore, tmp_path: Path) -> None:
    record(PacketRing(store), film(tmp_path / "a.flv", Footage(duration_s=8)))
    last = store.folder / list(store.parts)[-1]
    last.write_bytes(last.read_bytes()[:-7])
    (store.folder / "abc-000000.000900.part").write_bytes(b"LCP1")
    (store.folder / "abc-000000.000901.part").write_bytes(b"nonsense")
    (store.folder / "abc-000009.000000.part").write_bytes((store.folder / next(iter(store.parts))).read_bytes())
    (store.folder / "abc-000009.like").write_bytes(b"LCL1")
    (store.folder / "other.part").write_bytes(b"x")
    (store.folder / "abc-000000.000902.part").symlink_to("/etc/hostname")
    os.mkfifo(store.folder / "abc-000000.000903.part")
    ((again, _),) = remuxed(store)
    assert len(pictures(again)) == 239


def test_a_template_without_meaning_makes_no_file(store: FolderStore, tmp_path: Path) -> None:
    record(PacketRing(store), film(tmp_path / "a.flv"))
    (like,) = store.folder.glob("*.like")
    like.write_bytes(like.read_bytes()[:60])
    assert remuxed(store) == []
    assert list(store.folder.with_name("out").iterdir()) == []


def test_remuxing_while_recording(store: FolderStore, tmp_path: Path) -> None:
    path = film(tmp_path / "a.flv", Footage(duration_s=20))
    recording = threading.Thread(target=record, args=(PacketRing(store), path))
    recording.start()
    while recording.is_alive():
        for again, _ in remuxed(store):
            assert pictures(again)
    recording.join()
    ((again, _),) = remuxed(store)
    assert len(pictures(again)) == 600


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_read_without_harm(content: bytes, with_head: bool) -> None:
    if with_head:
        content = part_head(keyframe_first=True) + content
    for packet in packets_of(content):
        assert 0 < len(packet.data) < len(content)
    like = parse_like(content)
    assert like is None or isinstance(like, Like)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.integers(0, 200))
def test_packets_come_out_as_they_went_in_up_to_the_cut(contents: list[bytes], cut_bytes: int) -> None:
    written = part_head(keyframe_first=True)
    ends = []
    for number, data in enumerate(contents):
        written += packet_head(
            pts=number, dts=-number, duration=10**12, is_keyframe=True, time_s=0.5, arrived_at=1.0, size_bytes=len(data)
        )
        written += data
        ends.append(len(written))
    whole = [data for data, end in zip(contents, ends, strict=True) if end <= len(written) - cut_bytes]
    read = list(packets_of(written[: max(0, len(written) - cut_bytes)]))
    assert [bytes(packet.data) for packet in read] == whole
    assert [(packet.pts, packet.dts) for packet in read] == [(n, -n) for n in range(len(whole))]
