"""Publications on fake media servers: encoders without video of their own, which end when they are thrown out."""

from __future__ import annotations

import asyncio
import functools
import io
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from av.video.stream import VideoStream


class FakePublication:
    """What a fake media server keeps for one encoder, and what the encoder knows of it."""

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self.over = asyncio.Event()
        self._on_stop = on_stop

    @property
    def live(self) -> bool:
        """Whether it still sends."""
        return not self.over.is_set()

    async def ended(self) -> None:
        """Wait until it was refused or thrown out."""
        await self.over.wait()

    async def stop(self) -> None:
        """Leave, as a publisher that has had enough."""
        if self.live:
            self._on_stop()
            self.over.set()


@functools.cache
def pictures(container: str, *, start_s: int = 0, seconds: int = 60, rate: int = 10) -> bytes:
    """Return H.264 test pictures, 160x120, with a keyframe every second, in FFmpeg's ``flv`` or ``mpegts`` container."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(
            "libx264", rate=rate, options={"preset": "ultrafast", "tune": "zerolatency", "g": str(rate)}
        )
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        columns = np.arange(160)
        for number in range(seconds * rate):
            moving = ((columns + 3 * number) % 256).astype(np.uint8)
            picture = np.ascontiguousarray(np.broadcast_to(moving[None, :, None], (120, 160, 3)))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = start_s * rate + number
            frame.time_base = Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()
