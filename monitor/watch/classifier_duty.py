"""The daemon's care for the shared classifier: one process, kept running, and loud when it is not."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from monitor import metrics
from monitor.classify.shared import peers
from monitor.clock import Clock
from monitor.watch.backoff import Backoff
from monitor.watch.child import Ending, WatcherChild
from monitor.watch.messages import OfStream, WatcherFault, WatcherStats
from monitor.watch.settings import WatchSettings

log = structlog.get_logger()

MEMBER: Final = 0
"""The number under which its log lines appear; watchers count from 1."""

_RESTART_FIRST_S: Final = 0.5
_HEALTHY_AFTER_S: Final = 60.0
_BACKLOG: Final = 512


@dataclass(slots=True)
class ClassifierDuty:
    """Runs the shared classifier where the settings ask for one; does nothing where every watcher has its own.

    Watchers connect to a socket that the daemon itself listens on. It outlives the process: while that is away, watchers
    wait in the queue, and the next process finds them there.

    Attributes:
        on_fault: Called whenever the process has failed or died, with a reason that begins with ``classifier``.
    """

    clock: Clock
    on_fault: Callable[[WatcherFault], None]
    _settings: WatchSettings | None = None
    _listener: socket.socket | None = None
    _child: WatcherChild | None = None
    restarts: int = field(default=0, init=False)

    def prepare(self, settings: WatchSettings) -> WatchSettings:
        """Begin to listen if need be, and return the settings with which watchers find the classifier.

        Raises:
            OSError: the system is out of descriptors.
        """
        if not settings.shares_classifier:
            return settings
        self._listener = peers.listen(_BACKLOG)
        self._settings = replace(
            settings,
            command=(sys.executable, "-P", "-m", "monitor.watch.classifier_process"),
            inherited=(self._listener.fileno(),),
        )
        return replace(settings, classifier_address=peers.address_of(self._listener))

    @property
    def ready(self) -> bool:
        """Whether clips can be scored, as far as this duty goes."""
        return self._settings is None or (self._child is not None and self._child.ready is not None)

    @property
    def pid(self) -> int | None:
        """The process's number, or None while there is none."""
        return None if self._child is None else self._child.pid

    async def run(self) -> None:
        """Run one process after the other; cancellation kills the present one."""
        if self._settings is None:
            return
        backoff = Backoff(_RESTART_FIRST_S, self._settings.restart_longest_s, immediate=1)
        while True:
            if await self._run_once(self._settings):
                backoff.reset()
            self.restarts += 1
            await self.clock.sleep(backoff.next_s())

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _run_once(self, settings: WatchSettings) -> bool:
        """Run one process to its end; whether it was in good health for a while before."""
        child = self._child = WatcherChild(
            member=MEMBER,
            settings=settings,
            clock=self.clock,
            on_ready=_is_ready,
            on_message=_hear_nothing,
            on_stats=_count_nothing,
        )
        try:
            ending = await child.run()
            self._child = None
            self._say(ending)
        finally:
            self._child = None
            status = await child.reap()
        log.warning("classifier_ended", reason=ending.reason, detail=ending.detail, status=status)
        return child.ready is not None and self.clock.monotonic_s() - child.ready_at_s >= _HEALTHY_AFTER_S

    def _say(self, ending: Ending) -> None:
        metrics.CLASSIFIER_RESTARTS.labels(ending.reason).inc()
        if ending.fault is not None:
            # A package that cannot be used keeps its reason: it is what the operator has to mend.
            self.on_fault(ending.fault)
        else:
            self.on_fault(WatcherFault(reason="classifier_died", detail=f"{ending.reason}: {ending.detail}"))


def _is_ready(child: WatcherChild) -> None:
    ready = child.ready
    assert ready is not None  # noqa: S101 - for mypy: this is what being called means
    log.info("shared_classifier_ready", pid=child.pid, model=ready.model, provider=ready.provider)


def _hear_nothing(_child: WatcherChild, _message: OfStream) -> None:
    """It has no streams, so the seam lets nothing through that would come here."""


def _count_nothing(_child: WatcherChild, _stats: WatcherStats) -> None:
    """Its clips are counted by the watchers that they come from."""
