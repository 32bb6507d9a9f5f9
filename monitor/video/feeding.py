"""From packets to frames in order, each with its stream time and the time at which it arrived."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from monitor.video.decoder import FrameDecoder, FrameScaler, Skip
from monitor.video.sampling import Candidate
from monitor.video.timeline import Placed, Timeline

KEEP_EVERY_S = 1.0
KEPT_LONG_SIDE_PIXELS = 320

MAX_LATE_FRAMES = 8
"""So many frames in a row with times before the last one begin a new order of time."""

_MOST_REORDERED = 64
_SLOT_WAIT_S = 0.2


See = Callable[[Candidate[VideoFrame], bool], None]
"""Takes one frame, and whether the order of time begins anew with it."""


@dataclass(frozen=True, slots=True)
class ReadPacket:
    """A video packet as it was read: where it stands in stream time, the Unix time of its arrival, how it is marked."""

    packet: Packet[VideoStream]
    placed: Placed
    arrived_at: float
    is_keyframe: bool


class DecodeSlots(Protocol):
    """Whom a stream asks before it decodes a packet; `threading.Semaphore` is one."""

    def acquire(self, *, timeout: float) -> bool:
        """Wait up to `timeout` seconds for a slot; whether there was one."""
        ...

    def release(self) -> None:
        """Give the slot back."""
        ...


class FrameFeed:
    """Decodes packets, one at a time, while holding a decode slot, and shows each frame before giving it back.

    Whom to show it to comes with each call and is not kept: it would make a circle of references.

    Attributes:
        frames: How many frames have been shown so far.
    """

    def __init__(
        self,
        *,
        timeline: Timeline,
        decoder: FrameDecoder,
        keep: Callable[[float, float, bytes], None] | None,
        stop: threading.Event,
        decode_slots: DecodeSlots | None,
    ) -> None:
        self.frames = 0
        self._timeline = timeline
        self._decoder = decoder
        self._keep = keep
        self._evidence = FrameScaler(decoder.pixel_aspect)
        self._stop = stop
        self._slots = decode_slots
        self._arrivals: dict[int, float] = {}
        self._arrived_at = 0.0
        self._frame_s: float | None = None
        # Where the next frame stands if it has no time of its own: where the first packet since the codec was empty does.
        self._is_empty = True
        self._begins_at_s: float | None = None
        self._late = 0
        self._kept_at_s: float | None = None

    def feed(self, read: ReadPacket, skip: Skip, see: See) -> None:
        """Decode `read` and show `see` the frames that it completes; nothing happens once `stop` is set.

        Raises:
            SourceError, SourceLimitError: as `monitor.video.decoder.FrameDecoder.decode`.
        """
        self._arrived_at = read.arrived_at
        if read.packet.pts is not None:
            self._arrivals[read.packet.pts] = read.arrived_at
        with self._slot() as granted:
            if granted:
                if self._is_empty:
                    self._is_empty, self._begins_at_s = False, read.placed.time_s
                self._show(self._decoder.decode(read.packet, skip), see)

    def drain(self, see: See) -> None:
        """Show `see` the frames that the codec still held back; it then waits for a keyframe."""
        with self._slot() as granted:
            if granted:
                self._show(self._decoder.drain(), see)
                self._is_empty = True
        self._arrivals.clear()

    def begin_again(self) -> None:
        """Packets that have been fed before will come once more: show their frames again."""
        self._frame_s = None

    def _show(self, frames: list[VideoFrame], see: See) -> None:
        for frame in frames:
            arrived_at = self._arrived_at
            if frame.pts is None:
                time_s = self._timeline.next_frame_s(self._frame_s) if self._begins_at_s is None else self._begins_at_s
            else:
                time_s = self._timeline.seconds(frame.pts)
                arrived_at = self._arrivals.pop(frame.pts, arrived_at)
            self._begins_at_s = None
            anew = False
            if self._frame_s is not None and time_s <= self._frame_s:
                # Several late frames in a row mean that the one before them was false.
                self._late += 1
                anew = self._late >= MAX_LATE_FRAMES
                if not anew:
                    continue
            self._frame_s, self._late = time_s, 0
            self.frames += 1
            self._keep_sample(frame, time_s, arrived_at)
            see(Candidate(time_s, arrived_at, frame), anew)
        if len(self._arrivals) > _MOST_REORDERED:
            # Packets that never became frames; the oldest entries come first.
            self._arrivals = dict(list(self._arrivals.items())[-_MOST_REORDERED // 2 :])

    def _keep_sample(self, frame: VideoFrame, time_s: float, arrived_at: float) -> None:
        if self._keep is None or (self._kept_at_s is not None and time_s - self._kept_at_s < KEEP_EVERY_S):
            return
        self._kept_at_s = time_s
        self._keep(time_s, arrived_at, self._evidence.jpeg(frame, KEPT_LONG_SIDE_PIXELS))

    @contextmanager
    def _slot(self) -> Iterator[bool]:
        """Hold a decode slot; yields False where `stop` was set before one came free."""
        slots = self._slots
        if slots is None:
            yield True
            return
        while not slots.acquire(timeout=_SLOT_WAIT_S):
            if self._stop.is_set():
                yield False
                return
        try:
            yield True
        finally:
            slots.release()
