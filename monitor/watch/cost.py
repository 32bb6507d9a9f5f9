"""What watching one stream costs, as its own thread measures it."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.vocabulary import Posture

MEASURED_OVER_S = 5.0
"""Time over which costs are averaged, in seconds: at least this long, and from clip to clip, so whole groups of pictures."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a stream took over one span of time, as if none of its heads had been left out.

    Attributes:
        stream_cores: Processor seconds per second of the stream's own thread: reading, decoding, scaling.
        clips_per_s: Clips handed to inference.
    """

    posture: Posture
    stream_cores: float
    clips_per_s: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of a stream's thread at one moment.

    Attributes:
        at_s: Monotonic time in seconds.
        cpu_s: Processor time of the thread so far.
        decode_cpu_s: The part of it that went into decoding and scaling.
        heads: How many heads were looked at so far, and how many were left out.
    """

    at_s: float
    cpu_s: float
    decode_cpu_s: float
    heads: tuple[int, int]


@dataclass(slots=True)
class CostMeter:
    """Measures from clip to clip; one thread calls `begin` and `clip`, any other `take`.

    Attributes:
        latest: What was measured last and not yet taken.
    """

    latest: Cost | None = None
    _posture: Posture | None = None
    _from: Reading | None = None
    _clips: int = 0

    def begin(self) -> None:
        """The stream was opened anew; what that cost is not what watching it costs."""
        self._from = None

    def clip(self, posture: Posture, now: Reading) -> None:
        """A clip of this posture was handed to inference."""
        before = self._from
        if before is None or posture is not self._posture:
            self._posture, self._from, self._clips = posture, now, 0
            return
        self._clips += 1
        over_s = now.at_s - before.at_s
        if over_s < MEASURED_OVER_S:
            return
        looked_at, left_out = now.heads[0] - before.heads[0], now.heads[1] - before.heads[1]
        # Or a watcher that can bear no more would look as if its streams were cheap. Reading is never left out.
        times = (looked_at + left_out) / looked_at if looked_at else 1.0
        decode_s = now.decode_cpu_s - before.decode_cpu_s
        read_s = now.cpu_s - before.cpu_s - decode_s
        self.latest = Cost(posture, (read_s + decode_s * times) / over_s, self._clips * times / over_s)
        self._from, self._clips = now, 0

    def take(self) -> Cost | None:
        """Return what was measured since the last time, if anything was."""
        latest, self.latest = self.latest, None
        return latest
