"""What to decode of one stream: postures, groups of pictures, and the way from one to the other.

In calm posture a clip is taken from the head of each group of pictures, and until the next keyframe packets are only
read (and held back, so that decoding can start at any moment from the last keyframe). Between the starts of two clips
there are at least 1 s and, as long as packets come, at most 4 s and one frame: where no keyframe comes in time, the
held packets are decoded and the stream is followed without a break, with a clip every 2 s, up to the next keyframe.
In close and full posture every stream is followed without a break.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from monitor.video.clip import Clip, ClipSpec
from monitor.video.decoder import FrameDecoder, FrameScaler, Skip
from monitor.video.sampling import Candidate, SlidingSampler, WindowSampler, span_s
from monitor.video.timeline import Placed, Timeline
from monitor.vocabulary import Posture

CALM_SHORTEST_S = 1.0
CALM_LONGEST_S = 4.0
CALM_SPACED_S = 2.0
STRIDE_S = {Posture.CLOSE: 0.5, Posture.FULL: 0.25}

FASTEST_FRAME_RATE = 120
"""Where more packets come in a second of stream time, the publisher's clock may be slowed down to be looked at less."""

MAX_HELD_BYTES = 8 * 1024 * 1024
"""Held packets beyond this are decoded at once: 4 s at 16 Mb/s."""

RELAX_AFTER_S = 60.0
"""How long a stream is decoded more fully than usual before the cheaper way is tried again."""

DISTRUST_S = 60.0
"""How long keyframe marks are ignored after two of them led to no picture."""

MAX_LATE_FRAMES = 8
"""So many frames in a row with times before the last one begin a new order of time."""

KEEP_EVERY_S = 1.0

_JITTER_S = 0.05
_NEAR_ENOUGH = 0.1


@dataclass(frozen=True, slots=True)
class ReadPacket:
    """A video packet as it was read: where it stands in stream time and the Unix time of its arrival."""

    packet: Packet[VideoStream]
    placed: Placed
    arrived_at: float


@dataclass(frozen=True, slots=True)
class SteeringPorts:
    """Whom the steering asks and tells; see `monitor.video.source.VideoSource.clips`."""

    posture: Callable[[], Posture]
    keep: Callable[[float, float, bytes], None] | None
    stop: threading.Event
    decode_slots: threading.Semaphore | None


class _Rungs:
    """How fully to decode: starts with the cheapest way that may do, climbs when the spacing suffers, tries again."""

    def __init__(self, *rungs: Skip) -> None:
        self._rungs = rungs
        self._at = 0
        self._climbed_at_s = 0.0

    def skip(self, now_s: float) -> Skip:
        if self._at and now_s - self._climbed_at_s >= RELAX_AFTER_S:
            self._at = 0
        return self._rungs[self._at]

    def judge(self, clip: Clip, now_s: float) -> None:
        if not clip.spacing_honoured and self._at + 1 < len(self._rungs):
            self._at += 1
            self._climbed_at_s = now_s


