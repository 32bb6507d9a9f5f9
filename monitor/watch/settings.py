"""How watchers are run."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from monitor.classify.remote import RemoteSettings

LONGEST_SILENCE_S = 15.0
"""HLS comes a segment at a time: for so long, in seconds, `VideoSource` may rightly read nothing."""

STEADY_AFTER_S = 10.0
"""A connection that lasted so long, in seconds, makes the next failure count as the first."""

MAX_BATCH = 8
"""Most clips that are scored together."""

MAX_FILL_S = 0.020
"""Longest time, in seconds, that a clip waits for others to be scored with."""

_MIB, _GIB = 1024**2, 1024**3


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How many watchers there are, what they run and when they count as dead. Built by the daemon from its configuration.

    Attributes:
        model: Model package: a name below `models_dir` or a folder.
        models_dir: Folder of model packages; None takes the shipped ones.
        provider: ONNX Runtime provider in `monitor.classify.provider.PROVIDERS`' words.
        watchers: Processes that share the streams.
        spares: Further processes that are ready and idle, so that a dead watcher's streams have somewhere to go at once.
        quarantine_watchers: Most processes beyond these for streams that are suspected of killing watchers.
        open_timeout_s, read_timeout_s: As `VideoSource.open` takes them, in seconds.
        decode_slots: Streams that may decode at the same time in one watcher; 1 where there is a watcher per core.
        nice: Added to the niceness of threads that decode, 0-19.
        ready_timeout_s: How long a new process may take to load its model, in seconds.
        ping_interval_s: Time between two pings, in seconds.
        suspect_after_s: A watcher that has not answered a ping for so long, in seconds, is looked at: one that is stopped,
            or sleeps for as long again, is killed and replaced.
        pong_timeout_s: So is any other after this time, in seconds, unless it gets too little processor time to answer.
        progress_timeout_s: So is one that read and scored nothing for so long, in seconds, while it calls a stream
            watched. By default it is longer than any silence that the video room bears: a publisher that pauses
            must not cost its neighbours a restart.
        restart_longest_s: Longest wait before a process that keeps dying is started again, in seconds.
        address_space_bytes: Bound of each process's virtual memory; 0 sets none. Other providers than ``cpu`` map
            far more than they use, so none is set for them.
        spool: Folder for the compressed video of each stream's last minute; None keeps none.
        ring_bytes: Most of it that is kept of one stream.
        ring_total_bytes: Most of it that is kept in all.
        remote: Where the model runs, if it is on an inference server; None for one that runs here.
        log_level: Least important level of the watchers' log lines.
        run_as_user: Whom watchers become before they open any video, where the daemon is root; None stays who it is.
        refuse_system_calls: Whether watchers give up the system calls that `monitor.watch.system_calls` lists.
        command: Program and first arguments that start a watcher.
        model_variant: Which of the package's variants; None for the main file.
        shadow_model: A second package that scores the same clips without any effect; None for none.
        shadow_share: Share of the clips that it is given.
        classifier: ``own`` in every watcher, one that is ``shared`` by all, or ``auto``: shared unless the provider is
            ``cpu``, where a process of its own would only move the work about.
        batch: Most clips that are scored together; None takes what suits the provider.
        fill_s: How long a clip may wait for others to be scored with, in seconds; None likewise.
        keep_replaced_s: How long a watcher whose streams have gone to one with another model is kept for its evidence, in
            seconds.
        classifier_address: Where watchers reach the shared classifier. Filled in by the supervisor.
        inherited: Descriptors that the process inherits. Filled in by the supervisor.
    """

    model: str
    models_dir: Path | None = None
    provider: str = "cpu"
    watchers: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    spares: int = 1
    quarantine_watchers: int = 8
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    decode_slots: int = 1
    nice: int = 4
    ready_timeout_s: float = 60.0
    ping_interval_s: float = 0.25
    suspect_after_s: float = 0.5
    pong_timeout_s: float = 3.0
    progress_timeout_s: float | None = None
    restart_longest_s: float = 30.0
    address_space_bytes: int = 16 * _GIB
    spool: Path | None = None
    ring_bytes: int = 24 * _MIB
    ring_total_bytes: int = 4 * _GIB
    remote: RemoteSettings | None = None
    log_level: str = "info"
    run_as_user: str | None = None
    refuse_system_calls: bool = True
    command: tuple[str, ...] = (sys.executable, "-P", "-m", "monitor.watch.watcher")
    model_variant: str | None = None
    shadow_model: str | None = None
    shadow_share: float = 1.0
    classifier: str = "auto"
    batch: int | None = None
    fill_s: float | None = None
    keep_replaced_s: float = 60.0
    classifier_address: str | None = None
    inherited: tuple[int, ...] = ()

    @property
    def shares_classifier(self) -> bool:
        """Whether one classifier process serves all watchers."""
        if self.remote is not None:
            return False
        if self.classifier == "auto":
            # The memory that they share, and the proof of who is who, are Linux's.
            return self.provider != "cpu" and sys.platform == "linux"
        return self.classifier == "shared"

    @property
    def capacity_cores(self) -> float:
        """What one watcher can give, in core seconds per second: a core, or its share of those that there are."""
        return min(1.0, len(os.sched_getaffinity(0)) / self.watchers)

    @property
    def scores_on_cpu(self) -> bool:
        """Whether each clip is scored on a core of this machine."""
        return self.provider == "cpu" and self.remote is None

    @property
    def no_progress_s(self) -> float:
        """The progress timeout in force, in seconds."""
        if self.progress_timeout_s is not None:
            return self.progress_timeout_s
        return max(self.read_timeout_s, LONGEST_SILENCE_S) + 3.0

    def arguments(self, parent_pid: int) -> tuple[str, ...]:
        """Return the whole command line; it holds nothing secret."""
        runs_no_provider = self.provider == "cpu" or self.classifier_address is not None
        limit_bytes = self.address_space_bytes if runs_no_provider else 0
        pairs = {
            "--model": self.model,
            "--model-variant": self.model_variant,
            "--models-dir": self.models_dir,
            "--shadow-model": self.shadow_model,
            "--shadow-share": self.shadow_share if self.shadow_model is not None else None,
            "--provider": self.provider,
            "--classifier-address": self.classifier_address,
            "--classifier-listener": self.inherited[0] if self.inherited else None,
            "--open-timeout-s": self.open_timeout_s,
            "--read-timeout-s": self.read_timeout_s,
            "--decode-slots": self.decode_slots,
            "--nice": self.nice,
            # On a processor eights save a fifth of the shipped model's time, 1/40 of a stream's, and delay their first clips.
            "--batch": self.batch if self.batch is not None else 1 if self.scores_on_cpu else MAX_BATCH,
            "--fill-s": self._fill_s,
            "--address-space-bytes": limit_bytes,
            "--spool": self.spool,
            "--ring-bytes": self.ring_bytes,
            "--run-as-user": self.run_as_user,
            "--refuse-system-calls": "yes" if self.refuse_system_calls else "no",
            "--parent-pid": parent_pid,
            "--log-level": self.log_level,
        }
        return (*self.command, *(f"{name}={value}" for name, value in pairs.items() if value is not None))

    @property
    def _fill_s(self) -> float:
        if self.classifier_address is not None:
            # Who waits for company is the shared classifier, once, and not every watcher before it.
            return 0.0
        if self.fill_s is not None:
            return self.fill_s
        return 0.0 if self.scores_on_cpu else MAX_FILL_S
