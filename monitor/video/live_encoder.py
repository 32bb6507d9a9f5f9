"""Pictures of a live source as a small MPEG-TS, for watchers of what comes in no container of its own."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

FRAMES_PER_S = 10
"""As many as the closest look that watchers take needs."""
_ENOUGH_SHORT_SIDE_PIXELS = 360
_CLOCK_HZ = 90_000
_FASTEST = {"preset": "ultrafast", "tune": "zerolatency", "g": str(FRAMES_PER_S), "crf": "23", "threads": "1"}


class _Collected:
    """A file to write to that keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


@dataclass(frozen=True, slots=True)
class _Output:
    """What is written to now, for pictures of one size: width and height."""

    container: OutputContainer
    stream: VideoStream
    size: tuple[int, int]


class LiveEncoder:
    """Encodes H.264 with a keyframe every second. Not thread-safe: one call at a time."""

    def __init__(self) -> None:
        self._file = _Collected()
        self._output: _Output | None = None
        self._last_ticks = -1

    def encode(self, picture: NDArray[np.uint8], time_s: float) -> bytes:
        """Return the bytes to send for one picture; each call's follow the earlier ones'.

        Args:
            picture: RGB, shape (height, width, 3), at least 2 pixels a side; made smaller if its short side is over 360.
            time_s: When it was taken, in seconds from any start; what is not later than the one before counts as a tick later.
        """
        height, width = picture.shape[:2]
        scale = min(1.0, _ENOUGH_SHORT_SIDE_PIXELS / min(height, width))
        # Both even, as the encoder wants them.
        size = (max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2))
        output = self._output
        if output is None or output.size != size:
            # As an encoder does whose camera was turned.
            self._end()
            output = self._output = self._begin(size)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame = frame.reformat(width=size[0], height=size[1], format="yuv420p")
        self._last_ticks = max(self._last_ticks + 1, round(time_s * _CLOCK_HZ))
        frame.pts, frame.time_base = self._last_ticks, Fraction(1, _CLOCK_HZ)
        output.container.mux(output.stream.encode(frame))
        return self._file.take()

    def close(self) -> bytes:
        """Return what is left to send."""
        self._end()
        return self._file.take()

    def _begin(self, size: tuple[int, int]) -> _Output:
        options = {"flush_packets": "1", "mpegts_flags": "resend_headers"}
        container = av.open(self._file, "w", format="mpegts", options=options)
        stream = container.add_stream("libx264", rate=FRAMES_PER_S, options=_FASTEST)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _CLOCK_HZ)
        return _Output(container, stream, size)

    def _end(self) -> None:
        output, self._output = self._output, None
        if output is not None:
            output.container.mux(output.stream.encode(None))
            output.container.close()
