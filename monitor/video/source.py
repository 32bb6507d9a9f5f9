"""One open stream: demux it, decode as little as the posture asks for, hand out clips."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast

import av
import av.error
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from monitor.errors import SourceError, SourceStalledError
from monitor.video.clip import Clip, ClipSpec
from monitor.video.decoder import FrameDecoder, FrameScaler
from monitor.video.feeding import DecodeSlots, ReadPacket
from monitor.video.opening import Opened, open_container, read_failure
from monitor.video.ring import PacketRing
from monitor.video.steering import Steering, SteeringPorts
from monitor.video.timeline import Timeline
from monitor.vocabulary import Posture

_PATIENCE_WITH_SOUND = 3
"""Still pictures and screen shares send frames rarely, so sound buys a picture this many read timeouts."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What the container says about the video that is watched.

    Attributes:
        codec: FFmpeg's codec name, such as ``h264``.
        width, height: Coded size in pixels when the source was opened; it may change in mid-stream.
        frame_rate: Frames per second, or None where the container does not tell.
        container: FFmpeg's demuxer name, such as ``flv`` or ``hls``.
        duration_s: Length in seconds as the container declares it, or None where it does not (live streams).
    """

    codec: str
    width: int
    height: int
    frame_rate: float | None
    container: str
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class KeptSample:
    """A small picture kept as evidence.

    Attributes:
        time_s: Presentation time in stream seconds, on the same line as `Clip.times_s`.
        arrived_at: Unix time at which its packet had been read.
        jpeg: JPEG bytes, at most 320 pixels on the long side.
    """

    time_s: float
    arrived_at: float
    jpeg: bytes


class VideoSource:
    """An open stream or file. Use as a context manager, in one thread; PyAV releases the GIL while it works."""

    def __init__(self, opened: Opened) -> None:
        self._opened: Opened | None = opened
        self.info = _describe(opened)

    @classmethod
    def open(cls, url: str, *, open_timeout_s: float, read_timeout_s: float, live: bool) -> VideoSource:
        """Connect, probe and choose the video stream.

        Args:
            url: ``rtmp(s)``, ``rtsp(s)`` (over TCP), ``http(s)`` including HLS and MPEG-TS, or a file's path.
            open_timeout_s: Deadline in seconds for the whole of opening, a second probe included.
            read_timeout_s: Silence in seconds after which `clips` raises `SourceStalledError`; at least 15 for HLS,
                whose packets come a segment at a time.
            live: Whether the source is a live stream, which is joined at its newest end.

        Raises:
            SourceOpenError: refused scheme, unreachable, timed out, or not a known container.
            NoVideoError: it opened, but carries no video that can be decoded.
            SourceLimitError: pictures larger than the budget.
        """
        return cls(open_container(url, open_timeout_s=open_timeout_s, read_timeout_s=read_timeout_s, live=live))

    def clips(
        self,
        spec: ClipSpec,
        *,
        posture: Callable[[], Posture],
        keep: Callable[[KeptSample], None] | None,
        stop: threading.Event,
        decode_slots: DecodeSlots | None,
        on_progress: Callable[[], None] | None = None,
        ring: PacketRing | None = None,
        admit: Callable[[float], bool] | None = None,
    ) -> Iterator[Clip]:
        """Read until the stream ends, `stop` is set or the source fails, and yield clips as they become complete.

        Files are read as fast as they can be decoded. Call it once for each source.

        Args:
            spec: The clip that the model asks for.
            posture: Asked at every video packet; a change takes effect without a reconnect or a gap.
            keep: Called about once a second, with a small JPEG of what is decoded anyway; None keeps nothing.
            stop: Ends the iteration at the next packet; where none comes, within the read timeout.
            decode_slots: Held around decoding and scaling, never around reading.
            on_progress: Called for every packet read; the caller's watchdog hangs on it.
            ring: Where compressed packets are kept for evidence; None keeps none.
            admit: Asked, in calm posture, before a head is decoded, and given how many seconds that may be put off;
                may wait for so long, and False leaves the head out; 0 where it is late already and to be left out. None
                leaves none out.

        Raises:
            SourceStalledError: no packet within the read timeout, or sound but no picture for three times as long.
            SourceLimitError: the picture grew beyond the budget in mid-stream.
            SourceError: the connection broke or the video cannot be decoded any more.
        """
        opened = self._opened
        if opened is None:
            raise ValueError("the source is closed")
        timeline = Timeline(opened.stream.time_base or None, self.info.frame_rate)
        decoder = FrameDecoder(opened.stream)
        steering = Steering(
            spec,
            timeline=timeline,
            decoder=decoder,
            scaler=FrameScaler(decoder.pixel_aspect),
            ports=SteeringPorts(
                posture=posture,
                keep=None if keep is None else lambda *sample: keep(KeptSample(*sample)),
                stop=stop,
                decode_slots=decode_slots,
                admit=admit,
            ),
        )
        if ring is not None:
            ring.begin(opened.stream)
        for packet in _video_packets(opened, stop, on_progress):
            placed = timeline.place(packet.pts, packet.dts, now_s=time.monotonic() if opened.live else None)
            packet.pts = placed.dts if placed.pts is None else placed.pts
            packet.dts = placed.dts
            arrived_at = time.time()
            if ring is not None:
                ring.add(packet, time_s=placed.time_s, arrived_at=arrived_at)
            yield from steering.take(ReadPacket(packet, placed, arrived_at, packet.is_keyframe))
        if not stop.is_set():
            yield from steering.finish()

    def close(self) -> None:
        """Close the connection and free the decoder; safe to call twice, in the thread that reads."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _video_packets(
    opened: Opened, stop: threading.Event, on_progress: Callable[[], None] | None
) -> Iterator[Packet[VideoStream]]:
    """Read packets until the end or `stop`; yield those of the watched stream."""
    packets = opened.container.demux()
    seen_at = time.monotonic()
    while not stop.is_set():
        packet = _next_packet(packets, opened)
        if packet is None:
            return
        if on_progress is not None:
            on_progress()
        # At the end PyAV hands out empty packets, which would drain the codec.
        if packet.stream_index == opened.stream.index and packet.size:
            seen_at = time.monotonic()
            yield cast("Packet[VideoStream]", packet)
        elif time.monotonic() - seen_at > opened.silence_s * _PATIENCE_WITH_SOUND:
            raise SourceStalledError("the source sends sound but no picture", reason="no_picture")


