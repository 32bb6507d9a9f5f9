"""What to decode of one stream: postures, groups of pictures, and the way from one to the other.

In calm posture a clip is taken from the head of each group of pictures, and until the next keyframe packets are only
read and held back, so that decoding can start at any moment from the last keyframe. Between the starts of two clips
there are at least 1 s and, as long as packets come, at most 4 s and one frame: where no keyframe comes in time, the
held packets are decoded and the stream is followed without a break, with a clip every 2 s, up to the next keyframe.
In close and full posture every stream is followed without a break.

Publishers choose timestamps and keyframe marks, so neither may decide whether a stream is looked at: see `Timeline`,
`FASTEST_FRAME_RATE`, `PATIENCE_WITH_BREAKS_S` and the trust in keyframes below.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from av.video.frame import VideoFrame

from monitor.video.clip import Clip, ClipSpec
from monitor.video.decoder import FrameDecoder, FrameScaler, Skip
from monitor.video.feeding import DecodeSlots, FrameFeed, ReadPacket
from monitor.video.sampling import Candidate, SlidingSampler, WindowSampler, span_s
from monitor.video.timeline import Timeline
from monitor.vocabulary import Posture

CALM_SHORTEST_S = 1.0
CALM_LONGEST_S = 4.0
CALM_SPACED_S = 2.0
STRIDE_S = {Posture.CLOSE: 0.5, Posture.FULL: 0.25}

FASTEST_FRAME_RATE = 120
"""Where more packets come in a second of stream time, the publisher's clock may be slowed down to be looked at less."""

MAX_HELD_BYTES = 8 * 1024 * 1024
"""Held packets beyond this are decoded at once: 4 s at 16 Mb/s."""

PATIENCE_WITH_BREAKS_S = 10.0
"""A clip is begun anew at a break in the publisher's clock, but not again for so long, or none would ever be whole."""

RELAX_AFTER_S = 60.0
"""How long a stream is decoded more fully than usual before the cheaper way is tried again."""

PATIENCE_AT_HEAD = 0.75
"""How long the decoding of a head may be put off, as a share of the time since the head before."""

_SHORTEST_PATIENCE_S, _LONGEST_PATIENCE_S = 0.5, 1.5

FAR_BEHIND_S = 1.0
"""A head that is read so much later than the stream's time says is left out: the newest are worth more."""

MOST_LEFT_OUT_S = 10.0
"""But not for longer than this, for it is the publisher who says what time it is."""

_DRIFT = 0.001
"""How much slower than ours a publisher's clock may run without looking late."""

_JITTER_S = 0.05
_DECODED_REMEMBERED = 32
"""Twice the frames that H.264 and HEVC let a frame refer to: any two that one lies between are among them."""
_NEAR_ENOUGH = 0.1


@dataclass(frozen=True, slots=True)
class SteeringPorts:
    """Whom the steering asks and tells; see `monitor.video.source.VideoSource.clips`."""

    posture: Callable[[], Posture]
    keep: Callable[[float, float, bytes], None] | None
    stop: threading.Event
    decode_slots: DecodeSlots | None
    admit: Callable[[float], bool] | None = None


