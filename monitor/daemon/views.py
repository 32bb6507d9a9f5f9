"""What pages and the API show of the daemon's memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from monitor.clock import Clock
from monitor.daemon.discovery import Discovery
from monitor.daemon.streams import StreamRegistry, WatchedStream
from monitor.effects.restraint import Restraints
from monitor.incidents.engine import IncidentEngine
from monitor.store.silences import SilenceKind
from monitor.vocabulary import Severity, StreamRef
from monitor.web.changes import ChangeSignal
from monitor.web.port import Check, ServerView, StreamView
from monitor.web.threshold_values import ThresholdView

_HEARTBEAT_LIMIT_S = 15.0


def utc(at: float) -> datetime:
    """Return a Unix time as an aware datetime."""
    return datetime.fromtimestamp(at, UTC)


@dataclass(slots=True)
class Vitals:
    """Signs of life that the daemon's own loops leave.

    Attributes:
        heartbeat_s: Monotonic time of the last turn of the main loop.
        model: ``name@version`` of the classifier; empty until a watcher is ready.
        watchers_ready: Watcher processes that score now.
        watchers_wanted: Watcher processes that should.
        store_ok: The last write to the store succeeded.
        classifier_fault: Reason word of a classifier failure that has not been followed by a score; empty if none.
        classifier_trouble: Reason word of a remote classifier that does not answer as it should; empty if none.
        classifier_lost: The same, where no fallback scores in its place.
        fallback: ``name@version`` of the model that scores in the place of the remote one; empty if none does.
        started: Everything listens, and a watcher has loaded the model, once.
        draining: The daemon is shutting down.
    """

    heartbeat_s: float
    model: str = ""
    watchers_ready: int = 0
    watchers_wanted: int = 0
    store_ok: bool = True
    classifier_fault: str = ""
    classifier_trouble: str = ""
    classifier_lost: str = ""
    fallback: str = ""
    started: bool = False
    draining: bool = False


class MemoryView:
    """Answers from memory; implements `monitor.web.port.DaemonView`."""

    def __init__(
        self,
        *,
        registry: StreamRegistry,
        discoveries: Mapping[str, Discovery],
        engine: IncidentEngine,
        vitals: Vitals,
        dry_run_servers: Mapping[str, bool],
        dry_run: bool,
        clock: Clock,
        changes: ChangeSignal,
        restraints: Restraints | None = None,
        thresholds: Callable[[], Sequence[ThresholdView]] = tuple,
    ) -> None:
        """Show `registry`, `discoveries` (by server name), `vitals`, and what `thresholds` returns."""
        self._registry = registry
        self._discoveries = discoveries
        self._engine = engine
        self._vitals = vitals
        self._dry_run_servers = dry_run_servers
        self._dry_run = dry_run
        self._clock = clock
        self._changes = changes
        self._restraints = restraints
        self._thresholds = thresholds

    @property
    def model(self) -> str:
        """Name and version of the model in force, and of the one whose place it takes."""
        vitals = self._vitals
        return f"{vitals.fallback} instead of {vitals.model}" if vitals.fallback else vitals.model

    @property
    def dry_run(self) -> bool:
        """Nothing is cut or blocked anywhere."""
        return self._dry_run

    @property
    def revision(self) -> int:
        """Grows with every change that a page would show."""
        return self._changes.revision

    async def wait_changed(self, after: int) -> int:
        """Wait until `revision` is greater than `after` and return it; cancellation ends the wait at once."""
        return await self._changes.wait_changed(after)

    def streams(self) -> Sequence[StreamView]:
        """Return every live stream."""
        now = self._clock.now().timestamp()
        return [self._stream(stream, now) for stream in self._registry]

    def ref_of(self, stream_id: str) -> StreamRef | None:
        """Return the live stream with this id, or the one of an open incident, or None."""
        stream = self._registry.get(stream_id)
        if stream is not None:
            return stream.ref
        incident = self._engine.open_incident(stream_id)
        return None if incident is None else incident.record.ref

    def servers(self) -> Sequence[ServerView]:
        """Return every configured media server."""
        return [
            ServerView(
                name=name,
                kind=discovery.server.kind,
                ok=discovery.health.ok is True,
                state=discovery.health.state.value,
                excluded=discovery.health.excluded,
                last_error=discovery.health.last_error or ("" if discovery.health.ok else "not_asked_yet"),
                dry_run=self._dry_run or self._dry_run_servers[name],
                streams=discovery.health.listed,
                can_cut=discovery.server.capabilities.cut,
                synchronous_block=discovery.server.capabilities.synchronous_block,
                warnings=discovery.health.warnings,
            )
            for name, discovery in self._discoveries.items()
        ]

    def thresholds(self) -> Sequence[ThresholdView]:
        """Return the thresholds in force."""
        return self._thresholds()

    def live(self) -> Sequence[Check]:
        """Return the checks of liveness: the main loop makes progress."""
        age_s = self._clock.monotonic_s() - self._vitals.heartbeat_s
        return [Check("main_loop", age_s < _HEARTBEAT_LIMIT_S, f"last turn {age_s:.1f} s ago")]

    def ready(self) -> Sequence[Check]:
        """Return the checks of readiness."""
        vitals = self._vitals
        silent = [name for name, discovery in self._discoveries.items() if discovery.health.ok is not True]
        return [
            self._model_check(),
            Check("watchers", vitals.watchers_ready > 0, f"{vitals.watchers_ready} of {vitals.watchers_wanted} ready"),
            Check("store", vitals.store_ok, "" if vitals.store_ok else "the last write failed"),
            Check(
                "media_servers",
                len(silent) < max(1, len(self._discoveries)),
                f"not answering: {', '.join(silent)}" if silent else "",
            ),
            *self._pauses(),
            Check("draining", not vitals.draining, "shutting down" if vitals.draining else ""),
        ]

    def started(self) -> Sequence[Check]:
        """Return the checks of the start: it came to where the first watcher scores."""
        done = self._vitals.started
        return [
            # Nobody could ask before these held.
            Check("configuration", ok=True),
            Check("store", ok=True, detail="opened and migrated"),
            Check("watcher", done, "" if done else "no watcher has loaded the model yet"),
        ]

    def _pauses(self) -> list[Check]:
        """Return what is paused, for people to see; it does not make the daemon any less ready."""
        active = () if self._restraints is None else self._restraints.active()
        return [
            Check(
                "pause",
                ok=True,
                detail=f"containment is paused on {one.server or 'all media servers'} by {one.owner} "
                f"until {utc(one.until):%Y-%m-%d %H:%M:%S} UTC",
            )
            for one in active
            if one.kind is SilenceKind.PAUSE
        ]

    def _model_check(self) -> Check:
        vitals = self._vitals
        failure = vitals.classifier_fault or vitals.classifier_lost
        # The fallback does the work, if less well: an orchestrator that restarted this daemon would help nobody.
        degraded = f"degraded: {self.model} ({vitals.classifier_trouble})" if vitals.fallback else self.model
        return Check("model", bool(vitals.model) and not failure, failure or degraded)

    def _stream(self, stream: WatchedStream, now: float) -> StreamView:
        incident = self._engine.open_incident(stream.ref.stream_id)
        severities = stream.detector.severities
        return StreamView(
            stream_id=stream.ref.stream_id,
            server=stream.ref.server,
            title=stream.title,
            state=stream.watch_state,
            freshness=self._registry.freshness(stream, now),
            posture=stream.posture,
            severity=max(severities.values(), default=Severity.NONE),
            last_scores=stream.last_scores,
            verdict_age_s=None if stream.last_arrived_at is None else max(0.0, now - stream.last_arrived_at),
            viewers=stream.live.viewers,
            protocol=stream.definition.name if incident is None else incident.record.protocol,
            incident_id=None if incident is None else incident.record.id,
            since=utc(stream.first_seen_at),
            detail=stream.watch_detail or stream.live.video,
        )
