"""Reading a live stream as a watcher does, with PyAV, without blocking the event loop."""

from __future__ import annotations

import asyncio

import av

_OPTIONS = {"analyzeduration": "2000000"}


def read_frames(url: str, count: int, *, timeout_s: float = 8.0) -> list[av.VideoFrame]:
    """Open `url` and decode `count` frames; raises PyAV's errors."""
    frames: list[av.VideoFrame] = []
    with av.open(url, timeout=(timeout_s, timeout_s), options=_OPTIONS) as container:
        for frame in container.decode(video=0):
            frames.append(frame)
            if len(frames) == count:
                break
    return frames


async def can_be_watched(url: str, *, frames: int = 3, timeout_s: float = 8.0) -> bool:
    """Whether so many frames can be decoded from `url`; opening errors give False."""
    try:
        return len(await asyncio.to_thread(read_frames, url, frames, timeout_s=timeout_s)) == frames
    except (av.FFmpegError, OSError):
        return False
