"""What ties the daemon to its people: alerts and their routing, pauses, silences, and reviews that are passed on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.alerts.outbox import Outbox
from monitor.alerts.pagerduty import PagerDuty
from monitor.alerts.routing import Routing
from monitor.clock import Clock
from monitor.daemon.acknowledging import Acknowledging
from monitor.daemon.alerting import Alerting
from monitor.daemon.auditing import Auditing
from monitor.daemon.keeper import Keeper
from monitor.daemon.ladder import Ladder
from monitor.daemon.partners import Partners
from monitor.daemon.parts import Parts
from monitor.daemon.peers import told_by
from monitor.daemon.quiet import Quiet
from monitor.daemon.reminding import Reminding
from monitor.daemon.streams import StreamRegistry
from monitor.daemon.work_alerts import WorkAlerts
from monitor.effects.blocklist import BlockList
from monitor.effects.decided import DecidedEffects
from monitor.effects.pausable import PausablePerformer
from monitor.effects.port import Performer
from monitor.effects.restraint import Restraints
from monitor.effects.strikes import Striking
from monitor.incidents.engine import IncidentEngine
from monitor.incidents.records import OpenIncident
from monitor.protocol.decision import Decision
from monitor.store.database import Database
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import Posture, StreamRef


class People:
    """Builds these parts and ties them to the engine.

    Attributes:
        restraints: What is paused and silenced.
        alerting: Writes alerts.
        acknowledging: Takes acknowledgements.
        quiet: Pauses and silences, for the web layer.
        decided: Writes the rows of effects.
        auditing: Keeps the audit log's head.
        on_told: Called when alerts were written that are no effect's, so that they go at once.
        partners: Other platforms; None where there are none.
    """

    def __init__(
        self,
        parts: Parts,
        database: Database,
        clock: Clock,
        guard_s: float,
        on_change: Callable[[], None],
        *,
        striking: Striking,
    ) -> None:
        """Put the parts together.

        Args:
            parts: What the configuration names.
            database: The store.
            clock: For all of them.
            guard_s: See `DecidedEffects.cut_guard_s`.
            on_change: Called whenever a page would look different.
            striking: What a block under a grave policy leads to.
        """
        config = parts.config
        self._database = database
        self._clock = clock
        self.restraints = Restraints(clock)
        self.alerting = Alerting(
            source=config.alerts.source,
            receivers=(),
            secret_name_servers=frozenset(name for name, one in parts.policies.items() if one.names_are_secret),
            page_url=config.alerts.page_url,
            restraints=self.restraints,
            policies=parts.enforcement.policies,
        )
        self.acknowledging = Acknowledging(database, self.alerting, clock)
        self.on_told: Callable[[], None] = lambda: None
        self.acknowledging.on_change = self._acknowledged
        self._on_change = on_change
        self.alerting.acknowledged_at = self.acknowledging.at
        self._use_receivers(parts)
        self.decided = DecidedEffects(
            self.alerting, guard_s, self.restraints.is_paused, striking, WorkAlerts(self.alerting)
        )
        self.quiet = Quiet(
            database, self.restraints, clock, longest_s=config.responders.longest_silence, on_change=on_change
        )
        self.auditing = Auditing(database, config.data_dir, clock)
        self.partners: Partners | None = None
        self._peers = parts.peers
        self._on_change = on_change
        self._engine: IncidentEngine | None = None
        self._ladder: Ladder | None = None
        self._reminding: Reminding | None = None

    def attach(self, engine: IncidentEngine) -> None:
        """Follow this engine's incidents."""
        self._engine = engine
        routing = self.alerting.routing
        self._ladder = Ladder(
            self._database, engine, self.alerting, self._clock, routing=routing, answers=self.acknowledging
        )
        self._ladder.on_told = self._told
        self._reminding = Reminding(
            self._database,
            engine,
            self.alerting,
            self._clock,
            acknowledging=self.acknowledging,
            routing=routing,
        )
        self._reminding.on_told = self._told

    def hear_partners(self, keeper: Keeper, registry: StreamRegistry, blocks: BlockList, outbox: Outbox) -> None:
        """Take the word of partners, if there are any; `attach` first."""
        if self._peers and self._engine is not None:
            self.partners = Partners(
                self._database,
                self._engine,
                registry,
                self._clock,
                self._peers,
                source=self.alerting.source,
                context_of=keeper.context_of,
                is_blocked=blocks.is_blocked,
                refresh=keeper.refresh_posture,
                on_change=self._on_change,
                on_enqueued=outbox.wake,
            )

    def floor(self, ref: StreamRef) -> Posture:
        """Return how closely a stream is to be watched at least, because of what partners say."""
        return Posture.CALM if self.partners is None else self.partners.floor(ref)

    def pausable(self, inner: Performer) -> PausablePerformer:
        """Return a performer that rests while containment is paused."""
        return PausablePerformer(
            inner, self.restraints, self._database, self._clock, is_wanted=self._wants, make_up=self._make_up
        )

    def _told(self) -> None:
        self.on_told()

    def _acknowledged(self) -> None:
        self.on_told()
        if self._ladder is not None:
            self._ladder.wake()
        if self._reminding is not None:
            self._reminding.wake()
        self._on_change()

    async def load(self) -> None:
        """Take up what was in force when the daemon last stopped; before anything acts.

        Raises:
            StoreError: the store cannot be read.
        """
        await self.quiet.load()
        await self.acknowledging.load()
        if self.partners is not None:
            await self.partners.load()

    def loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Return what is to run for as long as the daemon does; `attach` first."""
        assert self._ladder is not None  # noqa: S101 - see above
        assert self._reminding is not None  # noqa: S101
        loops = (self.quiet.run(), self._ladder.run(), self._reminding.run(), self.auditing.run())
        return loops if self.partners is None else (*loops, self.partners.run())

    def committed(self, incident: OpenIncident, decision: Decision) -> None:
        """Look at incidents again; call it after each commit."""
        if self.partners is not None:
            self.partners.decided(incident, decision)
        if self._ladder is not None:
            self._ladder.wake()
        if self._reminding is not None:
            self._reminding.wake()

    def use(self, parts: Parts) -> None:
        """Tell people as this configuration says, from now on."""
        config = parts.config
        self.alerting.source = config.alerts.source
        self.alerting.page_url = config.alerts.page_url
        self._use_receivers(parts)
        self.quiet.longest_s = config.responders.longest_silence
        if self._ladder is not None:
            self._ladder.use(self.alerting.routing)
        if self._reminding is not None:
            self._reminding.use(self.alerting.routing)

    def _use_receivers(self, parts: Parts) -> None:
        self.alerting.receivers = tuple(receiver.name for receiver in parts.receivers)
        self.alerting.routing = Routing.of(told_by(parts.config), parts.config.responders.groups)
        self.acknowledging.links = parts.links
        self.acknowledging.webhook_secrets = {
            receiver.name: receiver.webhook_secrets for receiver in parts.receivers if isinstance(receiver, PagerDuty)
        }

    async def _wants(self, effect: EffectRecord) -> bool:
        """Whether an effect's incident is open, has not asked for the same thing again, and has not withdrawn it."""
        engine = self._engine
        record = None if engine is None else engine.record_of(effect.incident_id)
        if engine is None or record is None:
            return False
        incident = engine.open_incident(record.stream_id)
        newest = None if incident is None else incident.state.asked.get(effect.kind)
        if newest is not None and newest != int(effect.key.partition(".")[0]):
            return False
        return await engine.is_wanted(effect.id)

    async def _make_up(self, effect: EffectRecord, incident: IncidentRecord) -> None:
        asked_now = replace(effect, requested_at=self._clock.now().timestamp())

        async def change(connection: AsyncConnection) -> None:
            await self.decided.make_up(connection, asked_now, incident)

        if self._engine is not None:
            await self._engine.change_block(incident.ref, change)
