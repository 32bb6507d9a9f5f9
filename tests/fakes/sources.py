"""Video sources that follow a script, for everything that reads streams."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from monitor.video.clip import Clip, ClipSpec
from monitor.video.feeding import DecodeSlots
from monitor.video.ring import PacketRing
from monitor.video.source import KeptSample, SourceInfo
from monitor.vocabulary import Posture

HD = SourceInfo("h264", 1280, 720, 30.0, "flv")

SPEC = ClipSpec(frames=2, spacing_s=0.1, width=4, height=4)

UNTIL_STOPPED = "until stopped"
"""A step: keep the connection open and silent until the reader is told to stop."""

HANG = "hang"
"""A step: come back for nothing, not even `stop`, until the script's `unhang` is set."""

Step = Clip | KeptSample | BaseException | str


def clip(at_s: float = 0.0, posture: Posture = Posture.CALM, arrived_at: float | None = None) -> Clip:
    """Return a small clip that ends at `at_s` seconds of stream time."""
    return Clip(
        frames=np.zeros((SPEC.frames, SPEC.height, SPEC.width, 3), np.uint8),
        times_s=(max(0.0, at_s - 0.1), at_s),
        arrived_at=time.time() if arrived_at is None else arrived_at,
        posture=posture,
        spacing_honoured=True,
    )


def sample(at_s: float, arrived_at: float, jpeg: bytes = b"jpeg") -> KeptSample:
    """Return a kept sample."""
    return KeptSample(time_s=at_s, arrived_at=arrived_at, jpeg=jpeg)


@dataclass
class Script:
    """What each connection to each address does, in turn; the last connection's steps are used for all later ones.

    An exception as the whole of a connection is raised by opening.
    """

    connections: Sequence[Sequence[Step] | BaseException]
    opened: int = 0
    closed: int = 0
    live: list[bool] = field(default_factory=list)
    postures: list[Posture] = field(default_factory=list)
    unhang: threading.Event = field(default_factory=threading.Event)
    info: SourceInfo = HD

    def open(self, url: str, *, open_timeout_s: float, read_timeout_s: float, live: bool) -> ScriptedSource:
        """Open as `VideoSource.open` does."""
        steps = self.connections[min(self.opened, len(self.connections) - 1)]
        self.opened += 1
        self.live.append(live)
        if isinstance(steps, BaseException):
            raise steps
        return ScriptedSource(self, steps, self.info)


@dataclass
class ScriptedSource:
    """One connection of a script."""

    script: Script
    steps: Sequence[Step]
    info: SourceInfo = HD

    def clips(
        self,
        spec: ClipSpec,
        *,
        posture: Callable[[], Posture],
        keep: Callable[[KeptSample], None] | None,
        stop: threading.Event,
        decode_slots: DecodeSlots | None,
        on_progress: Callable[[], None] | None = None,
        ring: PacketRing | None = None,
        admit: Callable[[float], bool] | None = None,
    ) -> Iterator[Clip]:
        """Follow the steps."""
        for step in self.steps:
            if stop.is_set():
                return
            self.script.postures.append(posture())
            if step is UNTIL_STOPPED:
                stop.wait(30)
                return
            if step is HANG:
                self.script.unhang.wait(30)
                continue
            if on_progress is not None:
                on_progress()
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, KeptSample) and keep is not None:
                keep(step)
            if isinstance(step, Clip):
                yield step

    def close(self) -> None:
        """Count."""
        self.script.closed += 1
