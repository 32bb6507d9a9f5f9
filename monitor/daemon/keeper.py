"""Ties watching to protocols: assigns streams, judges scores, raises postures, and tells incidents what happened."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from monitor.clock import Clock
from monitor.daemon.discovery import Changes, compare
from monitor.daemon.promptness import Promptness
from monitor.daemon.protocols import StreamRule
from monitor.daemon.rulebook import Rulebook
from monitor.daemon.streams import StreamRegistry, WatchedStream
from monitor.daemon.thresholds import Thresholds
from monitor.daemon.watcher_pool import WatcherPool
from monitor.daemon.work_queue import WorkQueue, work_off, work_off_side_by_side
from monitor.detect.persistence import DetectionRule, Detector, Raised
from monitor.errors import MediaServerError
from monitor.incidents.engine import IncidentEngine
from monitor.incidents.records import StreamContext
from monitor.metrics import CLIP_LAG, CLIPS, DETECTIONS, SCORES
from monitor.protocol.definition import Definition
from monitor.protocol.events import (
    DetectionCleared,
    DetectionRaised,
    Event,
    StreamEnded,
    StreamReturned,
    StrikesChanged,
    ViewersChanged,
    WatchChanged,
)
from monitor.servers.port import EndsStreams, LiveStream, MediaServer
from monitor.vocabulary import Posture, StreamRef, WatchState
from monitor.watch.messages import Observation, StreamStatus

_TICK_S = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ServerPolicy:
    """What the configuration says of one media server's streams."""

    definition: Definition
    dry_run: bool
    names_are_secret: bool
    rules: tuple[StreamRule, ...] = ()

    def definition_for(self, ref: StreamRef) -> Definition:
        """Return the protocol in force on a stream of this server: that of the first rule that matches, or its own."""
        return next((rule.definition for rule in self.rules if rule.matches(ref)), self.definition)


