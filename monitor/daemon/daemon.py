"""The daemon: builds every part, starts them in order, and stops them in the opposite one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import sdnotify
import structlog

from monitor import __version__
from monitor.alerts.outbox import Outbox
from monitor.clock import Clock, SystemClock
from monitor.daemon.barring import Barring, is_contained
from monitor.daemon.containment import Containment
from monitor.daemon.deliveries import Deliveries
from monitor.daemon.discovery import Discovery
from monitor.daemon.drills import Drills
from monitor.daemon.evidence import kept_of, kept_video_of
from monitor.daemon.gate import Gate
from monitor.daemon.gauges import Gauges
from monitor.daemon.keeper import Keeper
from monitor.daemon.media_servers import discoveries_of, open_media_servers
from monitor.daemon.model_swap import ModelSwap
from monitor.daemon.parts import Parts
from monitor.daemon.people import People
from monitor.daemon.performers import performers_of
from monitor.daemon.priorities import Priorities
from monitor.daemon.promptness import Promptness
from monitor.daemon.pulse import Pulse
from monitor.daemon.reloading import Reload
from monitor.daemon.retention import Retention
from monitor.daemon.services import Blocks, Incidents
from monitor.daemon.shadow import ShadowJudge
from monitor.daemon.stopping import bounded, wind_down
from monitor.daemon.streams import StreamRegistry
from monitor.daemon.strikes import Strikes
from monitor.daemon.thresholds import Thresholds, applications_of, budgets_of
from monitor.daemon.views import MemoryView, Vitals
from monitor.effects.block_teller import BlockTeller
from monitor.effects.blocklist import BlockList
from monitor.effects.doorkeeper import Doorkeeper
from monitor.effects.drill import sparing_drills
from monitor.effects.preserve import Kept, KeptVideo
from monitor.effects.runner import EffectRunner
from monitor.effects.strikelist import StrikeList
from monitor.incidents.engine import IncidentEngine
from monitor.incidents.records import OpenIncident
from monitor.protocol.decision import Decision
from monitor.servers.port import MediaServer
from monitor.store.blocks import BlockRecord
from monitor.store.database import Database
from monitor.store.effects import EffectRecord
from monitor.store.ownership import sole_owner
from monitor.store.strikes import StrikeRecord
from monitor.vocabulary import StreamRef
from monitor.watch.messages import Observation, WatcherFault
from monitor.watch.supervisor import Watchers
from monitor.web.changes import ChangeSignal
from monitor.web.server import WebServer

_EVIDENCE_DEADLINE_S: Final = 5.0
_VIDEO_DEADLINE_S: Final = 15.0
_CUT_GUARD_MARGIN_S: Final = 30.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that has started: where it is reached."""

    url: str
    gate_url: Callable[[str], str]


