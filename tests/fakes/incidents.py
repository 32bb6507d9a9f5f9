"""An incident engine on a store that can refuse, with listeners and alerts that only take notes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.effects.decided import DecidedEffects
from monitor.effects.port import EffectResult
from monitor.incidents.engine import IncidentEngine
from monitor.incidents.records import OpenIncident, StreamContext
from monitor.protocol.decision import Decision, Reason
from monitor.protocol.definition import Definition
from monitor.protocol.events import DetectionCleared, DetectionRaised
from monitor.store import audit, effects, incidents
from monitor.store.blocks import BlockRecord
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.store.strikes import StrikeRecord
from monitor.vocabulary import EffectKind, EffectOutcome, Severity, StreamRef
from tests.fakes.clock import ManualClock
from tests.fakes.protocols import shipped
from tests.fakes.store import CAM1, FlakyDatabase, flaky_store

ACT = DetectionRaised("violence", Severity.ACT, 0.95)
REVIEW = DetectionRaised("violence", Severity.REVIEW, 0.7)
CLEARED = DetectionCleared("violence", Severity.NONE)


def context(
    protocol: str | Definition = "assisted", *, ref: StreamRef = CAM1, session: str = "s1", dry_run: bool = False
) -> StreamContext:
    """A stream under a shipped protocol."""
    definition = shipped()[protocol] if isinstance(protocol, str) else protocol
    return StreamContext(ref=ref, session=session, definition=definition, dry_run=dry_run, model="toy@1")


@dataclass
class TakenNotes:
    """Listener and alert queue that remember what they heard."""

    decisions: list[Decision] = field(default_factory=list)
    blocks: dict[StreamRef, float | None] = field(default_factory=dict)
    loaded: list[BlockRecord] = field(default_factory=list)
    strikes: dict[str, StrikeRecord] = field(default_factory=dict)
    alerts: list[tuple[str, IncidentRecord, Reason]] = field(default_factory=list)
    unwritten: list[tuple[IncidentRecord, list[EffectKind], float | None]] = field(default_factory=list)
    handed: list[EffectRecord] = field(default_factory=list)
    on_commit: Callable[[], None] = lambda: None
    on_asked: Callable[[Sequence[EffectRecord], IncidentRecord], None] = lambda effects, incident: None
    on_handed: Callable[[Sequence[EffectRecord]], None] = lambda effects: None

    def committed(self, incident: OpenIncident, decision: Decision) -> None:
        assert incident.record.id
        self.decisions.append(decision)
        self.on_commit()

    def asked(self, incident: OpenIncident, effects: Sequence[EffectRecord]) -> None:
        self.on_asked(effects, incident.record)

    def uncommitted(self, incident: OpenIncident, effects: Sequence[EffectRecord], barred_until: float | None) -> None:
        self.unwritten.append((incident.record, [effect.kind for effect in effects], barred_until))
        self.handed += effects
        self.on_handed(effects)

    def blocks_loaded(self, active: Sequence[BlockRecord]) -> None:
        self.loaded = list(active)

    def strikes_changed(self, records: Sequence[StrikeRecord]) -> None:
        self.strikes |= {record.id: record for record in records}

    def block_changed(self, ref: StreamRef, until: float | None) -> None:
        self.blocks[ref] = until

    async def enqueue(
        self, connection: AsyncConnection, effect: EffectRecord, incident: IncidentRecord, reason: Reason
    ) -> None:
        assert connection.in_transaction()
        self.alerts.append((str(effect.parameters["event"]), incident, reason))

    @property
    def states(self) -> list[str]:
        return [decision.after.state for decision in self.decisions]


@dataclass
class Bench:
    """An engine and everything around it."""

    path: Path | URL
    database: FlakyDatabase
    clock: ManualClock
    notes: TakenNotes
    engine: IncidentEngine

    @property
    def now(self) -> float:
        return self.clock.now().timestamp()

    async def effects(self) -> list[EffectRecord]:
        """Every effect of every incident, in order."""
        async with self.database.reading() as connection:
            ids = (await connection.execute(text("SELECT id FROM incident ORDER BY opened_at"))).scalars().all()
            return [effect for one in ids for effect in await effects.of_incident(connection, one)]

    async def records(self) -> list[IncidentRecord]:
        """Every incident, oldest first."""
        async with self.database.reading() as connection:
            return list(reversed(await incidents.newest(connection, limit=500)))

    async def log(self) -> list[audit.AuditEntry]:
        async with self.database.reading() as connection:
            return await audit.entries(connection)

    async def deadlines(self) -> dict[str, float]:
        async with self.database.reading() as connection:
            return {key: due for _, due_of in await incidents.load_open(connection) for key, due in due_of.items()}

    async def finish(
        self, kind: EffectKind, outcome: EffectOutcome = EffectOutcome.SUCCEEDED, **detail: Any
    ) -> EffectRecord:
        """End the oldest pending effect of `kind`."""
        effect = next(one for one in await self.effects() if one.kind is kind and one.status == effects.PENDING)
        await self.engine.finish_effect(effect, EffectResult(outcome, detail))
        return effect


@asynccontextmanager
async def bench(path: Path | URL, clock: ManualClock | None = None) -> AsyncIterator[Bench]:
    """A loaded engine on the store at `path`."""
    async with flaky_store(path) as database:
        clock = clock or ManualClock()
        notes = TakenNotes()
        engine = IncidentEngine(database, clock, DecidedEffects(notes, 60.0), notes)
        await engine.load()
        yield Bench(path, database, clock, notes, engine)