def _next_packet(packets: Iterator[Packet[Stream]], opened: Opened) -> Packet[Stream] | None:
    asked_at = time.monotonic()
    packet: Packet[Stream] | None
    failure: SourceError | None = None
    try:
        packet = next(packets, None)
    except IndexError:
        # The end, at which PyAV trips over streams that have joined since the source was opened.
        packet = None
    except av.error.FFmpegError as error:
        packet = None
        if not (opened.ends_by_closing and error.errno == errno.EIO):
            failure = _reading_failed(error, waited_s=time.monotonic() - asked_at, opened=opened)
    waited_s = time.monotonic() - asked_at
    if failure is None and (packet is None or not packet.size) and waited_s >= opened.silence_s:
        # HLS passes an interrupted wait off as the end.
        failure = SourceStalledError("no packet came within the read timeout")
    # Outside the handler, so that not even the context of our error leads to FFmpeg's text, which names the URL.
    if failure is not None:
        raise failure
    return packet


def _reading_failed(error: av.error.FFmpegError, *, waited_s: float, opened: Opened) -> SourceError:
    # Demuxers report an interrupted wait as whatever they like, so the time that passed says more than the class.
    if isinstance(error, av.error.ExitError | av.error.TimeoutError) or waited_s >= opened.silence_s:
        return SourceStalledError("no packet came within the read timeout")
    return read_failure(error)


def _describe(opened: Opened) -> SourceInfo:
    context = opened.stream.codec_context
    rate = opened.stream.average_rate or opened.stream.guessed_rate
    return SourceInfo(
        codec=context.codec.canonical_name,
        width=context.width,
        height=context.height,
        frame_rate=float(rate) if rate else None,
        container=opened.container.format.name,
        duration_s=opened.container.duration / av.time_base if opened.container.duration else None,
    )
