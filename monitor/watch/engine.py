"""The inside of one watcher: its streams, its inference thread, and the answers that it owes the daemon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import structlog

from monitor.classify.port import Classifier, Degradable
from monitor.watch.admission import DROP_THINNED, DecodeAdmission
from monitor.watch.confinement import lower_thread_priority, resident_bytes, return_free_memory
from monitor.watch.inference import InferenceThread
from monitor.watch.messages import (
    MAX_COSTS,
    Assign,
    Downward,
    EvidenceScore,
    EvidenceVideo,
    Message,
    Observation,
    Ping,
    Pong,
    Release,
    RequestEvidence,
    RequestVideo,
    SetPosture,
    ShadowScores,
    StreamCost,
    Video,
    WatcherFault,
    WatcherStats,
)
from monitor.watch.openings import Openings
from monitor.watch.pending import DROP_STOPPED, PendingClip, PendingClips
from monitor.watch.recent import RecentSamples
from monitor.watch.settings import LONGEST_SILENCE_S, MAX_BATCH, MAX_FILL_S
from monitor.watch.shadow import NICER, ShadowModel, ShadowThread
from monitor.watch.spool import Spool
from monitor.watch.stream import OpenSource, StreamPorts, StreamWatch

log = structlog.get_logger()

INFERENCE_HUNG_S = 10.0
"""A batch that runs longer, in seconds, will not come back."""

_TIDY_MEMORY_S = 30.0


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How one watcher works.

    Attributes:
        open_timeout_s, read_timeout_s: As `VideoSource.open` takes them.
        decode_slots: How many streams may decode at the same time.
        nice: Added to the niceness of stream threads, 0-19.
        batch: Largest inference batch, 1-8.
        fill_s: How long a clip may wait for company, in seconds, at most 0.02.
    """

    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    decode_slots: int = 1
    nice: int = 4
    batch: int = MAX_BATCH
    fill_s: float = MAX_FILL_S

    def hung_after_s(self, container: str) -> float:
        """Return the silence of a stream's thread, in seconds, that no timeout explains.

        Args:
            container: FFmpeg's demuxer name, or empty while the stream is not open.
        """
        patience_s = max(self.read_timeout_s, LONGEST_SILENCE_S) if "hls" in container else self.read_timeout_s
        return 2 * patience_s + self.open_timeout_s


