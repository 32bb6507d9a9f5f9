from __future__ import annotations

import io
import random
from itertools import pairwise

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.servers.embedded.transport_stream import PACKET_BYTES, JoinBuffer, NoTransportStream
from tests.fakes.publishers import transport_stream

LIMIT_BYTES = 4 * 1024 * 1024


@pytest.fixture(scope="module")
def stream() -> bytes:
    return transport_stream(seconds=6, rate=10, gop_frames=20)


def first_frame(data: bytes) -> av.VideoFrame:
    with av.open(io.BytesIO(data), "r", format="mpegts") as container:
        return next(container.decode(video=0))


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 60_000), max_size=30))
def test_packets_come_out_whole_however_the_bytes_come_in(stream: bytes, cuts: list[int]) -> None:
    data = stream[:60_160]
    buffer = JoinBuffer(limit_bytes=LIMIT_BYTES)
    edges = [0, *sorted(cuts), len(data)]

    pieces = [buffer.feed(data[start:end]) for start, end in pairwise(edges)]

    assert b"".join(pieces) == data
    assert all(len(piece) % PACKET_BYTES == 0 for piece in pieces)


def test_a_viewer_who_joins_gets_tables_and_a_keyframe_first(stream: bytes) -> None:
    buffer = JoinBuffer(limit_bytes=LIMIT_BYTES)
    # The middle of the second group of pictures: far from any keyframe.
    buffer.feed(stream[: len(stream) * 3 // 6 // PACKET_BYTES * PACKET_BYTES])

    frame = first_frame(buffer.for_new_viewer())

    assert frame.key_frame
    assert frame.pts is not None
    assert frame.time is not None
    whole = first_frame(stream)
    assert whole.time is not None
    assert frame.time - whole.time >= 1.9


def test_before_the_first_keyframe_there_is_nothing_to_give() -> None:
    assert JoinBuffer(limit_bytes=LIMIT_BYTES).for_new_viewer() == b""


def test_a_group_of_pictures_beyond_the_limit_is_not_kept(stream: bytes) -> None:
    buffer = JoinBuffer(limit_bytes=10 * PACKET_BYTES)
    most = 0
    for offset in range(0, len(stream), PACKET_BYTES):
        buffer.feed(stream[offset : offset + PACKET_BYTES])
        most = max(most, len(buffer.for_new_viewer()))

    assert 0 < most <= 12 * PACKET_BYTES


def packet(pid: int, payload: bytes, *, random_access: bool = False) -> bytes:
    adaptation = bytes([1, 0x40]) if random_access else b""
    head = bytes([0x47, 0x40 | pid >> 8, pid & 0xFF, 0x30 if random_access else 0x10])
    return (head + adaptation + payload).ljust(PACKET_BYTES, b"\xff")


def test_only_the_keyframes_of_the_video_count() -> None:
    # Muxers mark every audio frame as a point of random access, too.
    tables = (
        packet(0, bytes([0, 0, 0xB0, 13, 0, 1, 0xC1, 0, 0, 0, 1, 0xE0, 0x20, 0, 0, 0, 0])),
        packet(
            0x20,
            bytes(
                [
                    0,
                    2,
                    0xB0,
                    23,
                    0,
                    1,
                    0xC1,
                    0,
                    0,
                    0xE1,
                    1,
                    0xF0,
                    0,
                    0x0F,
                    0xE1,
                    1,
                    0xF0,
                    0,
                    0x1B,
                    0xE1,
                    0,
                    0xF0,
                    0,
                    0,
                    0,
                    0,
                    0,
                ]
            ),
        ),
    )
    video, audio, key_video = (
        packet(0x100, b"v"),
        packet(0x101, b"a", random_access=True),
        packet(0x100, b"k", random_access=True),
    )
    buffer = JoinBuffer(limit_bytes=LIMIT_BYTES)

    buffer.feed(b"".join((*tables, audio, video)))
    assert buffer.for_new_viewer() == b""

    buffer.feed(b"".join((key_video, audio, video)))
    assert buffer.for_new_viewer() == b"".join((*tables, key_video, audio, video))


def tables_of(*video_pids: int) -> tuple[bytes, bytes]:
    """Return the tables of a programme with these videos."""
    listed = b"".join(bytes([0x1B, 0xE0 | pid >> 8, pid & 0xFF, 0xF0, 0]) for pid in video_pids)
    head = bytes([0, 2, 0xB0, 13 + len(listed), 0, 1, 0xC1, 0, 0, 0xE1, 0, 0xF0, 0])
    return (
        packet(0, bytes([0, 0, 0xB0, 13, 0, 1, 0xC1, 0, 0, 0, 1, 0xE0, 0x20, 0, 0, 0, 0])),
        packet(0x20, head + listed + bytes(4)),
    )


def test_where_the_first_of_two_videos_is_over_viewers_begin_with_the_other() -> None:
    buffer = JoinBuffer(limit_bytes=LIMIT_BYTES)
    tables = tables_of(0x100, 0x101)
    old, new, more = (
        packet(pid, b"k", random_access=key) for pid, key in ((0x100, True), (0x101, True), (0x101, False))
    )

    buffer.feed(b"".join((*tables, old, more)))
    assert buffer.for_new_viewer() == b"".join((*tables, old, more))

    buffer.feed(new + more)
    assert buffer.for_new_viewer() == b"".join((*tables, new, more))


def test_pictures_that_nothing_follows_are_not_given_away_as_live() -> None:
    now_s = 100.0
    buffer = JoinBuffer(limit_bytes=LIMIT_BYTES, monotonic_s=lambda: now_s)
    tables = tables_of(0x100)
    key, sound, more = packet(0x100, b"k", random_access=True), packet(0x102, b"a"), packet(0x100, b"v")
    buffer.feed(b"".join((*tables, key)))
    now_s += 5.0
    buffer.feed(sound)
    assert buffer.for_new_viewer() == b"".join((*tables, key, sound))

    now_s += 0.1
    buffer.feed(sound)
    assert buffer.for_new_viewer() == b""

    buffer.feed(more)
    assert buffer.for_new_viewer() == b"".join((*tables, key, sound, sound, more))


def test_rubbish_between_packets_is_left_out(stream: bytes) -> None:
    packets = stream[: 40 * PACKET_BYTES]
    buffer = JoinBuffer(limit_bytes=LIMIT_BYTES)

    received = buffer.feed(b"rubbish" + packets[: 20 * PACKET_BYTES] + b"\0" * 100 + packets[20 * PACKET_BYTES :])

    assert received == packets


def test_what_is_no_transport_stream_is_refused_after_a_while() -> None:
    buffer = JoinBuffer(limit_bytes=LIMIT_BYTES)

    assert buffer.feed(b"\0" * 60_000) == b""
    with pytest.raises(NoTransportStream):
        buffer.feed(b"\0" * 10_000)


@settings(max_examples=200)
@given(st.lists(st.binary(min_size=187, max_size=187), max_size=20))
def test_hostile_packets_only_ever_cost_their_own_bytes(payloads: list[bytes]) -> None:
    packets = b"".join(b"G" + payload for payload in payloads)
    buffer = JoinBuffer(limit_bytes=LIMIT_BYTES)

    assert buffer.feed(packets) == packets
    assert len(buffer.for_new_viewer()) <= len(packets) + 2 * PACKET_BYTES


@settings(max_examples=200)
@given(st.binary(min_size=180, max_size=184), st.booleans())
def test_hostile_tables_are_survived(payload: bytes, pat: bool) -> None:
    header = bytes([0x47, 0x40, 0x00 if pat else 0x20, 0x10])
    buffer = JoinBuffer(limit_bytes=LIMIT_BYTES)
    # A table that names packet id 32 as its programme's map, then whatever stands on that id.
    buffer.feed(
        bytes([0x47, 0x40, 0, 0x10, 0, 0, 0xB0, 13, 0, 1, 0xC1, 0, 0, 0, 1, 0xE0, 0x20, 0, 0, 0, 0]).ljust(188, b"\xff")
    )

    packet = (header + payload).ljust(PACKET_BYTES, b"\xff")

    assert buffer.feed(packet) == packet


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_refused_although_some_look_like_packets(seed: int) -> None:
    rubbish = random.Random(seed).randbytes(512 * 1024)
    buffer = JoinBuffer(limit_bytes=LIMIT_BYTES)

    def feed_all() -> None:
        for offset in range(0, len(rubbish), 1000):
            buffer.feed(rubbish[offset : offset + 1000])

    with pytest.raises(NoTransportStream):
        feed_all()


@settings(max_examples=50, deadline=None)
@given(rubbish=st.binary(min_size=1, max_size=400), piece_bytes=st.integers(1, 3000))
def test_packets_are_found_again_after_rubbish_however_it_arrives(
    stream: bytes, rubbish: bytes, piece_bytes: int
) -> None:
    packets = stream[: 20 * PACKET_BYTES]
    data = packets + rubbish.replace(b"G", b"x") + packets
    buffer = JoinBuffer(limit_bytes=LIMIT_BYTES)

    received = b"".join(buffer.feed(data[offset : offset + piece_bytes]) for offset in range(0, len(data), piece_bytes))

    assert received == packets + packets