class Keeper:
    """Keeps every live stream watched and every incident informed.

    What is for incidents goes through one queue, so that a stream's end does not overtake its detections; those of different
    streams do not wait for each other. What is for watchers goes through another, which does not wait for the store.
    `run` works both off.
    """

    def __init__(
        self,
        *,
        registry: StreamRegistry,
        servers: Mapping[str, MediaServer],
        policies: Mapping[str, ServerPolicy],
        rules: Mapping[str, DetectionRule],
        model: str,
        watchers: WatcherPool,
        engine: IncidentEngine,
        clock: Clock,
        on_live: Callable[[MediaServer, LiveStream], None],
        on_change: Callable[[], None],
        thresholds: Thresholds | None = None,
        strikes_of: Callable[[LiveStream], int] = lambda _live: 0,
        promptness: Promptness | None = None,
        floor: Callable[[StreamRef], Posture] = lambda _ref: Posture.CALM,
    ) -> None:
        """Judge by `rules` (per label).

        Args:
            registry: Filled and emptied here.
            servers: Media servers by configured name.
            policies: What the configuration says of each.
            rules: Detection rules by label.
            model: ``name@version`` of the classifier.
            watchers: Who reads the streams.
            engine: Who is told.
            clock: For the ages of verdicts.
            on_live: Called with each publication that is seen for the first time.
            on_change: Called whenever a page would look different.
            thresholds: Whom to teach, and whose rules hold instead of `rules`.
            strikes_of: How many strikes stand against a publisher.
            promptness: Who measures how fast streams go off the air.
            floor: How closely a stream is to be watched at least, because of what others say.
        """
        self._registry = registry
        self._servers = servers
        self._policies = policies
        self._book = Rulebook(model, rules, thresholds)
        self._watchers = watchers
        self._engine = engine
        self._clock = clock
        self._on_live = on_live
        self._on_change = on_change
        self._thresholds = thresholds
        self._strikes_of = strikes_of
        self._promptness = promptness or Promptness(engine, clock)
        self._floor = floor
        self._for_watchers: WorkQueue = asyncio.Queue()
        self._for_incidents: WorkQueue = asyncio.Queue()
        self._listed_once: set[str] = set()

    async def run(self) -> None:
        """Do queued work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(work_off(self._for_watchers))
            group.create_task(work_off_side_by_side(self._for_incidents, group))

    async def settled(self) -> None:
        """Wait until all that came up so far is done; `run` must be running."""
        await self._for_watchers.join()
        await self._for_incidents.join()

    async def measure(self) -> None:
        """Keep the metrics about streams fresh, and tell incidents whose stream is seen late or no more, until cancelled."""
        while True:
            self.look()
            self._on_change()
            await self._clock.sleep(_TICK_S)

    def look(self) -> None:
        """Measure once, and tell open incidents what has changed since the last time."""
        for stream in self._registry.measure(self._now()):
            if stream.told is None or self._engine.open_incident(stream.ref.stream_id) is None:
                continue
            log.info("watch_changed", stream_id=stream.ref.stream_id, freshness=stream.told.value)
            self._soon_handle(self._context(stream), WatchChanged(stream.told))

    async def on_listing(self, server: MediaServer, listing: tuple[LiveStream, ...]) -> None:
        """Take in a good listing of one media server."""
        known = {key: stream.live for key, stream in self._registry.of_server(server.name).items()}
        changes = compare(known, listing)
        for live in changes.unchanged:
            stream = self._registry.get(live.ref.stream_id)
            if stream is not None:
                moved = stream.live.held is not live.held
                stream.live = live
                self._tell_viewers(stream)
                if moved:
                    # Media servers may have watchers read a held stream elsewhere.
                    self._assign(server, stream)
        for stream_id in (*changes.gone, *(live.ref.stream_id for live in changes.replaced)):
            self._lose(stream_id)
        for live in (*changes.replaced, *changes.appeared):
            self._gain(server, live)
        if server.name not in self._listed_once:
            self._listed_once.add(server.name)
            self._end_missing(server, {live.ref.stream_id for live in listing})
        if changes != Changes((), (), (), changes.unchanged):
            self._on_change()

    def _tell_viewers(self, stream: WatchedStream) -> None:
        """Tell an open incident how many watch, where its protocol makes a difference of it."""
        incident = self._engine.open_incident(stream.ref.stream_id)
        if incident is None:
            return
        limits = incident.definition.viewer_limits
        if bisect_right(limits, stream.live.viewers) != bisect_right(limits, incident.state.viewers):
            self._soon_handle(self._context(stream), ViewersChanged(stream.live.viewers))

    def on_observation(self, observation: Observation, labels: tuple[str, ...]) -> None:
        """Judge the scores of one clip."""
        stream = self._registry.get(observation.stream_id)
        if stream is None:
            return
        # Arrival times, not the publisher's own timestamps, which may jump at will; and no watcher sees the future.
        arrived_at = min(observation.arrived_at, self._now())
        try:
            scores = dict(zip(labels, observation.scores, strict=True))
            changes = stream.detector.observe(arrived_at, scores)
        except ValueError:
            # Not taken in, so that the stream is shown as late and then as blind, never as safe.
            log.error("observation_refused", stream_id=observation.stream_id)  # noqa: TRY400 - a trace says no more
            return
        if self._thresholds is not None and self._book.learns_from(stream.model):
            self._thresholds.observe(observation.stream_id, stream.ref, arrived_at, scores, stream.model)
        stream.last_scores = scores
        stream.last_arrived_at = arrived_at
        CLIPS.inc()
        CLIP_LAG.observe(self._now() - arrived_at)
        for label in stream.detector.labels & scores.keys():
            SCORES.labels(label).observe(scores[label])
        clip_s = observation.clip_end_s - observation.clip_start_s
        self._promptness.noticed(observation.stream_id, changes, clip_s=clip_s)
        for change in changes:
            event: Event
            if isinstance(change, Raised):
                DETECTIONS.labels(change.label, change.severity.word).inc()
                log.warning(
                    "detection_raised",
                    stream_id=observation.stream_id,
                    label=change.label,
                    severity=change.severity.word,
                    score=round(change.score, 4),
                )
                event = DetectionRaised(change.label, change.severity, change.score, change.threshold)
            else:
                log.info("detection_cleared", stream_id=observation.stream_id, label=change.label)
                event = DetectionCleared(change.label, change.severity)
            self._soon_handle(self._context(stream), event)
        if stream.detector.suspicious != stream.suspected:
            stream.suspected = stream.detector.suspicious
            self.refresh_posture(observation.stream_id)

    def adopt(self, model: str, rules: Mapping[str, DetectionRule]) -> None:
        """From now on streams are judged by `rules` as soon as they are scored by `model`.

        Until then, those that are known go on as before; so do open incidents.
        """
        self._book.adopt(model, rules)

    def on_model(self, stream_id: str, model: str) -> None:
        """A stream's next scores are another model's: judge them by its rules."""
        stream = self._registry.get(stream_id)
        if stream is None or stream.model == model:
            return
        if not self._book.knows(model):
            # A package was changed under the feet of the watchers. Nothing better is known than the rules in force.
            log.error("model_not_expected", stream_id=stream_id, model=model)
            return
        stream.model = model
        stream.detector = stream.detector.successor(self._book.rules_for(stream.ref, model))

    def rules_on(self, stream_id: str) -> Mapping[str, DetectionRule] | None:
        """Return the rules by which a stream is judged now; None if it is gone."""
        stream = self._registry.get(stream_id)
        return None if stream is None else self._book.rules_for(stream.ref, stream.model)

    def on_status(self, status: StreamStatus) -> None:
        """Take in a change of a stream's watch state."""
        stream = self._registry.get(status.stream_id)
        if stream is None:
            return
        stream.watch_state, stream.watch_reason, stream.watch_detail = status.state, status.reason, status.detail
        log.info("watch_state", stream_id=status.stream_id, state=status.state.value, reason=status.reason)
        if status.state is WatchState.ENDED:
            server: object = self._servers.get(stream.ref.server)
            if isinstance(server, EndsStreams):
                stream.excused = True
                server.mark_ended(stream.ref)
        self._on_change()

    def use_policies(self, policies: Mapping[str, ServerPolicy]) -> None:
        """Have incidents that begin from now on run under other protocols; open ones end under theirs."""
        self._policies = policies
        for stream in self._registry:
            stream.definition = policies[stream.ref.server].definition_for(stream.ref)
            self.refresh_posture(stream.ref.stream_id)

    def use_rules(self) -> None:
        """Judge every stream by the rules that hold now."""
        for stream in self._registry:
            if self._book.learns_from(stream.model):
                stream.detector.use(self._book.rules_for(stream.ref, stream.model))

    def refresh_posture(self, stream_id: str) -> None:
        """Watch a stream as closely as its incident and the last scores ask for."""
        stream = self._registry.get(stream_id)
        if stream is None:
            return
        posture = self._wanted_posture(stream)
        if posture is stream.posture:
            return
        stream.posture = posture

        async def set_posture() -> None:
            # The stream may have gone, or come back, or be wanted otherwise by now.
            if (current := self._registry.get(stream_id)) is not None:
                await self._watchers.set_posture(stream_id, current.posture)

        self._for_watchers.put_nowait(set_posture)

    def _wanted_posture(self, stream: WatchedStream) -> Posture:
        incident = self._engine.open_incident(stream.ref.stream_id)
        wanted = stream.definition.states[stream.definition.initial].posture if incident is None else incident.posture
        asked = (wanted, self._floor(stream.ref), Posture.CLOSE if stream.suspected else wanted)
        return max(asked, key=lambda posture: posture.rank)

    def _gain(self, server: MediaServer, live: LiveStream) -> None:
        stream_id = live.ref.stream_id
        policy = self._policies[server.name]
        incident = self._engine.open_incident(stream_id)
        stream = WatchedStream(
            live=live,
            definition=policy.definition_for(live.ref),
            detector=Detector(
                self._book.rules_for(live.ref, self._book.model),
                severities=incident.state.severities if incident else None,
            ),
            dry_run=policy.dry_run,
            title=stream_id if policy.names_are_secret else f"{live.ref.app}/{live.ref.name}",
            first_seen_at=self._now(),
            model=self._book.model,
        )
        self._registry.add(stream)
        stream.posture = self._wanted_posture(stream)
        log.info("stream_appeared", stream_id=stream_id, server=server.name, posture=stream.posture.value)
        self._assign(server, stream)
        self._soon_handle(self._context(stream), StreamReturned())
        if incident is None and (strikes := self._strikes_of(live)):
            self._soon_handle(self._context(stream), StrikesChanged(strikes))
        self._on_live(server, live)

    def _assign(self, server: MediaServer, stream: WatchedStream) -> None:
        """Have a stream watched where it can be read now, if it can be read at all."""
        stream_id = stream.ref.stream_id
        if not stream.can_be_seen(while_held=server.capabilities.seen_while_held, now=self._now()):
            self._for_watchers.put_nowait(lambda: self._watchers.release(stream_id))
            return
        try:
            url = server.pull_url(stream.ref)
        except MediaServerError as error:
            stream.watch_state, stream.watch_reason = WatchState.FAILED, error.reason
            stream.watch_detail = "its name cannot be put into an address"
            log.error("stream_not_watchable", stream_id=stream_id, reason=error.reason)  # noqa: TRY400 - no trace needed
            return

        async def assign() -> None:
            if self._registry.get(stream_id) is stream:
                await self._watchers.assign(stream_id, url, stream.posture)

        self._for_watchers.put_nowait(assign)

    def _lose(self, stream_id: str) -> None:
        stream = self._registry.remove(stream_id, self._now())
        if stream is None:
            return
        log.info("stream_ended", stream_id=stream_id)
        if self._thresholds is not None:
            self._thresholds.stream_gone(stream_id)

        async def release() -> None:
            await self._watchers.release(stream_id)

        self._for_watchers.put_nowait(release)
        self._soon_handle(self._context(stream), StreamEnded())

    def _end_missing(self, server: MediaServer, listed: set[str]) -> None:
        """Tell incidents from before a restart whose publication went while nobody looked."""
        for incident in self._engine.open_incidents():
            record = incident.record
            if record.server == server.name and record.stream_id not in listed and record.session:
                context = StreamContext(
                    ref=record.ref,
                    session=record.session,
                    definition=incident.definition,
                    dry_run=record.dry_run,
                    model=self._book.model,
                )
                self._soon_handle(context, StreamEnded())

    def _soon_handle(self, context: StreamContext, event: Event) -> None:
        async def handle() -> None:
            await self._engine.handle(context, event)

        self._for_incidents.put_nowait(handle)

    def _context(self, stream: WatchedStream) -> StreamContext:
        return StreamContext(
            ref=stream.ref,
            session=stream.live.session,
            definition=stream.definition,
            dry_run=stream.dry_run,
            model=stream.model,
            strikes=self._strikes_of(stream.live),
            viewers=stream.live.viewers,
        )

    def context_of(self, stream: WatchedStream, live: bool) -> StreamContext:
        """Return what the engine needs to know of a stream that is live, or was until lately."""
        context = self._context(stream)
        return context if live else replace(context, session="", viewers=0)

    def tell(self, stream: WatchedStream, event: Event) -> None:
        """Tell the incident on a stream, in its turn, what happened elsewhere."""
        self._soon_handle(self._context(stream), event)

    def _now(self) -> float:
        return self._clock.now().timestamp()
