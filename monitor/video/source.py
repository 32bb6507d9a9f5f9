"""One open stream: demux it, decode as little as the posture asks for, hand out clips."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

from monitor.video.clip import Clip, ClipSpec
from monitor.video.ring import PacketRing
from monitor.vocabulary import Posture


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What the container says about the video that is watched.

    Attributes:
        codec: FFmpeg's codec name, such as ``h264``.
        width, height: Coded size in pixels when the source was opened; it may change in mid-stream.
        frame_rate: Frames per second, or None where the container does not tell.
        container: FFmpeg's demuxer name, such as ``flv`` or ``hls``.
    """

    codec: str
    width: int
    height: int
    frame_rate: float | None
    container: str


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

    info: SourceInfo

    @classmethod
    def open(cls, url: str, *, open_timeout_s: float, read_timeout_s: float, live: bool) -> VideoSource:
        """Connect, probe and choose the video stream.

        Args:
            url: ``rtmp(s)``, ``rtsp(s)`` (over TCP), ``http(s)`` including HLS and MPEG-TS, or a file's path.
            open_timeout_s: Deadline in seconds for the whole of opening, a second probe included.
            read_timeout_s: Silence in seconds after which `clips` raises `SourceStalledError`.
            live: Whether the source is a live stream; files are then paced by nobody but the reader.

        Raises:
            SourceOpenError: refused scheme, unreachable, timed out, or not a known container.
            NoVideoError: it opened, but carries no video that can be decoded.
            SourceLimitError: pictures larger than the budget.
        """
        raise NotImplementedError

    def clips(
        self,
        spec: ClipSpec,
        *,
        posture: Callable[[], Posture],
        keep: Callable[[KeptSample], None] | None,
        stop: threading.Event,
        decode_slots: threading.Semaphore | None,
        on_progress: Callable[[], None] | None = None,
        ring: PacketRing | None = None,
    ) -> Iterator[Clip]:
        """Read until the stream ends, `stop` is set or the source fails, and yield clips as they become complete.

        Args:
            spec: The clip that the model asks for.
            posture: Asked at every packet; a change takes effect without a reconnect or a gap.
            keep: Called about once a second of stream time with a small JPEG; None keeps nothing.
            stop: Ends the iteration at the next packet, or within half a second of silence where the protocol allows.
            decode_slots: Held around decoding and scaling, never around reading.
            on_progress: Called for every packet read; the caller's watchdog hangs on it.
            ring: Where compressed packets are kept for evidence; None keeps none.

        Raises:
            SourceStalledError: no packet within `read_timeout_s`.
            SourceLimitError: the picture grew beyond the budget in mid-stream.
            SourceError: the connection broke or the video cannot be decoded any more.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection and free the decoder; safe to call twice."""
        raise NotImplementedError

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