class Steering:
    """Decides, packet by packet, what one stream's decoder does, and turns frames into clips."""

    def __init__(
        self, spec: ClipSpec, *, timeline: Timeline, decoder: FrameDecoder, scaler: FrameScaler, ports: SteeringPorts
    ) -> None:
        self._spec = spec
        self._timeline = timeline
        self._decoder = decoder
        self._scaler = scaler
        self._evidence_scaler = FrameScaler()
        self._ports = ports
        self._posture = ports.posture()
        self._following = False
        self._held: list[ReadPacket] = []
        self._held_bytes = 0
        self._window: WindowSampler[VideoFrame] | None = None
        self._window_is_burst = False
        self._sliding: SlidingSampler[VideoFrame] | None = None
        self._sampled_at_s: float | None = None
        self._unseen_packets = 0
        self._not_before_s = 0.0
        self._frame_s: float | None = None
        self._late_frames = 0
        self._kept_at_s: float | None = None
        self._arrivals: dict[int, float] = {}
        self._calm = _Rungs("NONREF", "DEFAULT")
        self._close = _Rungs("NONREF", "DEFAULT")
        self._frames_of_burst = 0
        self._empty_bursts = 0
        self._distrusted_until_s = 0.0
        self._clips = 0

    def take(self, read: ReadPacket) -> list[Clip]:
        """Take the next video packet in reading order; return the clips that it completes.

        Raises:
            SourceError, SourceLimitError: as `monitor.video.decoder.FrameDecoder.decode`.
        """
        now_s = read.placed.time_s
        self._unseen_packets += 1
        if self._sampled_at_s is None:
            self._sampled_at_s = now_s
        if read.placed.broken:
            self._restart_at(now_s)
        posture = self._ports.posture()
        if posture is not self._posture:
            self._posture = posture
            self._change_posture(now_s)
        head = read.packet.is_keyframe and now_s >= self._distrusted_until_s
        if posture is Posture.CALM:
            return self._take_calm(read, head=head)
        return self._take_closely(read, head=head)

    def finish(self) -> list[Clip]:
        """The stream has ended: return the clips that its last frames complete."""
        clips: list[Clip] = []
        if not self._following and not self._clips and self._held:
            self._open_window(self._held[0].placed.time_s, burst=False)
            clips += self._catch_up()
        if self._following:
            clips += self._drain()
        # A short recording is worth one clip even where it ends too early for a whole one.
        sampler = self._window or self._sliding
        if sampler is not None and not self._clips and (last := sampler.finish()) is not None:
            clips.append(last)
        return clips

    # -- calm: the heads of groups of pictures, or spaced windows where there are too few of them

    def _take_calm(self, read: ReadPacket, *, head: bool) -> list[Clip]:
        now_s = read.placed.time_s
        clips: list[Clip] = []
        if head and self._window is not None:
            # What was begun in mid-group ends like a burst, for from here on there is a keyframe to return to.
            self._window_is_burst = True
        elif head:
            if self._following:
                clips += self._drain()
                self._following = False
            if self._unseen_s(now_s) >= CALM_SHORTEST_S - _JITTER_S or not self._clips:
                self._open_window(now_s, burst=True)
                self._following = True
        self._hold(read, head=head)
        if not self._following:
            if self._unseen_s(now_s) < CALM_LONGEST_S and self._held_bytes <= MAX_HELD_BYTES:
                return clips
            self._open_window(now_s, burst=False)
            return clips + self._catch_up()
        if self._window is None and self._unseen_s(now_s) >= CALM_SPACED_S:
            self._open_window(now_s, burst=False)
        clips += self._feed(read)
        if self._window_is_burst and (self._window is None or self._fed_enough(read, self._window)):
            clips += self._end_burst(now_s)
        return clips

    def _fed_enough(self, read: ReadPacket, window: WindowSampler[VideoFrame]) -> bool:
        return read.placed.decode_s >= window.end_s - self._spec.spacing_s * _NEAR_ENOUGH

    def _end_burst(self, now_s: float) -> list[Clip]:
        clips = self._drain()
        self._following = False
        self._window_is_burst = False
        window, self._window = self._window, None
        if window is not None and (clip := window.finish()) is not None:
            clips += self._deliver(clip)
        self._empty_bursts = 0 if self._frames_of_burst else self._empty_bursts + 1
        if self._empty_bursts >= 2:
            # Marked as keyframes, but nothing can be decoded from them: follow the stream as one that has none.
            self._empty_bursts = 0
            self._distrusted_until_s = now_s + DISTRUST_S
        return clips

    def _open_window(self, start_s: float, *, burst: bool) -> None:
        self._window = WindowSampler(self._spec, Posture.CALM, start_s, self._scale)
        self._window_is_burst = burst
        self._frames_of_burst = 0
        self._sampled_at_s = start_s
        self._unseen_packets = 0

    def _unseen_s(self, now_s: float) -> float:
        """Return the time since the start of the last clip, however slowly the publisher's clock runs."""
        return max(now_s - (self._sampled_at_s or 0.0), self._unseen_packets / FASTEST_FRAME_RATE)

    # -- close and full: every stream followed

    def _take_closely(self, read: ReadPacket, *, head: bool) -> list[Clip]:
        now_s = read.placed.time_s
        if self._sliding is None:
            # Starting one span back makes the first clip complete with what is held already.
            self._slide_from(max(self._not_before_s, now_s - span_s(self._spec)))
        if not self._following:
            self._hold(read, head=head)
            return self._catch_up()
        return self._feed(read)

    def _slide_from(self, start_s: float) -> None:
        self._sliding = SlidingSampler(
            self._spec, self._posture, start_s=start_s, stride_s=STRIDE_S[self._posture], scale=self._scale
        )

    # -- the way from one to the other

    def _change_posture(self, now_s: float) -> None:
        if self._posture is Posture.CALM:
            self._window = None
            # The chain stays whole, so the stream is followed up to the next keyframe.
            self._sliding = None
            self._sampled_at_s = now_s
            return
        if self._sliding is not None:
            self._sliding.change(self._posture, STRIDE_S[self._posture])
            return
        if self._window_is_burst and self._held:
            # Begin again at the keyframe, so that the burst's frames count for the first clip of the new posture.
            self._drain()
            self._following = False
        self._window = None
        self._window_is_burst = False

    def _restart_at(self, boundary_s: float) -> None:
        """The publisher's clock jumped: no clip may hold frames from both sides."""
        self._not_before_s = boundary_s
        self._sampled_at_s = boundary_s
        if self._window is not None:
            self._open_window(boundary_s, burst=self._window_is_burst)
        if self._sliding is not None:
            self._slide_from(boundary_s)

    def _hold(self, read: ReadPacket, *, head: bool) -> None:
        if head:
            self._held.clear()
            self._held_bytes = 0
        if self._following and not self._window_is_burst:
            return
        self._held.append(read)
        self._held_bytes += read.packet.size

    def _catch_up(self) -> list[Clip]:
        """Decode what is held; from here on the stream is followed."""
        self._following = True
        self._window_is_burst = False
        # What a burst has shown already is decoded once more, for the codec has forgotten it.
        self._frame_s = None
        held, self._held = self._held, []
        self._held_bytes = 0
        clips: list[Clip] = []
        for read in held:
            if self._ports.stop.is_set():
                break
            clips += self._feed(read)
        return clips

    # -- decoding

    def _feed(self, read: ReadPacket) -> list[Clip]:
        pts = read.packet.pts
        if pts is not None:
            self._arrivals[pts] = read.arrived_at
        with self._slot() as granted:
            if not granted:
                return []
            return self._sample(self._decoder.decode(read.packet, self._skip(read.placed.time_s)), read.arrived_at)

    def _drain(self) -> list[Clip]:
        with self._slot() as granted:
            frames = self._decoder.drain() if granted else []
            clips = self._sample(frames, max(self._arrivals.values(), default=0.0))
        self._arrivals.clear()
        return clips

    def _skip(self, now_s: float) -> Skip:
        sampler = self._window or self._sliding
        if sampler is None or now_s < sampler.start_s:
            return "NONREF"
        if self._posture is Posture.FULL:
            return "DEFAULT"
        if self._posture is Posture.CLOSE:
            return self._close.skip(now_s)
        return self._calm.skip(now_s)

    def _sample(self, frames: list[VideoFrame], arrived_at: float) -> list[Clip]:
        clips: list[Clip] = []
        for frame in frames:
            if frame.pts is not None:
                time_s = self._timeline.seconds(frame.pts)
                arrived_at = self._arrived(frame.pts, arrived_at)
            else:
                time_s = self._timeline.next_frame_s(self._frame_s)
            if not self._in_order(time_s):
                continue
            self._frames_of_burst += 1
            self._keep(frame, time_s, arrived_at)
            if time_s < self._not_before_s:
                continue
            candidate = Candidate(time_s, arrived_at, frame)
            if self._window is not None:
                if (clip := self._window.offer(candidate)) is not None:
                    self._window = None
                    clips += self._deliver(clip)
            elif self._sliding is not None and (clip := self._sliding.offer(candidate)) is not None:
                clips += self._deliver(clip)
        return clips

    def _in_order(self, time_s: float) -> bool:
        """Whether a frame follows the one before; several in a row that do not mean that the one before was false."""
        if self._frame_s is None or time_s > self._frame_s:
            self._frame_s, self._late_frames = time_s, 0
            return True
        self._late_frames += 1
        if self._late_frames < MAX_LATE_FRAMES:
            return False
        self._restart_at(time_s)
        self._frame_s, self._late_frames = time_s, 0
        return True

    def _deliver(self, clip: Clip) -> list[Clip]:
        self._clips += 1
        rungs = self._calm if clip.posture is Posture.CALM else self._close
        rungs.judge(clip, clip.times_s[-1])
        return [clip]

    def _arrived(self, pts: int, otherwise: float) -> float:
        arrived_at = self._arrivals.pop(pts, otherwise)
        if len(self._arrivals) > 64:
            self._arrivals = {later: at for later, at in self._arrivals.items() if later > pts}
        return arrived_at

    def _keep(self, frame: VideoFrame, time_s: float, arrived_at: float) -> None:
        keep = self._ports.keep
        if keep is None or (self._kept_at_s is not None and time_s - self._kept_at_s < KEEP_EVERY_S):
            return
        self._kept_at_s = time_s
        keep(time_s, arrived_at, self._evidence_scaler.jpeg(frame, 320))

    def _scale(self, frame: VideoFrame) -> NDArray[np.uint8]:
        return self._scaler.rgb(frame, self._spec.width, self._spec.height)

    @contextmanager
    def _slot(self) -> Iterator[bool]:
        """Hold a decode slot; yields False where `stop` was set before one came free."""
        slots = self._ports.decode_slots
        if slots is None:
            yield True
            return
        while not slots.acquire(timeout=0.2):
            if self._ports.stop.is_set():
                yield False
                return
        try:
            yield True
        finally:
            slots.release()