class Daemon:
    """One whole daemon in this process."""

    def __init__(self, parts: Parts, clock: Clock | None = None) -> None:
        """Put the parts together; nothing starts before `run`."""
        config = parts.config
        self._parts = parts
        self._clock = clock = clock or SystemClock()
        self._changes = ChangeSignal()
        self._vitals = Vitals(heartbeat_s=clock.monotonic_s())
        self._servers: dict[str, MediaServer] = {}
        self._discoveries: dict[str, Discovery] = {}
        self._database = Database(parts.store)
        self._strikes = StrikeList(clock, parts.enforcement.identifier)
        self._blocks = BlockList(clock, self._strikes)
        self._registry = StreamRegistry(config.watch, remember_ended_s=config.reports.remember_ended)
        self._striking = parts.enforcement.striking(self._registry.address_of)
        self._outbox = Outbox(self._database, parts.receivers, clock)
        guard_s = config.effects.cut_deadline + max(_CUT_GUARD_MARGIN_S, config.effects.hold_off)
        self._people = people = People(
            parts, self._database, clock, guard_s, self._changes.notify, striking=self._striking
        )
        self._engine = IncidentEngine(self._database, clock, people.decided, self, parts.enforcement.policies)
        people.attach(self._engine)
        self._containment = Containment.of(config, self._registry, self._discoveries)
        self._dry_run_servers = frozenset(name for name, one in parts.policies.items() if one.dry_run)
        self._outbox.on_disabled, people.on_told = people.alerting.tell_disabled, self._outbox.wake
        self._doorkeeper = Doorkeeper(
            self._database,
            self._blocks,
            clock,
            dry_run_servers=self._dry_run_servers,
            restraints=people.restraints,
            is_contained=lambda stream_id: is_contained(self._engine, stream_id),
            containment=self._containment,
        )
        self._shadow = ShadowJudge(lambda stream_id: self._keeper.rules_on(stream_id))  # noqa: PLW0108 - made later
        self._watchers = Watchers(
            parts.watch,
            clock,
            on_observation=self._on_observation,
            on_status=lambda status: self._keeper.on_status(status),  # noqa: PLW0108 - made later
            on_fault=self._on_fault,
            on_model=lambda stream_id, model: self._keeper.on_model(stream_id, model),  # noqa: PLW0108 - see above
            on_shadow=self._shadow.take,
        )
        self._promptness = Promptness(self._engine, clock)
        performers = performers_of(
            config, self._servers, clock, self._engine, people, evidence=self, containment=self._containment
        )
        self._runner = EffectRunner(
            self._database, clock, sparing_drills(performers), self._promptness.finish, self._engine
        )
        self._thresholds = Thresholds(
            rules=parts.rules,
            budgets=budgets_of(config.detection),
            applications=applications_of(config),
            model=parts.package.name,
            digest=parts.package.score_digest,
            database=self._database,
            clock=clock,
            has_incident=lambda stream_id: self._engine.open_incident(stream_id) is not None,
        )
        self._keeper = Keeper(
            registry=self._registry,
            servers=self._servers,
            policies=parts.policies,
            rules=parts.rules,
            model=parts.package.name,
            watchers=self._watchers,
            engine=self._engine,
            clock=clock,
            on_live=self._doorkeeper.on_live,
            on_change=self._changes.notify,
            thresholds=self._thresholds,
            strikes_of=self._strikes.of_live,
            promptness=self._promptness,
            floor=people.floor,
        )
        people.hear_partners(self._keeper, self._registry, self._blocks, self._outbox)
        listed = self._keeper.on_listing
        self._weighed = Priorities(self._registry, self._watchers, clock, self._strikes.of_live, listed)
        self._barring = Barring(
            self._registry, self._servers, self._engine, self._doorkeeper, self._keeper, self._strikes, self._changes
        )
        self._thresholds.on_change = self._keeper.use_rules
        self._models = ModelSwap(
            parts,
            self._watchers,
            keeper=self._keeper,
            shadow=self._shadow,
            thresholds=self._thresholds,
            database=self._database,
            clock=clock,
        )
        self._pulse = Pulse(
            vitals=self._vitals,
            plan=parts.watch,
            watchers=self._watchers,
            engine=self._engine,
            blocks=self._blocks,
            database=self._database,
            clock=clock,
        )
        self._gauges = Gauges(parts, self._engine, self._registry, self._database, clock)
        self._reload = Reload(
            parts, keeper=self._keeper, models=self._models, people=people, outbox=self._outbox, clock=clock
        )

    @property
    def configuration(self) -> Reload:
        """Takes another configuration into use while the daemon runs."""
        return self._reload

    @property
    def models(self) -> ModelSwap:
        """Takes other models into use while the daemon runs."""
        return self._models

    async def run(self, stop: asyncio.Event, on_running: Callable[[Running], Awaitable[None]] | None = None) -> None:
        """Run until `stop` is set or a part fails beyond repair.

        What is under way then stays in the store and is finished by the next start. Cancellation stops likewise.

        Args:
            stop: Ends the daemon.
            on_running: Called once, when everything listens and the first watcher scores.

        Raises:
            ConfigError: an address cannot be listened on.
            StoreError: the store cannot be opened, or another daemon uses it.
            MediaServerError: the embedded relay cannot be started.
        """
        self._gauges.begin()
        config = self._parts.config
        notifier = sdnotify.SystemdNotifier()
        async with AsyncExitStack() as stack:
            asked_to_stop = stack.enter_context(bounded())
            stack.enter_context(sole_owner(self._parts.store))
            await stack.enter_async_context(self._database)
            await self._database.claim()
            await self._engine.load()
            await self._people.load()
            await self._people.auditing.begin(self._parts)
            await self._thresholds.load()
            await stack.enter_async_context(self._outbox)
            await stack.enter_async_context(self._containment.remains)
            web = await stack.enter_async_context(self._web_server())
            key = self._parts.enforcement.identifier.derived_key("held streams")
            self._servers.update(await open_media_servers(stack, config, gate_url=web.gate_url, key=key))
            self._discoveries.update(
                discoveries_of(config, self._servers, self._clock, self._weighed.on_listing, self._containment.is_read)
            )
            await stack.enter_async_context(self._watchers)
            log.info("daemon_started", version=__version__, dry_run=config.dry_run, servers=sorted(self._servers))
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(work)
                    for work in (
                        self._engine.run(),
                        self._runner.run(),
                        self._keeper.run(),
                        self._keeper.measure(),
                        self._doorkeeper.run(),
                        BlockTeller(self._blocks, self._servers, self._clock, self._dry_run_servers).run(),
                        self._thresholds.run(),
                        *self._people.loops(),
                        self._pulse.beat(notifier),
                        self._pulse.check_store(),
                        self._gauges.run(),
                        Retention(config, self._engine, self._database, self._clock).run(),
                        self._announce(web, notifier, on_running),
                        *(discovery.probe() for discovery in self._discoveries.values()),
                    )
                ]
                discovering = [group.create_task(discovery.run()) for discovery in self._discoveries.values()]
                await stop.wait()
                asked_to_stop.set()
                self._vitals.draining = True
                notifier.notify("STOPPING=1")
                await wind_down(discovering, self._runner, self._keeper, self._thresholds)
                await self._people.auditing.keep(last=True)
                for task in tasks:
                    task.cancel()

    def committed(self, incident: OpenIncident, decision: Decision) -> None:
        """Take note of a decision; see `monitor.incidents.engine.EngineListener`."""
        if decision.effects:
            self._runner.wake()
            self._outbox.wake()
        self._people.committed(incident, decision)
        self._promptness.decided(incident, decision)
        if not incident.record.drill:
            self._thresholds.incident_changed(incident.record)
        self._keeper.refresh_posture(incident.record.stream_id)
        self._changes.notify()

    def asked(self, incident: OpenIncident, effects: Sequence[EffectRecord]) -> None:
        """Begin what a decision asks for; see `monitor.incidents.engine.EngineListener`."""
        self._runner.take(effects, incident.record)

    def uncommitted(self, incident: OpenIncident, effects: Sequence[EffectRecord], barred_until: float | None) -> None:
        """Act on a decision without the store; see `monitor.incidents.engine.EngineListener`."""
        self._vitals.store_ok = False
        if barred_until is not None:
            self._blocks.extend(incident.record.ref, barred_until)
        self._runner.hand(effects)
        self._keeper.refresh_posture(incident.record.stream_id)
        self._changes.notify()

    def blocks_loaded(self, active: Sequence[BlockRecord]) -> None:
        """Let the gate know the blocks in force; see `monitor.incidents.engine.EngineListener`."""
        self._blocks.replace(active)

    def block_changed(self, ref: StreamRef, until: float | None) -> None:
        """Let the gate know of one publisher; see `monitor.incidents.engine.EngineListener`."""
        self._blocks.change(ref, until)
        self._changes.notify()

    def strikes_changed(self, records: Sequence[StrikeRecord]) -> None:
        """Let the gate know of strikes; see `monitor.incidents.engine.EngineListener`."""
        self._strikes.take(records)

    async def kept(self, stream_id: str) -> Kept:
        """Ask a stream's watcher for its last minute; see `monitor.effects.preserve.EvidenceSource`."""
        evidence = await self._watchers.evidence(stream_id, _EVIDENCE_DEADLINE_S)
        return kept_of(evidence, self._watchers.labels_of(stream_id))

    @asynccontextmanager
    async def kept_video(self, stream_id: str) -> AsyncIterator[KeptVideo]:
        """Have a stream's last minute handed over; see `monitor.effects.preserve.VideoSource`."""
        async with self._watchers.video(stream_id, _VIDEO_DEADLINE_S) as handed_over:
            yield kept_video_of(handed_over, stream_id, self._parts.watch.ring_bytes)

    def _web_server(self) -> WebServer:
        config = self._parts.config
        view = MemoryView(
            registry=self._registry,
            discoveries=self._discoveries,
            engine=self._engine,
            vitals=self._vitals,
            dry_run_servers={server.name: server.dry_run for server in config.servers},
            dry_run=config.dry_run,
            clock=self._clock,
            changes=self._changes,
            restraints=self._people.restraints,
            thresholds=self._thresholds.views,
        )
        blocks = Blocks(
            self._database,
            self._engine,
            self._blocks,
            self._clock,
            self._parts.title,
            self._people.alerting,
            self._barring.carry_out,
            self._striking,
            self._strikes,
        )
        return WebServer(
            self._parts.web,
            daemon=view,
            incidents=Incidents(
                self._database,
                self._engine,
                config.evidence_directory,
                self._parts.title,
                self._clock,
                self._parts.enforcement.policies,
            ),
            blocks=blocks,
            quiet=self._people.quiet,
            deliveries=Deliveries(self._database, self._outbox, self._clock),
            partners=self._people.partners,
            acknowledgements=self._people.acknowledging,
            drills=Drills(self._registry, self._servers, self._engine, self._parts),
            gate=Gate(
                self._servers, self._blocks, self._dry_run_servers, self._containment.on_publish, is_sure=self._is_sure
            ),
            clock=self._clock,
            strikes=Strikes(
                self._database,
                self._striking,
                self._strikes,
                self._clock,
                self._barring.carry_out,
                blocks.take_back,
            ),
            reports=self._parts.enforcement.reports(
                self._database, self._engine, self._registry, self._clock, self._keeper.context_of
            ),
        )

    async def _announce(
        self,
        web: WebServer,
        notifier: sdnotify.SystemdNotifier,
        on_running: Callable[[Running], Awaitable[None]] | None,
    ) -> None:
        while not await self._watchers.wait_ready(self._parts.watch.ready_timeout_s):
            log.error("no_watcher_ready", waited_s=self._parts.watch.ready_timeout_s)
        self._vitals.started = True
        notifier.notify("READY=1")
        self._reload.begin()
        log.info("daemon_ready", model=self._watchers.model)
        if on_running is not None:
            await on_running(Running(url=web.url, gate_url=web.gate_url))

    def _on_observation(self, observation: Observation, labels: tuple[str, ...]) -> None:
        self._vitals.classifier_fault = ""
        self._keeper.on_observation(observation, labels)

    def _on_fault(self, fault: WatcherFault) -> None:
        log.error("watcher_fault", reason=fault.reason)
        if fault.reason.startswith("classifier"):
            self._vitals.classifier_fault = fault.reason
        self._changes.notify()

    def _is_sure(self) -> bool:
        return self._vitals.store_ok or not self._parts.web.gate_fails_closed
