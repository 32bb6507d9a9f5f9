"""The last minute of compressed video: packed into parts while a stream is read, for a store to keep."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Protocol

import av
import av.error
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from monitor.video.parts import Like, StoredPacket, pack_like, packet_head, part_head

_MP4_CODECS = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4"})

BUFFER_BYTES: Final = 128 * 1024
"""A group of pictures is handed to the store in chunks of this size: less often costs memory, more often costs time."""

_PART_BYTES: Final = 1024 * 1024
_SHORTEST_PART_S: Final = 1.5
_LONGEST_PART_S: Final = 10.0


@dataclass(slots=True)
class Part:
    """One part as its writer knows it.

    Attributes:
        reel: Name of the connection that it belongs to; unique within the spool.
        number: Counts from 0 within the reel.
        keyframe_first: Whether it can be shown without the part before it.
        begun_at, ended_at: Unix times at which its first and last packet had been read.
        size_bytes: Bytes handed to the store so far.
        lost: Set by the store when it could not take all of it.
    """

    reel: str
    number: int
    keyframe_first: bool
    begun_at: float
    ended_at: float
    size_bytes: int = 0
    lost: bool = False

    @property
    def name(self) -> str:
        """Its file's name."""
        return f"{self.reel}.{self.number:06d}.part"


@dataclass(slots=True)
class LikeFile:
    """The description of a reel; `lost` is set by the store when it could not take it."""

    reel: str
    lost: bool = False

    @property
    def name(self) -> str:
        """Its file's name."""
        return f"{self.reel}.like"


class PartStore(Protocol):
    """Where parts are kept. Its methods return at once, may be called by any thread and never raise."""

    part_bytes: int
    """Most bytes that one part should have."""

    def new_reel(self) -> str:
        """Return an unused name for what a connection sends."""
        ...

    def write_like(self, like: LikeFile, content: bytes) -> None:
        """Keep what a reel's packets are, for as long as parts of it are kept."""
        ...

    def append(self, part: Part, data: bytearray) -> None:
        """Append to a part, which begins with its first data. `data` is the store's from now on."""
        ...


@dataclass(slots=True)
class _Reel:
    name: str
    time_base: Fraction
    container: str
    numbers: itertools.count[int]
    like: LikeFile | None = None


