"""One stream inside a watcher: a thread that keeps it open, through every way in which streams break."""

from __future__ import annotations

import dataclasses
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from monitor.errors import SourceError, SourceLimitError, SourceStalledError
from monitor.redact import redact_text
from monitor.video.clip import Clip, ClipSpec
from monitor.video.feeding import DecodeSlots
from monitor.video.ring import PacketRing
from monitor.video.source import KeptSample, SourceInfo
from monitor.vocabulary import Posture, WatchState
from monitor.watch.admission import DecodeAdmission, DecodeLease
from monitor.watch.backoff import Backoff
from monitor.watch.confinement import lower_thread_priority
from monitor.watch.cost import CostMeter, Reading
from monitor.watch.messages import EvidenceFrame, StreamStatus
from monitor.watch.openings import Openings
from monitor.watch.pending import PendingClip, PendingClips
from monitor.watch.recent import RecentSamples
from monitor.watch.settings import STEADY_AFTER_S
from monitor.watch.spool import Spool

log = structlog.get_logger()

_RETRY_FIRST_S, _RETRY_LONGEST_S = 0.5, 10.0
_ENDED_FIRST_S, _ENDED_LONGEST_S = 1.0, 15.0
_HOPELESS_S = 60.0
_LONGEST_PACING_S = 15.0
_PACING_STEP_S = 0.5


class Source(Protocol):
    """What this room needs of `monitor.video.source.VideoSource`."""

    @property
    def info(self) -> SourceInfo:
        """As `VideoSource.info`."""
        ...

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
        """As `VideoSource.clips`."""
        ...

    def close(self) -> None:
        """As `VideoSource.close`."""
        ...


class OpenSource(Protocol):
    """Opens a source as `VideoSource.open` does."""

    def __call__(self, url: str, *, open_timeout_s: float, read_timeout_s: float, live: bool) -> Source:
        """As `VideoSource.open`."""
        ...


@dataclass(frozen=True, slots=True)
class StreamPorts:
    """What every stream of one watcher shares.

    Attributes:
        nice: Added to the niceness of stream threads (0-19), so that inference and the pipe go first.
        openings: Who may open next.
        report: Takes every change of state; called from stream threads and from the watchdog.
        spool: Where the compressed video of the last minute is kept; None keeps none.
    """

    open_source: OpenSource
    clip_spec: ClipSpec
    open_timeout_s: float
    read_timeout_s: float
    decode_slots: DecodeAdmission
    openings: Openings
    nice: int
    pending: PendingClips
    recent: RecentSamples
    report: Callable[[StreamStatus], None]
    monotonic_s: Callable[[], float] = time.monotonic
    unix_s: Callable[[], float] = time.time
    spool: Spool | None = None


