"""Encoders that publish test pictures: ffmpeg over RTMP, and one of our own for the embedded relay."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from fractions import Fraction

import aiohttp
import av
import numpy as np
from av.video.stream import VideoStream
from yarl import URL

_TEST_PICTURES = (
    *("-nostdin", "-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=15"),
    *("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "15", "-pix_fmt", "yuv420p"),
)
_CHUNK_BYTES = 188 * 7
_PUBLISHED_S = 90
# Faster than real time, so that a test need not wait for the second keyframe.
_SPEED = 3


@asynccontextmanager
async def ffmpeg_publishing(
    url: str, *, name: str | None = None, options: Sequence[str] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Publish over RTMP with ffmpeg until the block ends.

    Args:
        url: ``rtmp://host:port/app/name``, with the publisher's query arguments if any.
        name: Sent as the stream's name instead of the one in `url`, byte for byte, as a hostile encoder would.
        options: Further output options.
    """
    playpath = () if name is None else ("-rtmp_playpath", name)
    process = await asyncio.create_subprocess_exec(
        "ffmpeg",
        *_TEST_PICTURES,
        *playpath,
        *options,
        *("-f", "flv", url),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


@functools.cache
def transport_stream(*, seconds: int = _PUBLISHED_S, rate: int = 10, gop_frames: int = 10) -> bytes:
    """Return an MPEG-TS of H.264 test pictures, 160x120."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream = container.add_stream(
            "libx264", rate=rate, options={"preset": "ultrafast", "tune": "zerolatency", "g": str(gop_frames)}
        )
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        columns = np.arange(160)
        for number in range(seconds * rate):
            moving = ((columns + 3 * number) % 256).astype(np.uint8)
            picture = np.ascontiguousarray(np.broadcast_to(moving[None, :, None], (120, 160, 3)))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


class RelayPublisher:
    """Publishes `transport_stream` to the embedded relay three times as fast as real time, until stopped, refused or cut."""

    def __init__(self, url: str) -> None:
        self.status: int | None = None
        """The relay's answer, if it gave one."""
        self._url = URL(url, encoded=True)
        self._task = asyncio.create_task(self._publish())

    @property
    def live(self) -> bool:
        """Whether it still sends."""
        return not self._task.done()

    async def ended(self) -> None:
        """Wait until it has been refused or cut."""
        await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Stop sending."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _publish(self) -> None:
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            async with aiohttp.ClientSession() as client, client.put(self._url, data=self._chunks()) as response:
                self.status = response.status

    async def _chunks(self) -> AsyncIterator[bytes]:
        packets = transport_stream()
        for offset in range(0, len(packets), _CHUNK_BYTES):
            yield packets[offset : offset + _CHUNK_BYTES]
            await asyncio.sleep(_PUBLISHED_S / _SPEED / (len(packets) / _CHUNK_BYTES))