class _Rungs:
    """How fully to decode: starts with the cheapest way, climbs when the spacing suffers, tries the cheapest again."""

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
        # Not a method of ours, which the samplers would hold: that would make a circle of references.
        self._scale = partial(scaler.rgb, width=spec.width, height=spec.height, fit=spec.fit)
        self._ports = ports
        self._decoder = decoder
        self._posture = ports.posture()
        self._rungs = {posture: _Rungs("NONREF", "DEFAULT") for posture in (Posture.CALM, Posture.CLOSE)}
        self._feed = FrameFeed(
            timeline=timeline,
            decoder=decoder,
            keep=ports.keep,
            stop=ports.stop,
            decode_slots=ports.decode_slots,
        )
        # Whether the codec has had every packet since a keyframe; if not, they are held here.
        self._following = False
        self._held: list[ReadPacket] = []
        self._held_bytes = 0
        # A burst is a window at the head of a group; its packets are held until frames prove that the head was one.
        self._window: WindowSampler[VideoFrame] | None = None
        self._burst_held_from: int | None = None
        self._frames_before_burst = 0
        self._burst_times_s: list[float] = []
        self._trusts_marks = True
        self._sliding: SlidingSampler[VideoFrame] | None = None
        self._sampled_at_s: float | None = None
        self._head_s: float | None = None
        self._offset_s = math.inf
        self._admitted_at = -math.inf
        self._unseen_packets = 0
        self._not_before_s = 0.0
        self._broken_at_s: float | None = None
        self._decoded_s: deque[float] = deque(maxlen=_DECODED_REMEMBERED)
        self._ready: list[Clip] = []
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
        if read.placed.broken and (self._broken_at_s is None or now_s - self._broken_at_s >= PATIENCE_WITH_BREAKS_S):
            self._broken_at_s = now_s
            self._begin_clips_at(now_s)
        posture = self._ports.posture()
        if posture is not self._posture:
            self._posture = posture
            self._change_posture(now_s)
        if posture is Posture.CALM:
            self._take_calm(read)
        else:
            self._take_closely(read)
        return self._hand_out()

    def finish(self) -> list[Clip]:
        """The stream has ended: return the clips that its last frames complete."""
        if not self._following and not self._clips and self._held:
            self._open_window(self._held[0].placed.time_s)
            self._catch_up()
        if self._following:
            self._feed.drain(self._see)
        # A short recording is worth one clip even where it ends too early for a whole one.
        sampler = self._window or self._sliding
        if sampler is not None and not self._clips and (last := sampler.finish()) is not None:
            self._deliver(last)
        return self._hand_out()

    # -- calm: the heads of groups of pictures, or spaced windows where there are too few of them

    def _take_calm(self, read: ReadPacket) -> None:
        now_s = read.placed.time_s
        if read.is_keyframe and self._trusts_marks:
            self._reach_head(read)
        if not self._following or self._burst_held_from is not None:
            self._hold(read)
        if not self._following:
            if self._unseen_s(now_s) >= CALM_LONGEST_S or self._held_bytes > MAX_HELD_BYTES:
                self._open_window(now_s)
                self._catch_up()
            return
        if self._window is None and self._unseen_s(now_s) >= CALM_SPACED_S:
            self._open_window(now_s)
        self._feed.feed(read, self._skip(read), self._see)
        if self._burst_held_from is None:
            return
        self._burst_times_s.append(now_s)
        if self._window is None or self._has_had_enough(read, self._window):
            self._end_burst(self._burst_held_from)

    def _reach_head(self, read: ReadPacket) -> None:
        now_s = read.placed.time_s
        if self._window is None:
            if self._following:
                self._feed.drain(self._see)
                self._following = False
            if self._unseen_s(now_s) < CALM_SHORTEST_S - _JITTER_S and self._clips:
                return
            if not self._is_admitted(read):
                return
            self._open_window(now_s)
            self._following = True
        # A window that was begun in mid-group ends like a burst too: from here on there is a keyframe to return to.
        if self._burst_held_from is None:
            self._burst_held_from = len(self._held)
            self._burst_times_s = []
            self._frames_before_burst = self._feed.frames

    def _is_admitted(self, read: ReadPacket) -> bool:
        """Whether there is room to decode this head; if not, it counts as looked at, and what came before it is let go."""
        if self._ports.admit is None:
            return True
        now_s = read.placed.time_s
        since_s = 0.0 if self._head_s is None else now_s - self._head_s
        self._head_s = now_s
        offset_s = read.arrived_at - now_s
        self._offset_s = min(offset_s, self._offset_s + since_s * _DRIFT)
        patience_s = min(max(since_s * PATIENCE_AT_HEAD, _SHORTEST_PATIENCE_S), _LONGEST_PATIENCE_S)
        if offset_s - self._offset_s > FAR_BEHIND_S and read.arrived_at - self._admitted_at < MOST_LEFT_OUT_S:
            patience_s = 0.0
        if self._ports.admit(patience_s):
            self._admitted_at = read.arrived_at
            return True
        self._held.clear()
        self._held_bytes = 0
        self._sampled_at_s = now_s
        self._unseen_packets = 0
        return False

    def _has_had_enough(self, read: ReadPacket, window: WindowSampler[VideoFrame]) -> bool:
        """Whether every frame up to the window's end is in the codec, so that draining it completes the clip."""
        end_s = window.end_s - self._spec.spacing_s * _NEAR_ENOUGH
        return read.placed.decode_s >= end_s or _reaches(sorted(self._burst_times_s), window.start_s, end_s)

    def _end_burst(self, held_from: int) -> None:
        self._feed.drain(self._see)
        self._burst_held_from = None
        if self._ports.stop.is_set():
            return
        if self._feed.frames == self._frames_before_burst:
            # Marked as a keyframe, but nothing can be decoded from it. All since the last true one is still held:
            # go back to that and follow the stream as one without marks, until it is opened anew.
            self._trusts_marks = False
            self._catch_up()
            return
        self._following = False
        window, self._window = self._window, None
        if window is not None and (clip := window.finish()) is not None:
            self._deliver(clip)
        del self._held[:held_from]
        self._held_bytes = sum(read.packet.size for read in self._held)

    def _open_window(self, start_s: float) -> None:
        self._window = WindowSampler(self._spec, Posture.CALM, start_s, self._scale)
        self._sampled_at_s = start_s
        self._unseen_packets = 0

    def _unseen_s(self, now_s: float) -> float:
        """Return the time since the start of the last clip, however slowly the publisher's clock runs."""
        return max(now_s - (self._sampled_at_s or 0.0), self._unseen_packets / FASTEST_FRAME_RATE)

    # -- close and full: every stream followed

    def _take_closely(self, read: ReadPacket) -> None:
        now_s = read.placed.time_s
        if self._sliding is None:
            # Starting one span back makes the first clip complete with what is held already; where nothing is, its places
            # would be filled with copies of the next frame.
            back_s = 0.0 if self._following else span_s(self._spec)
            self._slide_from(max(self._not_before_s, now_s - back_s))
        if self._following:
            self._feed.feed(read, self._skip(read), self._see)
        else:
            self._hold(read)
            self._catch_up()

    def _slide_from(self, start_s: float) -> None:
        self._sliding = SlidingSampler(
            self._spec, self._posture, start_s=start_s, stride_s=STRIDE_S[self._posture], scale=self._scale
        )

    # -- the way from one to the other

    def _change_posture(self, now_s: float) -> None:
        if self._posture is Posture.CALM:
            # The chain stays whole, so the stream is followed up to the next keyframe.
            self._sliding = None
            self._sampled_at_s = now_s
            self._unseen_packets = 0
        elif self._sliding is not None:
            self._sliding.change(self._posture, STRIDE_S[self._posture])
        else:
            if self._burst_held_from is not None:
                # Begin again at the keyframe, so that the burst's frames count for the first clip of the new posture.
                self._feed.drain(self._see)
                self._following = False
                self._burst_held_from = None
            self._window = None

    def _begin_clips_at(self, boundary_s: float) -> None:
        """Time begins anew at `boundary_s`: no clip may hold frames from both sides."""
        self._not_before_s = boundary_s
        if self._window is not None:
            self._open_window(boundary_s)
        if self._sliding is not None:
            self._slide_from(boundary_s)

    def _hold(self, read: ReadPacket) -> None:
        self._held.append(read)
        self._held_bytes += read.packet.size

    def _catch_up(self) -> None:
        """Decode what is held; from here on the stream is followed."""
        self._following = True
        self._burst_held_from = None
        self._feed.begin_again()
        held, self._held = self._held, []
        self._held_bytes = 0
        for read in held:
            if self._ports.stop.is_set():
                return
            self._feed.feed(read, self._skip(read), self._see)

    # -- frames

    def _skip(self, read: ReadPacket) -> Skip:
        now_s = read.placed.time_s
        rungs = self._rungs.get(self._posture)
        disposable = None if rungs is None else self._decoder.is_disposable(read.packet)
        if disposable is False:
            self._decoded_s.append(now_s)
            return "NONREF"
        sampler = self._window or self._sliding
        if sampler is None or now_s < sampler.start_s:
            return "NONREF"
        if rungs is None or disposable is None:
            return "DEFAULT" if rungs is None else rungs.skip(now_s)
        # Frames that others refer to are decoded anyway, and come before those that lie between them in time.
        if not sampler.wants(now_s, self._decoded_s, near=rungs.skip(now_s) == "NONREF"):
            return "NONREF"
        self._decoded_s.append(now_s)
        return "DEFAULT"

    def _see(self, candidate: Candidate[VideoFrame], anew: bool) -> None:
        if anew:
            self._begin_clips_at(candidate.time_s)
        if candidate.time_s < self._not_before_s:
            return
        if self._window is not None:
            if (clip := self._window.offer(candidate)) is not None:
                self._window = None
                self._deliver(clip)
        elif self._sliding is not None and (clip := self._sliding.offer(candidate)) is not None:
            self._deliver(clip)

    def _deliver(self, clip: Clip) -> None:
        self._clips += 1
        self._ready.append(clip)
        if (rungs := self._rungs.get(clip.posture)) is not None:
            rungs.judge(clip, clip.times_s[-1])

    def _hand_out(self) -> list[Clip]:
        ready, self._ready = self._ready, []
        return ready


def _reaches(times_s: list[float], start_s: float, end_s: float) -> bool:
    """Whether ascending `times_s` lead from `start_s` to `end_s` in even steps, so that no frame between is missing.

    Decoding times lag behind by as much as frames are reordered; even steps show earlier that all have come.
    """
    within = [start_s, *(time_s for time_s in times_s if time_s > start_s)]
    if within[-1] < end_s:
        return False
    steps_s = [later - earlier for earlier, later in pairwise(within) if earlier < end_s]
    return not steps_s or max(steps_s) < 1.5 * min(steps_s)
