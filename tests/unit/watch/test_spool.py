from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import pytest
import structlog

from monitor.video.ring import PacketRing
from monitor.vocabulary import StreamRef
from monitor.watch import spool as spool_module
from monitor.watch.spool import Spool
from tests.fakes.footage import Footage, film

STREAM = StreamRef("edge", "live", "../../etc/passwd\n").stream_id
OTHER = StreamRef("edge", "live", "other").stream_id


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def running(folder: Path, stream_bytes: int = 24 * 1024**2, clock: Clock | None = None) -> Iterator[Spool]:
    folder.mkdir(exist_ok=True)
    spool = Spool(folder, stream_bytes, leave_free_bytes=0, monotonic_s=clock or Clock())
    spool.start()
    try:
        yield spool
    finally:
        spool.close(10)
        assert not spool._thread.is_alive()


def settle(spool: Spool) -> None:
    """Wait until everything so far has been written or removed."""
    done = threading.Event()
    with spool._changed:
        spool._queue.append(done.set)
        spool._changed.notify()
    assert done.wait(10)


def ring_of(spool: Spool, stream_id: str = STREAM) -> PacketRing:
    ring = spool.ring(stream_id)
    assert ring is not None
    return ring


def feed(ring: PacketRing, path: Path, *, from_s: float = 0.0, speed: float = 1.0) -> None:
    """Give a ring all packets of a film as if they had come in real time since `from_s`."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        ring.begin(video)
        for packet in container.demux(video):
            if packet.dts is not None:
                time_s = float(packet.dts * packet.time_base) * speed
                ring.add(packet, time_s=time_s, arrived_at=from_s + time_s)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.part"))


def frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_video_is_kept_in_a_private_folder_named_by_the_stream_id_alone(tmp_path: Path) -> None:
    with running(tmp_path / "spool") as spool:
        feed(ring_of(spool), film(tmp_path / "a.flv"))
        (video,) = spool.remux(STREAM, tmp_path)
        assert frames(tmp_path / video.name) == 120
        (folder,) = spool.folder.iterdir()
        assert folder.name == STREAM
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
        assert spool.failures == 0


@pytest.mark.parametrize("stream_id", ["", "..", "../x-0123456789abcdef", "s", "edge-0123456789ABCDEF", "/etc", "a\0"])
def test_what_is_no_stream_id_becomes_no_folder(tmp_path: Path, stream_id: str) -> None:
    with running(tmp_path / "spool") as spool:
        assert spool.ring(stream_id) is None
        assert spool.remux(stream_id, tmp_path) == ()
    assert files(tmp_path) == []


def test_a_minute_is_kept_and_the_groups_before_it_are_removed(tmp_path: Path) -> None:
    with running(tmp_path / "spool") as spool:
        # 20 s of film, stretched to 200.
        feed(ring_of(spool), film(tmp_path / "a.flv", Footage(duration_s=20)), speed=10)
        (video,) = spool.remux(STREAM, tmp_path)
        assert 60 <= video.arrived_to - video.arrived_from <= 85
        assert len(list(spool.folder.rglob("*.part"))) <= 12


def test_bytes_are_bounded_and_the_newest_stay(tmp_path: Path) -> None:
    path = film(tmp_path / "a.flv", Footage(duration_s=20))
    bound = path.stat().st_size // 3
    with running(tmp_path / "spool", bound) as spool:
        feed(ring_of(spool), path)
        (video,) = spool.remux(STREAM, tmp_path)
        assert bound / 2 < size_bytes(spool.folder) <= bound
        assert video.end_s == pytest.approx(20, abs=0.2)
        assert frames(tmp_path / video.name) >= 120


def test_a_group_without_end_loses_its_head_and_stays_bounded(tmp_path: Path) -> None:
    path = film(tmp_path / "a.flv", Footage(duration_s=20, gop_s=None))
    bound = path.stat().st_size // 3
    with running(tmp_path / "spool", bound) as spool:
        feed(ring_of(spool), path)
        (video,) = spool.remux(STREAM, tmp_path)
        assert bound / 2 < size_bytes(spool.folder) <= bound
        assert video.end_s - video.start_s > 3


def test_reels_go_with_their_last_part(tmp_path: Path) -> None:
    with running(tmp_path / "spool") as spool:
        ring = ring_of(spool)
        for number in range(4):
            feed(ring, film(tmp_path / "a.flv"), from_s=100.0 * number)
        ring.flush()
        settle(spool)
        assert len(list(spool.folder.rglob("*.like"))) == 1


def test_a_released_stream_stays_two_minutes_and_leaves_nothing(tmp_path: Path) -> None:
    clock = Clock()
    with running(tmp_path / "spool", clock=clock) as spool:
        ring, other = ring_of(spool), ring_of(spool, OTHER)
        feed(ring, film(tmp_path / "a.flv"))
        feed(other, film(tmp_path / "a.flv"))
        spool.release(STREAM, ring)
        feed(ring, film(tmp_path / "a.flv"))
        clock.now_s = 120
        spool.expire()
        (video,) = spool.remux(STREAM, tmp_path)
        assert frames(tmp_path / video.name) == 120
        clock.now_s = 120.1
        spool.expire()
        settle(spool)
        assert spool.remux(STREAM, tmp_path) == ()
        assert [path.name for path in spool.folder.iterdir()] == [OTHER]


def test_a_stream_that_comes_back_keeps_what_was_there(tmp_path: Path) -> None:
    clock = Clock()
    with running(tmp_path / "spool", clock=clock) as spool:
        first = ring_of(spool)
        feed(first, film(tmp_path / "a.flv"))
        second = ring_of(spool)
        spool.release(STREAM, first)
        clock.now_s = 1000
        spool.expire()
        feed(second, film(tmp_path / "b.flv", Footage(duration_s=2)), from_s=4)
        assert [frames(tmp_path / video.name) for video in spool.remux(STREAM, tmp_path)] == [120, 60]


def test_another_watcher_hands_over_what_a_dead_one_wrote(tmp_path: Path) -> None:
    with running(tmp_path / "spool") as dead:
        feed(ring_of(dead), film(tmp_path / "a.flv"))
    with running(tmp_path / "spool") as other:
        feed(ring_of(other), film(tmp_path / "a.flv"), from_s=5)
        # The group that was still in memory is gone with the dead one: 2 of 4 seconds.
        assert [frames(tmp_path / video.name) for video in other.remux(STREAM, tmp_path)] == [60, 120]


def test_a_disk_that_refuses_is_counted_said_once_and_forgiven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = True
    write = spool_module._write_all

    def write_or_refuse(descriptor: int, data: bytes) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(descriptor, data)

    monkeypatch.setattr(spool_module, "_write_all", write_or_refuse)
    clock = Clock()
    with structlog.testing.capture_logs() as logs, running(tmp_path / "spool", clock=clock) as spool:
        ring = ring_of(spool)
        for number in range(3):
            feed(ring, film(tmp_path / "a.flv"), from_s=10.0 * number)
        assert spool.remux(STREAM, tmp_path) == ()
        assert spool.failures >= 3
        full = False
        clock.now_s = 31
        feed(ring, film(tmp_path / "a.flv"), from_s=30)
        (video,) = spool.remux(STREAM, tmp_path)
        assert frames(tmp_path / video.name) == 120
    assert [(entry["event"], entry.get("errno")) for entry in logs] == [
        ("spool_failed", errno.ENOSPC),
        ("spool_recovered", None),
    ]


def test_a_disk_that_is_nearly_full_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    spool = Spool(tmp_path / "spool", 1_000_000, leave_free_bytes=2**62)
    spool.start()
    feed(ring_of(spool), film(tmp_path / "a.flv"))
    spool.close(10)
    assert spool.failures > 0
    assert files(tmp_path / "spool") == []


def test_a_folder_that_vanishes_is_made_again(tmp_path: Path) -> None:
    with running(tmp_path / "spool") as spool:
        ring = ring_of(spool)
        feed(ring, film(tmp_path / "a.flv"))
        ring.flush()
        settle(spool)
        for path in (spool.folder / STREAM).iterdir():
            path.unlink()
        (spool.folder / STREAM).rmdir()
        feed(ring, film(tmp_path / "a.flv"), from_s=4)
        (video,) = spool.remux(STREAM, tmp_path)
        assert frames(tmp_path / video.name) == 120
        assert spool.failures == 0


def test_a_disk_that_hangs_holds_nobody_up_and_costs_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang, hanging = threading.Event(), threading.Event()
    write = spool_module._write_all

    def write_or_hang(descriptor: int, data: bytes) -> None:
        hanging.set()
        assert hang.wait(30)
        write(descriptor, data)

    monkeypatch.setattr(spool_module, "_write_all", write_or_hang)
    monkeypatch.setattr(spool_module, "_QUEUE_BYTES", 300_000)
    path = film(tmp_path / "a.flv", Footage(duration_s=20))
    with running(tmp_path / "spool") as spool:
        ring = ring_of(spool)
        for number in range(5):
            feed(ring, path, from_s=20.0 * number)
        assert hanging.wait(10)
        assert spool._queued_bytes <= 300_000
        assert spool.failures > 0
        hang.set()
        settle(spool)
        monkeypatch.setattr(spool_module, "_QUEUE_BYTES", 10_000_000)
        feed(ring, path, from_s=100)
        assert [video.end_s for video in spool.remux(STREAM, tmp_path)][-1] == pytest.approx(20, abs=0.2)
