"""What the daemon wants to be told about watching, called so that its own mistakes stay its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from monitor.watch.messages import Observation, Ready, ShadowScores, StreamStatus, WatcherFault

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Callbacks:
    """The daemon's callbacks; an exception in one is logged, and must not look like a watcher's misbehaviour."""

    on_observation: Callable[[Observation, tuple[str, ...]], None]
    on_status: Callable[[StreamStatus], None]
    on_fault: Callable[[WatcherFault], None]
    on_model: Callable[[str, str], None] = lambda _stream_id, _model: None
    on_shadow: Callable[[ShadowScores, Ready], None] = lambda _scores, _ready: None

    def observation(self, observation: Observation, labels: tuple[str, ...]) -> None:
        """Pass scores on, with the labels that they stand for."""
        _call("observation", self.on_observation, observation, labels)

    def status(self, status: StreamStatus) -> None:
        """Pass on a change of a stream's watch state."""
        _call("status", self.on_status, status)

    def model(self, stream_id: str, model: str) -> None:
        """Say that the next scores of a stream are another model's than its last ones."""
        _call("model", self.on_model, stream_id, model)

    def shadow(self, scores: ShadowScores, ready: Ready) -> None:
        """Pass on what a model beside the acting one says, with what its watcher said when it was ready."""
        _call("shadow", self.on_shadow, scores, ready)

    def fault(self, fault: WatcherFault) -> None:
        """Pass on that a watcher failed."""
        _call("fault", self.on_fault, fault)


def _call(what: str, callback: Callable[..., None], *arguments: object) -> None:
    try:
        callback(*arguments)
    except Exception:
        log.exception("watch_callback_failed", callback=what)