class PacketRing:
    """Packs the compressed video packets of one stream, over reconnects too, and hands them to a store. Thread-safe.

    It holds at most `BUFFER_BYTES` and one packet in memory, never waits, and is silent when the store fails: then what
    follows is left out up to the next keyframe, since it could not be shown.
    """

    def __init__(self, store: PartStore) -> None:
        self._store = store
        self._part_bytes = min(_PART_BYTES, store.part_bytes)
        self._largest_packet_bytes = 2 * store.part_bytes
        self._lock = threading.Lock()
        self._reel: _Reel | None = None
        self._part: Part | None = None
        self._before: Part | None = None
        self._buffer = bytearray()
        self._closed = False

    def begin(self, stream: VideoStream) -> None:
        """A connection was opened: the packets that follow are of `stream`, on a time line of their own."""
        container = "mp4" if stream.codec_context.codec.canonical_name in _MP4_CODECS else "matroska"
        with self._lock:
            self._flush()
            self._part = self._before = None
            base = stream.time_base or Fraction(1, 90_000)
            self._reel = _Reel(self._store.new_reel(), base, container, itertools.count())

    def add(self, packet: Packet[VideoStream], *, time_s: float, arrived_at: float) -> None:
        """Keep a copy of `packet` of the stream begun last.

        Args:
            packet: A video packet with timestamps; one without is left out, and so is what comes before a keyframe.
            time_s: Where it stands in stream seconds.
            arrived_at: Unix time at which it had been read.
        """
        dts = packet.pts if packet.dts is None else packet.dts
        if dts is None:
            return
        with self._lock:
            if self._closed or (reel := self._reel) is None:
                return
            is_keyframe = packet.is_keyframe
            if reel.like is None or reel.like.lost:
                if self._part is not None:
                    self._part.lost = True
                if not (is_keyframe and self._describe(reel, packet)):
                    return
            part = self._part_for(reel, is_keyframe=is_keyframe, size_bytes=packet.size, arrived_at=arrived_at)
            if part is None:
                return
            self._buffer += packet_head(
                pts=dts if packet.pts is None else packet.pts,
                dts=dts,
                duration=packet.duration or 0,
                is_keyframe=is_keyframe,
                time_s=time_s,
                arrived_at=arrived_at,
                size_bytes=packet.size,
            )
            self._buffer += memoryview(packet)
            part.ended_at = arrived_at
            if len(self._buffer) >= BUFFER_BYTES:
                self._flush()

    def flush(self) -> None:
        """Hand everything to the store."""
        with self._lock:
            self._flush()

    def close(self) -> None:
        """Hand everything to the store and take nothing any more."""
        with self._lock:
            self._flush()
            self._closed = True

    def _describe(self, reel: _Reel, keyframe: Packet[VideoStream]) -> bool:
        template = _template(keyframe, reel.time_base)
        if template is None:
            self._reel = None
            return False
        reel.like = LikeFile(reel.name)
        self._store.write_like(reel.like, pack_like(Like(reel.time_base, reel.container, template)))
        return True

    def _part_for(self, reel: _Reel, *, is_keyframe: bool, size_bytes: int, arrived_at: float) -> Part | None:
        """Return the part that the next packet goes into; None where it is left out."""
        part = self._part
        if size_bytes > self._largest_packet_bytes:
            # No store of this size can keep such packets and a minute, too.
            self._flush()
            if part is not None:
                part.lost = True
            return None
        if part is not None and self._before is not None and self._before.lost:
            # Known only now: the store takes its time.
            part.lost = True
        if (part is None or part.lost) and not is_keyframe:
            self._buffer = bytearray()
            return None
        if part is not None:
            age_s, size_after = arrived_at - part.begun_at, part.size_bytes + len(self._buffer) + size_bytes
            full = size_after > self._part_bytes or not 0 <= age_s < _LONGEST_PART_S
            if not (part.lost or full or (is_keyframe and age_s >= _SHORTEST_PART_S)):
                return part
            self._flush()
            if part.lost and not is_keyframe:
                return None
        self._before = None if is_keyframe else part
        self._part = Part(reel.name, next(reel.numbers), is_keyframe, arrived_at, arrived_at)
        self._buffer += part_head(keyframe_first=is_keyframe)
        return self._part

    def _flush(self) -> None:
        if self._part is None or not self._buffer:
            return
        data, self._buffer = self._buffer, bytearray()
        if not self._part.lost:
            self._part.size_bytes += len(data)
            self._store.append(self._part, data)


def mux(container: OutputContainer, like: VideoStream, packets: Iterable[StoredPacket], time_base: Fraction) -> None:
    """Write `packets` into `container` as they are; only timestamps that no muxer takes are mended.

    Raises:
        av.error.FFmpegError, ValueError: the container does not take them.
    """
    # Opaque: copied as it is, without a look for an encoder of the decoder's name, which AV1 has not.
    stream = container.add_stream_from_template(like, opaque=True)
    last_dts: int | None = None
    for stored in packets:
        packet = Packet(bytes(stored.data))
        # Muxers insist on what publishers do not always send: decoding times that rise, and none after showing.
        packet.dts = stored.dts if last_dts is None else max(stored.dts, last_dts + 1)
        packet.pts = max(stored.pts, packet.dts)
        last_dts = packet.dts
        packet.duration = stored.duration
        packet.time_base = time_base
        packet.is_keyframe = stored.is_keyframe
        packet.stream = stream
        container.mux(packet)


def _template(keyframe: Packet[VideoStream], time_base: Fraction) -> bytes | None:
    """Return a file with `keyframe` alone, or None where Matroska does not carry the codec."""
    buffer = io.BytesIO()
    mark = keyframe.pts or keyframe.dts or 0
    stored = StoredPacket(mark, mark, keyframe.duration or 0, True, 0.0, 0.0, memoryview(bytes(keyframe)))
    try:
        with av.open(buffer, "w", format="matroska") as container:
            mux(container, keyframe.stream, [stored], time_base)
    except (av.error.FFmpegError, ValueError):
        return None
    return buffer.getvalue()