@dataclass(slots=True, eq=False)
class Engine:
    """Carries out what the daemon says; everything else happens in threads of its own.

    `handle` is called by one thread, except that a `Ping` may come from another, so that it waits for nothing.

    Attributes:
        send: Sends one message to the daemon; may be called by any thread.
        fail: Ends the process; called after a fault was sent.
        spool: Where the compressed video of the last minute is kept; None keeps none.
        shadow: A model beside the acting one, or none.
        shadow_trouble: Why there is none although there should be; empty otherwise.
    """

    classifier: Classifier
    settings: EngineSettings
    open_source: OpenSource
    send: Callable[[Message], None]
    fail: Callable[[], None]
    pending: PendingClips = field(default_factory=PendingClips)
    recent: RecentSamples = field(default_factory=RecentSamples)
    spool: Spool | None = None
    shadow: ShadowModel | None = None
    shadow_trouble: str = ""
    _streams: dict[str, StreamWatch] = field(default_factory=dict)
    _leaving: list[StreamWatch] = field(default_factory=list)
    _retired_progress: int = 0
    _retired_cpu_s: float = 0.0
    _costs_from: int = 0
    _stopped_late: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closing: threading.Event = field(default_factory=threading.Event)
    _handing_over: threading.Lock = field(default_factory=threading.Lock)
    _admission: DecodeAdmission = field(init=False, repr=False)
    _ports: StreamPorts = field(init=False, repr=False)
    _inference: InferenceThread = field(init=False, repr=False)
    _watchdog: threading.Thread = field(init=False, repr=False)
    _shadow: ShadowThread | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        self._admission = DecodeAdmission(self.settings.decode_slots)
        self._ports = StreamPorts(
            open_source=self.open_source,
            clip_spec=self.classifier.clip_spec,
            open_timeout_s=self.settings.open_timeout_s,
            read_timeout_s=self.settings.read_timeout_s,
            decode_slots=self._admission,
            openings=Openings(lambda: self._admission.under_pressure),
            nice=self.settings.nice,
            pending=self.pending,
            recent=self.recent,
            report=self.send,
            spool=self.spool,
        )
        self._inference = InferenceThread(
            classifier=self.classifier,
            pending=self.pending,
            on_scored=self._on_scored,
            on_fault=self._on_fault,
            batch=self.settings.batch,
            fill_s=self.settings.fill_s,
        )
        if self.shadow is not None:
            self._shadow = ShadowThread(
                self.shadow, self._has_no_time, self._on_shadow_scored, self.settings.nice + NICER
            )
        self._watchdog = threading.Thread(target=self._watch_threads, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start inference, watchdog and spool."""
        if self.spool is not None:
            self.spool.start()
        self._inference.start()
        if self._shadow is not None:
            self._shadow.start()
        self._watchdog.start()

    def close(self, timeout_s: float = 0.0) -> bool:
        """Release every stream, stop inference, and wait up to `timeout_s` seconds for each thread.

        Returns:
            Whether every stream's thread has ended.
        """
        self._closing.set()
        for stream_id in list(self._streams):
            self._release(stream_id)
        self.pending.close()
        self._inference.join(timeout_s)
        if self._shadow is not None:
            self._shadow.close(timeout_s)
        self._watchdog.join(timeout_s)
        if self.spool is not None:
            self.spool.close(timeout_s)
        return all(watch.join(timeout_s) for watch in tuple(self._leaving))

    def handle(self, message: Downward) -> None:
        """Carry out one message. Messages about unknown streams are ignored: the stream may just have been released."""
        match message:
            case Assign():
                self._assign(message)
            case Release(stream_id=stream_id):
                self._release(stream_id)
            case SetPosture(stream_id=stream_id, posture=posture, weight=weight):
                if (watch := self._streams.get(stream_id)) is not None:
                    watch.posture = posture
                    watch.weigh(weight)
            case RequestEvidence(request_id=request_id, stream_id=stream_id):
                self.send(self.recent.evidence(request_id, stream_id))
            case RequestVideo():
                # It takes a while, and pings have to be answered meanwhile.
                threading.Thread(target=self._hand_over, args=(message,), name="video", daemon=True).start()
            case Ping(number=number):
                self.send(Pong(number=number, progress=self._progress(), stats=self._stats()))

    def _assign(self, message: Assign) -> None:
        watch = self._streams.get(message.stream_id)
        if watch is not None and watch.url == message.url:
            watch.posture = message.posture
            watch.weigh(message.weight)
            watch.wake()
            return
        self._release(message.stream_id)
        watch = StreamWatch(message.stream_id, message.url, message.posture, self._ports, tries=message.tries)
        watch.weigh(message.weight)
        with self._lock:
            self._streams[message.stream_id] = watch
        watch.start()

    def _release(self, stream_id: str) -> None:
        with self._lock:
            watch = self._streams.pop(stream_id, None)
            if watch is None:
                return
            self._leaving.append(watch)
        watch.release()

    def _hand_over(self, request: RequestVideo) -> None:
        """Write the files that were asked for, one request at a time, and answer whatever happens."""
        files: tuple[EvidenceVideo, ...] = ()
        trouble = "" if self.spool is not None else "no_spool"
        try:
            if self.spool is not None:
                lower_thread_priority(self.settings.nice, threading.get_native_id())
                with self._handing_over:
                    found = self.spool.remux(request.stream_id, Path(request.folder))
                files = tuple(EvidenceVideo(**asdict(file)) for file in found)
        except OSError as error:
            log.error("video_not_written", stream_id=request.stream_id, errno=error.errno)  # noqa: TRY400 - says it all
            trouble = "disk"
        except Exception as error:
            log.exception("video_not_remuxed", stream_id=request.stream_id, error=type(error).__name__)
            trouble = "internal_error"
        self.send(Video(request_id=request.request_id, stream_id=request.stream_id, files=files, trouble=trouble))

    def _on_scored(self, pending: PendingClip, scores: tuple[float, ...], scored_at: float) -> None:
        watch = pending.token
        if not isinstance(watch, StreamWatch) or watch.released:
            with self._lock:
                self._stopped_late += 1
            return
        clip = pending.clip
        kept = EvidenceScore(clip_start_s=clip.times_s[0], clip_end_s=clip.times_s[-1], scores=scores)
        self.recent.add_score(pending.stream_id, scored_at, kept)
        self.send(
            Observation(
                stream_id=pending.stream_id,
                clip_start_s=clip.times_s[0],
                clip_end_s=clip.times_s[-1],
                arrived_at=clip.arrived_at,
                scored_at=scored_at,
                scores=scores,
                posture=clip.posture,
                spacing_honoured=clip.spacing_honoured,
            )
        )

        if self._shadow is not None:
            self._shadow.offer(pending, scores)

    def _has_no_time(self) -> bool:
        return self.pending.any_waiting or self._inference.running_for_s() > 0 or self._admission.under_pressure

    def _on_shadow_scored(
        self, pending: PendingClip, scores: tuple[float, ...], shadow_scores: tuple[float, ...]
    ) -> None:
        if isinstance(pending.token, StreamWatch) and not pending.token.released:
            self.send(ShadowScores(stream_id=pending.stream_id, scores=scores, shadow_scores=shadow_scores))

    def _on_fault(self, reason: str, detail: str) -> None:
        self.send(WatcherFault(reason=reason, detail=detail))
        self.fail()

    def _watch_threads(self) -> None:
        tidied_at_s = time.monotonic()
        while not self._closing.wait(min(1.0, self.settings.hung_after_s("") / 4)):
            if time.monotonic() - tidied_at_s > _TIDY_MEMORY_S:
                # Threads that end leave holes that only a look over the whole heap finds.
                return_free_memory()
                tidied_at_s = time.monotonic()
            self.recent.expire()
            if self.spool is not None:
                self.spool.expire()
            if self._inference.running_for_s() > INFERENCE_HUNG_S:
                self._on_fault("inference_hung", "a batch did not come back from the classifier")
                return
            if self._shadow is not None and self._shadow.running_for_s() > INFERENCE_HUNG_S:
                self._shadow.switch_off("inference_hung")
            for watch in self._all_watches():
                silent_s, hung_after_s = watch.silent_for_s(), self.settings.hung_after_s(watch.container)
                if silent_s > 2 * hung_after_s:
                    log.error("stream_thread_hung", stream_id=watch.stream_id, silent_s=round(silent_s, 1))
                    self._on_fault("stream_hung", "a stream's thread did not come back from the video library")
                    return
                if silent_s > hung_after_s:
                    watch.report_hung()

    def _all_watches(self) -> list[StreamWatch]:
        """Return every watch whose thread may still run, and retire those that have ended."""
        with self._lock:
            for watch in [watch for watch in self._leaving if watch.finished]:
                self._leaving.remove(watch)
                self._retired_progress += watch.progress
                self._retired_cpu_s += watch.cpu_s
            return [*self._streams.values(), *self._leaving]

    def _progress(self) -> int:
        watches = self._all_watches()
        return self._retired_progress + sum(watch.progress for watch in watches) + self._inference.clips_scored

    def _stats(self) -> WatcherStats:
        watches = self._all_watches()
        dropped = self.pending.dropped()
        if thinned := self._admission.thinned:
            dropped[DROP_THINNED] = thinned
        if self._stopped_late:
            dropped[DROP_STOPPED] = dropped.get(DROP_STOPPED, 0) + self._stopped_late
        shadow = self._shadow
        degradable = self.classifier if isinstance(self.classifier, Degradable) else None
        return WatcherStats(
            clips_scored=self._inference.clips_scored,
            clips_dropped=dropped,
            decode_cpu_s=self._retired_cpu_s + sum(watch.cpu_s for watch in watches),
            inference_s=self._inference.inference_s,
            resident_bytes=resident_bytes(),
            spool_failures=0 if self.spool is None else self.spool.failures,
            clips_stood_in=0 if degradable is None else degradable.clips_stood_in,
            classifier_trouble="" if degradable is None else degradable.trouble,
            classifier_serving="" if degradable is None else degradable.serving,
            costs=self._new_costs(),
            shadow_scored=0 if shadow is None else shadow.clips_scored,
            shadow_dropped=0 if shadow is None else shadow.clips_dropped,
            shadow_cpu_s=0.0 if shadow is None else shadow.cpu_s,
            shadow_trouble=self.shadow_trouble if shadow is None else shadow.trouble,
        )

    def _new_costs(self) -> tuple[StreamCost, ...]:
        """Return what was measured lately of a few streams, beginning after those whose turn it was last."""
        with self._lock:
            watches = list(self._streams.values())
        inference_s = self._inference.cpu_s / max(1, self._inference.clips_scored)
        costs: list[StreamCost] = []
        for at in range(len(watches)):
            watch = watches[(self._costs_from + at) % len(watches)]
            if (cost := watch.cost.take()) is not None:
                cores = cost.stream_cores + cost.clips_per_s * inference_s
                costs.append(StreamCost(watch.stream_id, cost.posture, cores))
            if len(costs) == MAX_COSTS:
                self._costs_from = (self._costs_from + at + 1) % len(watches)
                break
        return tuple(costs)
