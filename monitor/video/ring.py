"""The last minute of compressed video, kept as evidence and remuxed without re-encoding."""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

import av
import av.error
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

_MP4_CODECS = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4"})


@dataclass(frozen=True, slots=True)
class _Kept:
    """One packet, copied out of FFmpeg's memory, so that it outlives its connection."""

    data: bytes
    pts: int
    dts: int
    duration: int
    is_keyframe: bool


@dataclass(slots=True)
class _Group:
    """A keyframe and what follows it; `end_s` in stream seconds, `arrived_at` in Unix time, both of the last packet."""

    end_s: float
    arrived_at: float
    packets: deque[_Kept] = field(default_factory=deque)


@dataclass(slots=True)
class _Reel:
    """What one connection sent.

    Attributes:
        template: A tiny file with one keyframe, from which the codec's parameters can be read once the connection is
            gone; None until the first keyframe.
    """

    time_base: Fraction
    container: str
    groups: deque[_Group] = field(default_factory=deque)
    template: bytes | None = None


class PacketRing:
    """Keeps the newest compressed video packets of one stream, over reconnects too. Thread-safe.

    Groups of pictures are dropped whole, once their end is older than `max_age_s` (by the stream's clock or by ours)
    or when more than `max_bytes` of video are kept. A single group larger than that loses its head.
    """

    def __init__(self, *, max_bytes: int, max_age_s: float = 60.0) -> None:
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._lock = threading.Lock()
        self._reels: deque[_Reel] = deque()
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of compressed video that are kept now."""
        with self._lock:
            return self._size_bytes

    def begin(self, stream: VideoStream) -> None:
        """A connection was opened: the packets that follow are of `stream`, on a time line of their own."""
        container = "mp4" if stream.codec_context.codec.canonical_name in _MP4_CODECS else "matroska"
        with self._lock:
            self._reels.append(_Reel(stream.time_base or Fraction(1, 90_000), container))

    def add(self, packet: Packet[VideoStream], *, time_s: float, arrived_at: float) -> None:
        """Keep a copy of `packet` of the stream begun last.

        Args:
            packet: A video packet with timestamps; one without is left out.
            time_s: Where it stands in stream seconds.
            arrived_at: Unix time at which it had been read.
        """
        mark = packet.pts if packet.dts is None else packet.dts
        if mark is None:
            return
        kept = _Kept(
            data=bytes(packet),
            pts=mark if packet.pts is None else packet.pts,
            dts=mark,
            duration=packet.duration or 0,
            is_keyframe=packet.is_keyframe,
        )
        with self._lock:
            reel = self._reels[-1]
            if reel.template is None and kept.is_keyframe:
                reel.template = _template(packet.stream, kept)
            if kept.is_keyframe or not reel.groups:
                reel.groups.append(_Group(time_s, arrived_at))
            group = reel.groups[-1]
            group.packets.append(kept)
            group.end_s, group.arrived_at = time_s, arrived_at
            self._size_bytes += len(kept.data)
            self._drop_old(group)

    def remux(self) -> bytes:
        """Return what the newest connection sent as a playable file; empty where there is nothing to play.

        MP4, or Matroska for codecs that MP4 does not carry. It starts at the oldest keyframe that is kept; where there
        is none any more, at the oldest packet, and shows a picture as soon as the codec can.
        """
        files = self.remux_all()
        return files[-1] if files else b""

    def remux_all(self) -> list[bytes]:
        """Return a file, as `remux` does, for each connection of which something is kept, oldest first."""
        with self._lock:
            reels = [(reel, [kept for group in reel.groups for kept in group.packets]) for reel in self._reels]
        return [
            _write(reel.template, packets, reel.time_base, reel.container)
            for reel, packets in reels
            if packets and reel.template is not None
        ]

    def _drop_old(self, newest: _Group) -> None:
        while True:
            reel = self._reels[0]
            if not reel.groups:
                if len(self._reels) == 1:
                    return
                self._reels.popleft()
                continue
            oldest = reel.groups[0]
            same_line = len(self._reels) == 1
            age_s = newest.arrived_at - oldest.arrived_at
            if same_line:
                age_s = max(age_s, newest.end_s - oldest.end_s)
            if oldest is not newest and (age_s > self._max_age_s or self._size_bytes > self._max_bytes):
                self._size_bytes -= sum(len(kept.data) for kept in oldest.packets)
                reel.groups.popleft()
            elif self._size_bytes > self._max_bytes and len(oldest.packets) > 1:
                self._size_bytes -= len(oldest.packets.popleft().data)
            else:
                return


def _template(stream: VideoStream, keyframe: _Kept) -> bytes | None:
    """Return a file with `keyframe` alone, or None where Matroska does not carry the codec."""
    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format="matroska") as container:
            _mux(container, stream, [keyframe], stream.time_base or Fraction(1, 90_000))
    except (av.error.FFmpegError, ValueError):
        return None
    return buffer.getvalue()


def _write(template: bytes, packets: list[_Kept], time_base: Fraction, container_format: str) -> bytes:
    first_keyframe = next((index for index, kept in enumerate(packets) if kept.is_keyframe), 0)
    buffer = io.BytesIO()
    with (
        av.open(io.BytesIO(template), "r", format="matroska") as like,
        av.open(buffer, "w", format=container_format) as container,
    ):
        _mux(container, like.streams.video[0], packets[first_keyframe:], time_base)
    return buffer.getvalue()


def _mux(container: OutputContainer, like: VideoStream, packets: Iterable[_Kept], time_base: Fraction) -> None:
    # Opaque: copied as it is, without a look for an encoder of the decoder's name, which AV1 has not.
    stream = container.add_stream_from_template(like, opaque=True)
    last_dts: int | None = None
    for kept in packets:
        packet = Packet(kept.data)
        # Muxers insist on what publishers do not always send: decoding times that rise, and none after showing.
        packet.dts = kept.dts if last_dts is None else max(kept.dts, last_dts + 1)
        packet.pts = max(kept.pts, packet.dts)
        last_dts = packet.dts
        packet.duration = kept.duration
        packet.time_base = time_base
        packet.is_keyframe = kept.is_keyframe
        packet.stream = stream
        container.mux(packet)
