"""One unbroken line of stream time, whatever the publisher's timestamps do."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

GAP_FORWARD_S = 10.0
"""A step forward beyond this is a break: encoders that merely hiccup stay below it."""

STEP_BACK_S = 1.0
"""A step back beyond this is a break: muxers that interleave loosely stay below it."""

REORDER_S = 2.0
"""A presentation time further than this from its decoding time is not believed; 16 frames are the most that codecs
hold back."""

RACING = 4.0
"""A live stream whose clock runs so many times faster than ours, over `MEASURED_S`, has a false one. Servers that hand
out what they have stored first, and connections that catch up, stay below it."""

MEASURED_S = 10.0

FASTEST_FRAME_S, SLOWEST_FRAME_S = 1 / 240, 1.0
_CROWD = 150
_CROWD_S = 0.5
_FALLBACK_FRAME_S = 1 / 25
_FALLBACK_TIME_BASE = Fraction(1, 90_000)


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a packet stands on the line.

    Attributes:
        pts, dts: In ticks of the time base, counted from the first packet; None where the container gave none.
        time_s: Presentation time in seconds, decoding time or a guess where there is none.
        decode_s: Decoding time in seconds, presentation time or a guess where there is none.
        broken: True when the publisher's clock jumped here: what came before does not belong to what follows.
    """

    pts: int | None
    dts: int | None
    time_s: float
    decode_s: float
    broken: bool


class Timeline:
    """Maps a publisher's timestamps to ticks that start at 0 and survive missing, wrapping, jumping and false values.

    A clock that stands still or crawls (over 300 packets to a second) would keep a stream from ever being due for a
    look, and one that races would leave a clip with one picture, over and over; from then on packets are counted and
    timestamps ignored. Each counts as long as packets of a live stream take to come, else as the frame rate says.
    """

    def __init__(self, time_base: Fraction | None, frame_rate: float | None) -> None:
        self.time_base = time_base or _FALLBACK_TIME_BASE
        self._tick_s = float(self.time_base)
        self._frame_ticks = max(1, round((1 / frame_rate if frame_rate else _FALLBACK_FRAME_S) / self._tick_s))
        self._shift: int | None = None
        self._last: int | None = None
        self._shown = 0
        self._counting = False
        self._crowd = 0
        self._crowd_from = 0
        self._measured_from: tuple[float, int] | None = None
        self._measured_packets = 0

    def place(self, pts: int | None, dts: int | None, *, now_s: float | None = None) -> Placed:
        """Return where the next packet, in reading order, stands on the line.

        Args:
            pts: Presentation time in ticks of the time base; None where the container gives none.
            dts: Decoding time, likewise.
            now_s: Monotonic time in seconds at which it came, for a live stream; files come as fast as they are read.
        """
        mark = pts if dts is None else dts
        races = now_s is not None and self._races(now_s)
        if mark is None or self._counting:
            return self._counted(broken=False)
        if self._crowded() or races:
            self._counting = True
            return self._counted(broken=True)
        if pts is not None and abs(pts - mark) * self._tick_s > REORDER_S:
            pts = None
        broken = False
        if self._shift is None:
            # Presentation of the first packet is the origin, so that a first keyframe has time 0 and a negative dts.
            self._shift = -(mark if pts is None else pts)
            if self._last is not None:
                self._shift = self._last + self._frame_ticks - mark
        elif self._last is not None:
            step_s = (mark + self._shift - self._last) * self._tick_s
            broken = step_s > GAP_FORWARD_S or step_s < -STEP_BACK_S
            if broken:
                # Beyond whatever was to be shown before the break, or the two sides would mix.
                self._shift = max(self._last, self._shown) + self._frame_ticks - mark
        here = mark + self._shift
        self._last = here if self._last is None else max(self._last, here)
        placed_pts = None if pts is None else pts + self._shift
        shown = here if placed_pts is None else placed_pts
        self._shown = max(self._shown, shown)
        return Placed(
            pts=placed_pts,
            dts=None if dts is None else here,
            time_s=shown * self._tick_s,
            decode_s=here * self._tick_s,
            broken=broken,
        )

    def seconds(self, ticks: int) -> float:
        """Return stream seconds for ticks that `place` handed out."""
        return ticks * self._tick_s

    def next_frame_s(self, last_s: float | None) -> float:
        """Return a guess for a frame that has no time of its own: one frame after `last_s`."""
        return 0.0 if last_s is None else last_s + self._frame_ticks * self._tick_s

    def _counted(self, *, broken: bool) -> Placed:
        self._last = 0 if self._last is None else max(self._last, self._shown) + self._frame_ticks
        self._shown = self._last
        here_s = self._last * self._tick_s
        if self._counting:
            return Placed(self._last, self._last, here_s, here_s, broken=broken)
        return Placed(None, None, here_s, here_s, broken=broken)

    def _races(self, now_s: float) -> bool:
        """Measure how fast packets come; whether their clock runs too fast."""
        self._measured_packets += 1
        last = self._last or 0
        if self._measured_from is None:
            self._measured_from = now_s, last
        from_s, from_ticks = self._measured_from
        took_s = now_s - from_s
        if took_s < MEASURED_S:
            return False
        races = (last - from_ticks) * self._tick_s > RACING * took_s
        if self._counting or races:
            frame_s = min(max(took_s / self._measured_packets, FASTEST_FRAME_S), SLOWEST_FRAME_S)
            self._frame_ticks = max(1, round(frame_s / self._tick_s))
        self._measured_from, self._measured_packets = (now_s, last), 0
        return races

    def _crowded(self) -> bool:
        last = self._last or 0
        if (last - self._crowd_from) * self._tick_s >= _CROWD_S:
            self._crowd, self._crowd_from = 0, last
        self._crowd += 1
        return self._crowd > _CROWD