@dataclass(slots=True, eq=False, weakref_slot=True)
class StreamWatch:
    """Watches one stream from `start` to `release`, reconnecting as long as that takes.

    Attributes:
        progress: Grows by one for each packet read.
        cpu_s: Processor time of this stream's thread so far, in seconds.
        container: FFmpeg's demuxer name while the stream is open, else empty.
        cost: What watching it costs.
        tries: How many tries in a row had failed where it was watched before; back-off goes on from there.
    """

    stream_id: str
    url: str = field(repr=False)
    posture: Posture
    ports: StreamPorts = field(repr=False)
    tries: int = 0
    progress: int = 0
    cpu_s: float = 0.0
    container: str = ""
    cost: CostMeter = field(default_factory=CostMeter, repr=False)
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)
    _nudge: threading.Event = field(default_factory=threading.Event, repr=False)
    _reporting: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)
    _ring: PacketRing | None = field(default=None, repr=False)
    _lease: DecodeLease = field(init=False, repr=False)
    _state: WatchState | None = None
    _reason: str = ""
    _detail: str = ""
    _hung: bool = False
    _busy_since_s: float | None = None
    _retry: Backoff = field(default_factory=lambda: Backoff(_RETRY_FIRST_S, _RETRY_LONGEST_S, immediate=1), repr=False)
    _after_end: Backoff = field(default_factory=lambda: Backoff(_ENDED_FIRST_S, _ENDED_LONGEST_S), repr=False)

    def __post_init__(self) -> None:
        # Nothing here may refer to itself in a circle: streams that left would wait for the garbage collector.
        reference = weakref.ref(self)
        self._lease = self.ports.decode_slots.lease(lambda: Posture.CALM if (me := reference()) is None else me.posture)
        self._retry.resume(self.tries)
        self._after_end.resume(self.tries)

    def weigh(self, weight: float) -> None:
        """Say how much this stream matters beside others, where there is more to watch than time."""
        self._lease.weight = weight

    def start(self) -> None:
        """Start the stream's thread."""
        self.ports.recent.watch(self.stream_id)
        if self.ports.spool is not None:
            self._ring = self.ports.spool.ring(self.stream_id)
        self._thread = threading.Thread(target=self._run, name=f"stream {self.stream_id}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Try again now if this stream is waiting before its next try."""
        self._nudge.set()

    def release(self) -> None:
        """Stop watching. Returns at once; nothing is reported afterwards, and the thread ends within its read timeout."""
        self._stop.set()
        self._nudge.set()
        with self._reporting:
            # Whoever holds the lock may still be reporting; once we have had it, nobody reports any more.
            pass
        self.ports.pending.forget(self.stream_id)
        self.ports.recent.release(self.stream_id)
        if self.ports.spool is not None and self._ring is not None:
            self.ports.spool.release(self.stream_id, self._ring)

    @property
    def released(self) -> bool:
        """Whether `release` was called."""
        return self._stop.is_set()

    @property
    def finished(self) -> bool:
        """Whether the thread has ended."""
        return self._thread is not None and not self._thread.is_alive()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end; whether it did."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self.finished

    def silent_for_s(self) -> float:
        """Return for how long the thread has been busy without progress, in seconds; 0 while it waits to try again."""
        busy_since_s = self._busy_since_s
        return 0.0 if busy_since_s is None else self.ports.monotonic_s() - busy_since_s

    def report_hung(self) -> None:
        """Say that the thread makes no progress; its next packet takes that back."""
        if not self._hung:
            self._hung = True
            self._report(WatchState.STALLED, "hung")

    def _run(self) -> None:
        lower_thread_priority(self.ports.nice, threading.get_native_id())
        try:
            while not self._stop.is_set():
                delay_s = self._watch_once()
                self._busy_since_s = None
                self.cpu_s = time.thread_time()
                if self._nudge.wait(delay_s) and not self._stop.is_set():
                    self._nudge.clear()
                    self._start_over()
        finally:
            self._busy_since_s = None

    def _watch_once(self) -> float:
        """Open the stream and watch it until it breaks; return how long to wait before the next try, in seconds."""
        failed = self.tries > 0
        if not self.ports.openings.enter(
            lambda: self.posture,
            failed=failed,
            stop=self._stop,
            on_wait=lambda: self._report_opening("waiting_to_open"),
        ):
            return 0.0
        opened_at_s = self._mark_busy()
        try:
            try:
                self._report_opening("opening")
                source = self._open()
            finally:
                self.ports.openings.leave(failed=failed)
            self._watch_connection(source)
        except SourceStalledError as error:
            self._fail(opened_at_s, WatchState.STALLED, error.reason)
        except SourceError as error:
            self._fail(opened_at_s, WatchState.FAILED, error.reason, _safe_sentence(error))
            if not error.retryable:
                return _HOPELESS_S
        except MemoryError:
            self._fail(opened_at_s, WatchState.FAILED, SourceLimitError.reason, "out of memory")
        except Exception as error:
            # A thread that dies in silence would leave its stream unwatched: whatever it was, say so and try again.
            log.exception("stream_thread_failed", stream_id=self.stream_id, error=type(error).__name__)
            self._fail(opened_at_s, WatchState.FAILED, "internal_error", type(error).__name__)
        else:
            self._fail(opened_at_s, WatchState.ENDED, "eof")
            return self._after_end.next_s()
        return self._retry.next_s()

    def _open(self) -> Source:
        return self.ports.open_source(
            self.url,
            open_timeout_s=self.ports.open_timeout_s,
            read_timeout_s=self.ports.read_timeout_s,
            live=_is_live(self.url),
        )

    def _watch_connection(self, source: Source) -> None:
        live = _is_live(self.url)
        self.cost.begin()
        try:
            self._mark_busy()
            self.container = source.info.container
            if source.info.width:
                self._report(WatchState.WATCHING, "opened", _described(source.info))
            clips = source.clips(
                self.ports.clip_spec,
                posture=lambda: self.posture,
                keep=self._keep,
                stop=self._stop,
                decode_slots=self._lease,
                # Files wait for whoever reads them: there is no newer head to hurry to.
                admit=self._lease.admit if live else None,
                on_progress=self._on_progress,
                ring=self._ring,
            )
            for clip in clips if live else self._paced(clips):
                if self._stop.is_set():
                    return
                if not source.info.width:
                    # Nothing had been decoded when it was opened, and perhaps nothing could be: now something was.
                    self._report(WatchState.WATCHING, "opened", source.info.codec)
                self.cpu_s = time.thread_time()
                self.cost.clip(clip.posture, self._reading())
                self._lease.looked()
                self.ports.pending.put(PendingClip(self.stream_id, clip, self))
        finally:
            source.close()
            self.container = ""

    def _paced(self, clips: Iterator[Clip]) -> Iterator[Clip]:
        """Hand out a file's clips at the speed at which a viewer would see them."""
        begun_s: float | None = None
        for clip in clips:
            if begun_s is None:
                begun_s = self.ports.monotonic_s() - clip.times_s[-1]
            wait_s = begun_s + clip.times_s[-1] - self.ports.monotonic_s()
            if wait_s > _LONGEST_PACING_S:
                # Timestamps of a file are as hostile as the rest of it: after a leap, go on from here.
                begun_s -= wait_s - _LONGEST_PACING_S
                wait_s = _LONGEST_PACING_S
            while wait_s > 0 and not self._stop.wait(min(wait_s, _PACING_STEP_S)):
                self._on_progress()
                wait_s = begun_s + clip.times_s[-1] - self.ports.monotonic_s()
            yield dataclasses.replace(clip, arrived_at=self.ports.unix_s())

    def _keep(self, sample: KeptSample) -> None:
        frame = EvidenceFrame(time_s=sample.time_s, arrived_at=sample.arrived_at, jpeg=sample.jpeg)
        self.ports.recent.add_frame(self.stream_id, frame)

    def _on_progress(self) -> None:
        self.progress += 1
        self._busy_since_s = self.ports.monotonic_s()
        if self._hung:
            self._hung = False
            self._report(WatchState.WATCHING, "opened", self._detail)

    def _reading(self) -> Reading:
        return Reading(self.ports.monotonic_s(), self.cpu_s, self._lease.decode_cpu_s, self._lease.heads)

    def _mark_busy(self) -> float:
        now_s = self.ports.monotonic_s()
        self._busy_since_s = now_s
        return now_s

    def _fail(self, opened_at_s: float, state: WatchState, reason: str, detail: str = "") -> None:
        """The connection is over: count that, and say why."""
        if self.ports.monotonic_s() - opened_at_s >= STEADY_AFTER_S:
            self._start_over()
        self.tries += 1
        self._report(state, reason, detail)

    def _start_over(self) -> None:
        self.tries = 0
        self._retry.reset()
        self._after_end.reset()

    def _report_opening(self, reason: str) -> None:
        if self._state is not WatchState.ENDED:
            self._report(WatchState.OPENING, reason)

    def _report(self, state: WatchState, reason: str, detail: str = "") -> None:
        with self._reporting:
            if self._stop.is_set() or (state, reason) == (self._state, self._reason):
                return
            if self._state is WatchState.ENDED and state in (WatchState.STALLED, WatchState.FAILED):
                # It has ended; that it cannot be opened again is no news.
                return
            self._state, self._reason = state, reason
            if state is WatchState.WATCHING:
                self._detail = detail
            self.ports.report(
                StreamStatus(stream_id=self.stream_id, state=state, reason=reason, detail=detail, tries=self.tries)
            )


def _is_live(url: str) -> bool:
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme.lower() != "file"


def _described(info: SourceInfo) -> str:
    rate = f" at {info.frame_rate:g} frames per second" if info.frame_rate else ""
    return f"{info.codec} {info.width}x{info.height}{rate}"


def _safe_sentence(error: SourceError) -> str:
    return redact_text(str(error))[:200]
