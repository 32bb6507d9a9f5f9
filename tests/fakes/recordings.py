"""The demo's generated footage, recorded once per test session so that publishing it costs next to nothing."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
from av.video.stream import VideoStream

from monitor.demo.footage import FRAME_RATE, HEIGHT, WIDTH, frames
from monitor.demo.story import BRAWL_SEED, CALM_SEED

_LENGTH_S = 16
_GOP_FRAMES = 2 * FRAME_RATE


def record_footage(folder: Path, *, violent: bool) -> Path:
    """Write 16 seconds of brawl or of calm as H.264 with a 2 s GOP, and return the file."""
    path = folder / ("brawl.mp4" if violent else "calm.mp4")
    pictures = frames(seed=BRAWL_SEED if violent else CALM_SEED, calm_s=0 if violent else None)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264",
            rate=FRAME_RATE,
            options={"preset": "ultrafast", "tune": "zerolatency", "g": str(_GOP_FRAMES), "sc_threshold": "0"},
        )
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, picture in enumerate(islice(pictures, _LENGTH_S * FRAME_RATE)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
