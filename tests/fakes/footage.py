"""Small test videos, made when asked for: every codec setting and container that sampling has to cope with."""

from __future__ import annotations

import functools
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

Picture = Callable[[int], NDArray[np.uint8]]
"""Draws frame number n: uint8, shape (height, width, 3), RGB."""


@dataclass(frozen=True, slots=True)
class Footage:
    """What to film.

    Attributes:
        duration_s: Length in seconds.
        frame_rate: Frames per second.
        gop_s: Time from keyframe to keyframe in seconds; None makes only the first frame a keyframe.
        b_frames: Consecutive bidirectional frames (x264 decides adaptively up to this many).
        sound: Whether a sine tone goes along.
        x264: More options for x264, such as ``{"refs": "4"}``.
    """

    duration_s: float = 4.0
    frame_rate: int = 30
    width: int = 320
    height: int = 180
    gop_s: float | None = 2.0
    b_frames: int = 0
    sound: bool = False
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    preset: str = "ultrafast"
    x264: tuple[tuple[str, str], ...] = ()

    @property
    def frames(self) -> int:
        return round(self.duration_s * self.frame_rate)


def moving_square(width: int, height: int) -> Picture:
    """A white square that runs over a textured ground, so that every frame differs from the one before."""
    ground = np.random.default_rng(7).integers(40, 120, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    ground = np.kron(ground, np.ones((4, 4, 1), dtype=np.uint8))[:height, :width]
    side = max(2, height // 4)

    def draw(number: int) -> NDArray[np.uint8]:
        picture = ground.copy()
        left, top = (number * 5) % max(1, width - side), (number * 3) % max(1, height - side)
        picture[top : top + side, left : left + side] = 255
        return picture

    return draw


def plain(red: int, green: int, blue: int, width: int = 320, height: int = 180) -> Picture:
    """One colour everywhere."""
    picture = np.full((height, width, 3), (red, green, blue), dtype=np.uint8)
    return lambda _number: picture


def counting_grey(width: int, height: int, frames: int) -> Picture:
    """Frame n is plain grey of brightness ``20 + 200 n / frames``: a clip's pixels tell which frames it holds."""

    def draw(number: int) -> NDArray[np.uint8]:
        return np.full((height, width, 3), round(20 + 200 * number / frames), dtype=np.uint8)

    return draw


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Give the calling thread back its place among others.

    SVT-AV1 makes the thread that encodes a real-time one where it may, as for root: whatever that thread starts later would
    leave no time to anything else on the machine.
    """
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@ordinary_priority()
def film(path: Path, footage: Footage = Footage(), picture: Picture | None = None) -> Path:
    """Write `footage` to `path`, in the container that the suffix says (mp4, flv, ts, mkv, m3u8), and return `path`."""
    if path.suffix != ".m3u8" and picture is None:
        path.write_bytes(_usual_film(path.suffix, footage))
        return path
    with av.open(str(path), "w", options={"hls_time": "1"} if path.suffix == ".m3u8" else {}) as container:
        _encode(container, footage, picture)
    return path


@functools.lru_cache(maxsize=64)
def _usual_film(suffix: str, footage: Footage) -> bytes:
    # Many tests look at the same footage, and encoding takes longer than watching.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"film{suffix}"
        with av.open(str(path), "w") as container:
            _encode(container, footage, None)
        return path.read_bytes()


@ordinary_priority()
def film_bytes(container_format: str, footage: Footage = Footage(), picture: Picture | None = None) -> bytes:
    """Return `footage` as bytes in a streamable container, such as ``mpegts`` or ``flv``."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as container:
        _encode(container, footage, picture)
    return buffer.getvalue()


def sound_only(path: Path, duration_s: float = 2.0) -> Path:
    """Write a sine tone without any picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44_100)
        for frame in _tone(duration_s):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def truncated(path: Path, share: float) -> Path:
    """Cut the file at `path` off after `share` of its bytes; return `path`."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def garbage(path: Path, size_bytes: int = 200_000) -> Path:
    """Write bytes that are no video."""
    path.write_bytes(np.random.default_rng(3).bytes(size_bytes))
    return path


def _encode(container: OutputContainer, footage: Footage, picture: Picture | None) -> None:
    draw = picture or moving_square(footage.width, footage.height)
    video = cast("VideoStream", container.add_stream(footage.codec, rate=footage.frame_rate))
    video.width, video.height, video.pix_fmt = footage.width, footage.height, footage.pixel_format
    gop = footage.frames + 1 if footage.gop_s is None else round(footage.gop_s * footage.frame_rate)
    video.codec_context.gop_size = gop
    video.codec_context.max_b_frames = footage.b_frames
    video.codec_context.thread_count = 1
    if footage.codec == "libx264":
        video.options = {
            "preset": footage.preset,
            "sc_threshold": "0",
            "keyint_min": str(gop),
            "bf": str(footage.b_frames),
            **dict(footage.x264),
        }
    sound = container.add_stream("aac", rate=44_100) if footage.sound else None
    tone = _tone(footage.duration_s) if footage.sound else iter(())
    next_tone = next(tone, None)
    for number in range(footage.frames):
        frame = av.VideoFrame.from_ndarray(draw(number), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, footage.frame_rate)
        container.mux(video.encode(frame))
        while sound is not None and next_tone is not None and _seconds(next_tone) <= number / footage.frame_rate:
            container.mux(sound.encode(next_tone))
            next_tone = next(tone, None)
    container.mux(video.encode(None))
    if sound is not None:
        container.mux(sound.encode(None))


def _seconds(frame: av.AudioFrame) -> float:
    return (frame.pts or 0) / 44_100


def _tone(duration_s: float) -> Iterator[av.AudioFrame]:
    for start in range(0, int(duration_s * 44_100), 1024):
        wave = 0.2 * np.sin(np.arange(start, start + 1024) * (2 * np.pi * 440 / 44_100))
        frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 44_100, start, Fraction(1, 44_100)
        yield frame
