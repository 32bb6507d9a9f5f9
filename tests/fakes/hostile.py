"""What a hostile publisher sends to the embedded relay, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
from collections.abc import AsyncIterator
from fractions import Fraction
from types import TracebackType
from typing import Self

import aiohttp
import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from yarl import URL

_PACKET_BYTES = 188
_AUDIO_RATE = 48_000
_PIECE_S = 0.05


def random_packets(count: int = 2000) -> bytes:
    """Return packets that have nothing of MPEG-TS but their first byte."""
    source = random.Random(7)
    return b"".join(b"G" + source.randbytes(_PACKET_BYTES - 1) for _ in range(count))


def with_random_pictures(packets: bytes) -> bytes:
    """Return a transport stream whose tables hold, and whose pictures are random bytes."""
    source = random.Random(7)
    spoilt = []
    for offset in range(0, len(packets), _PACKET_BYTES):
        packet = packets[offset : offset + _PACKET_BYTES]
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        is_table = pid < 0x100 or pid >= 0x1000
        spoilt.append(packet if is_table else packet[:4] + source.randbytes(_PACKET_BYTES - 4))
    return b"".join(spoilt)


def sound_only(*, seconds: int = 20) -> bytes:
    """Return a transport stream of silence in AAC."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream = container.add_stream("aac", rate=_AUDIO_RATE)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono"
        for number in range(seconds * _AUDIO_RATE // 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = _AUDIO_RATE, number * 1024, Fraction(1, _AUDIO_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def pictures_of(width: int, height: int, *, frames: int = 30) -> bytes:
    """Return a transport stream of grey pictures of this size."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast", "tune": "zerolatency"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        grey = np.full((height * 3 // 2, width), 128, np.uint8)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(grey, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


class Sending:
    """One publication on the relay that sends what the test says, and nothing else; ended with the block.

    Attributes:
        status: The relay's answer, if it gave one before it hung up.
    """

    def __init__(self, url: str) -> None:
        self.status: int | None = None
        self._url = URL(url, encoded=True)
        self._pieces: asyncio.Queue[tuple[bytes, float] | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._publish())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def send(self, data: bytes, *, over_s: float = 0.0) -> None:
        """Queue bytes to be sent, all at once or evenly over so many seconds, as a live encoder would."""
        size = max(1, int(len(data) * _PIECE_S / over_s)) if over_s else len(data)
        for offset in range(0, len(data), size):
            self._pieces.put_nowait((data[offset : offset + size], _PIECE_S if over_s else 0.0))

    def finish(self) -> None:
        """End the publication as an encoder does that was told to stop."""
        self._pieces.put_nowait(None)

    async def ended(self, deadline_s: float = 30.0) -> int | None:
        """Wait until it is over; returns the relay's answer, or None where it only hung up."""
        assert self._task is not None
        async with asyncio.timeout(deadline_s):
            await asyncio.shield(self._task)
        return self.status

    async def _publish(self) -> None:
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as client,
                client.put(self._url, data=self._body()) as response,
            ):
                self.status = response.status

    async def _body(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            data, pause_s = piece
            yield data
            await asyncio.sleep(pause_s)
