"""What people may ask for and do: incidents, reviews and blocks, as the web layer's ports want them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock, SystemClock
from monitor.daemon import blocking
from monitor.daemon.alerting import Alerting
from monitor.daemon.incident_view import delivery_view, detail_view, incident_view
from monitor.daemon.standing import standing_of
from monitor.daemon.views import utc
from monitor.effects.blocklist import BlockList
from monitor.effects.strikelist import StrikeList
from monitor.effects.strikes import Striking
from monitor.evidence.package import packages_of
from monitor.incidents.engine import IncidentEngine
from monitor.incidents.records import REVIEWS_TAKEN
from monitor.metrics import REVIEW_SECONDS
from monitor.policies import Policies
from monitor.protocol.decision import Reason
from monitor.protocol.events import Reviewed
from monitor.store import acknowledgements, audit, blocks, reports, strikes
from monitor.store import effects as effect_rows
from monitor.store import incidents as incident_rows
from monitor.store.acknowledgements import AcknowledgementRecord
from monitor.store.blocks import BlockRecord
from monitor.store.database import Database
from monitor.store.incidents import IncidentRecord
from monitor.store.strikes import StrikeRecord
from monitor.store.tables import delivery
from monitor.vocabulary import ReviewDecision, ReviewReason, StreamRef
from monitor.web.enforcement_values import BlockView, NewBlock
from monitor.web.port import (
    IncidentDetail,
    IncidentView,
    ReviewOutcome,
    ReviewResult,
)

Title = Callable[[StreamRef], str]

_NOTED = {Reason.REVIEW_NOTED: ReviewOutcome.NOTED, Reason.REVIEW_REPEATED: ReviewOutcome.REPEATED}


@dataclass(frozen=True, slots=True)
class Incidents:
    """Implements `monitor.web.port.IncidentService`. `title` gives a stream's name as people may see it."""

    database: Database
    engine: IncidentEngine
    evidence_root: Path
    title: Title
    clock: Clock = field(default_factory=SystemClock)
    policies: Policies = field(default_factory=Policies)

    async def incidents(
        self, *, limit: int, open_only: bool = False, after: str | None = None
    ) -> Sequence[IncidentView]:
        """Return incidents, newest first; see the port."""
        async with self.database.reading() as connection:
            below = None if after is None else await incident_rows.load(connection, after)
            if after is not None and below is None:
                return []
            records = await incident_rows.newest(connection, limit=limit, open_only=open_only, below=below)
            answered = await acknowledgements.of_incidents(connection, [record.id for record in records])
        return [self._view(record, answered.get(record.id)) for record in records]

    async def incident(self, incident_id: str) -> IncidentDetail | None:
        """Return one incident with its history; see the port."""
        async with self.database.reading() as connection:
            record = await incident_rows.load(connection, incident_id)
            if record is None:
                return None
            answered = await acknowledgements.of_incidents(connection, [incident_id])
            log = await audit.entries(connection, incident_id=incident_id)
            effects = await effect_rows.of_incident(connection, incident_id)
            standing = await standing_of(connection, record, self.engine, at=self.clock.now().timestamp())
            reported = await reports.of_incident(connection, incident_id)
            sent = (
                await connection.execute(
                    select(delivery).where(delivery.c.incident_id == incident_id).order_by(delivery.c.created_at)
                )
            ).all()
        packages = await asyncio.to_thread(packages_of, self.evidence_root, incident_id)
        return detail_view(
            self._view(record, answered.get(incident_id)),
            record,
            log=log,
            effects=effects,
            deliveries=[delivery_view(row) for row in sent],
            packages=packages,
            standing=standing,
            reports=reported,
        )

    async def review(
        self,
        incident_id: str,
        decision: ReviewDecision,
        *,
        by: str,
        why: str,
        reason: ReviewReason = ReviewReason.OTHER,
    ) -> ReviewResult:
        """Record a responder's decision and step the protocol; see the port."""
        asked = self.engine.record_of(incident_id)
        result = await self.engine.review(incident_id, Reviewed(decision=decision, by=by, why=why, reason=reason))
        if asked is not None and not asked.drill and result is not None and result.reason in REVIEWS_TAKEN:
            waited_s = self.clock.now().timestamp() - asked.entered_at
            REVIEW_SECONDS.labels(decision.value).observe(max(0.0, waited_s))
        async with self.database.reading() as connection:
            record = await incident_rows.load(connection, incident_id)
            standing = None
            if record is not None and (result is None or result.reason not in REVIEWS_TAKEN):
                standing = await standing_of(connection, record, self.engine, at=self.clock.now().timestamp())
        if record is None:
            return ReviewResult(ReviewOutcome.UNKNOWN)
        if result is not None and (noted := _NOTED.get(result.reason)) is not None:
            return ReviewResult(
                noted, state=record.state, confirmed_by=tuple(record.review_confirmed_by), people=record.review_people
            )
        view = self._view(record, None)
        if result is None:
            outcome = ReviewOutcome.ALREADY_DECIDED if view.review else ReviewOutcome.CLOSED
        elif result.reason in REVIEWS_TAKEN:
            outcome = ReviewOutcome.ACCEPTED
        else:
            outcome = ReviewOutcome.ALREADY_DECIDED if view.review else ReviewOutcome.NOT_AWAITED
        return ReviewResult(outcome, state=record.state, review=view.review, standing=standing)

    def _view(self, record: IncidentRecord, acknowledged: AcknowledgementRecord | None) -> IncidentView:
        return incident_view(record, self.title(record.ref), self.engine, self.policies, acknowledged)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Implements `monitor.web.port.BlockService`. `on_barred` is called after each block, with whom it bars (None: several)."""

    database: Database
    engine: IncidentEngine
    blocklist: BlockList
    clock: Clock
    title: Title
    alerting: Alerting | None = None
    on_barred: Callable[[StreamRef | None], None] = lambda _ref: None
    striking: Striking | None = None
    standing: StrikeList | None = None

    async def blocks(self) -> Sequence[BlockView]:
        """Return the blocks in force, newest first."""
        async with self.database.reading() as connection:
            active = await blocks.active(connection, at=self.clock.now().timestamp())
        return [self._view(record) for record in active]

    async def add(self, ref: StreamRef, *, until: datetime | None, by: str, why: str) -> BlockView:
        """Block, or change the end of the block in force; durable on return."""
        now = self.clock.now().timestamp()
        added: list[BlockRecord] = []

        async def change(connection: AsyncConnection) -> None:
            added.append(await blocking.add(connection, NewBlock(ref, until, why), at=now, by=by))

        await self.engine.change_block(ref, change)
        self.on_barred(ref)
        return self._view(added[0])

    async def add_many(self, new: Sequence[NewBlock], *, by: str) -> None:
        """Block many publishers in one transaction; durable on return."""
        now = self.clock.now().timestamp()

        async def work(connection: AsyncConnection) -> list[BlockRecord]:
            return [await blocking.add(connection, one, at=now, by=by) for one in new]

        for record in await self.database.write(work):
            self.blocklist.change(record.ref, record.until)
        self.on_barred(None)

    async def remove(self, ref: StreamRef, *, by: str, why: str) -> bool:
        """Lift the block; False when there was none.

        Where an incident under way made the block, lifting it dismisses that incident: its protocol would take the
        publisher's return for an evasion, and cut again whom a person has just let in.
        """
        dismissed = await self._dismiss_cause(ref, by=by, why=why)
        now = self.clock.now().timestamp()
        lifted = 0
        undone: list[StrikeRecord] = []

        async def change(connection: AsyncConnection) -> None:
            nonlocal lifted
            causes = {block.incident_id for block in await blocks.active(connection, at=now) if block.ref == ref}
            if self.striking is not None:
                # Whoever is let in before the time has not been punished: the strike of the same decision goes, too.
                made = await strikes.of_blocks(connection, ref, at=now)
                undone.extend(await self.striking.lift(connection, made, at=now, by=by, why=why))
            lifted = await blocking.lift(connection, ref, at=now, by=by, why=why)
            if lifted:
                await self._withdraw(connection, causes, at=now)

        await self.engine.change_block(ref, change)
        if self.standing is not None:
            self.standing.take(undone)
        return dismissed or lifted > 0

    async def take_back(self, incident_id: str, *, by: str, why: str) -> None:
        """Undo what one incident did to its publisher: its block and its strike. Whoever was alerted of it is told.

        One under way is dismissed, and undoes it by itself; see `remove`.
        """
        async with self.database.reading() as connection:
            record = await incident_rows.load(connection, incident_id)
        if record is None:
            return
        incident = self.engine.open_incident(record.stream_id)
        if incident is not None and incident.record.id == incident_id:
            await self.engine.review(incident_id, Reviewed(decision=ReviewDecision.DISMISS, by=by, why=why))
        now = self.clock.now().timestamp()
        undone: list[StrikeRecord] = []

        async def change(connection: AsyncConnection) -> None:
            made = await strikes.of_incident(connection, incident_id)
            if self.striking is not None:
                undone.extend(await self.striking.lift(connection, made, at=now, by=by, why=why))
            lifted = await blocking.lift_of_incident(connection, record, at=now, by=by, why=why)
            if undone or lifted:
                await self._withdraw(connection, {incident_id}, at=now)

        await self.engine.change_block(record.ref, change)
        if self.standing is not None:
            self.standing.take(undone)

    async def _withdraw(self, connection: AsyncConnection, incident_ids: set[str | None], *, at: float) -> None:
        """Tell those who were told of a closed incident that its publisher may be back; one under way tells by itself."""
        for incident_id in sorted(one for one in incident_ids if one is not None):
            record = await incident_rows.load(connection, incident_id)
            if record is None or record.closed_at is None or self.alerting is None:
                continue
            # Receivers keep the state with the highest number.
            record = replace(record, sequence=record.sequence + 1, changed_at=at)
            await incident_rows.save(connection, record, {})
            await self.alerting.tell_released(connection, record, at=at)

    def is_blocked(self, ref: StreamRef) -> bool:
        """Answer from memory."""
        return self.blocklist.is_blocked(ref)

    async def _dismiss_cause(self, ref: StreamRef, *, by: str, why: str) -> bool:
        incident = self.engine.open_incident(ref.stream_id)
        if incident is None:
            return False
        async with self.database.reading() as connection:
            active = await blocks.active(connection, at=self.clock.now().timestamp())
        if not any(block.ref == ref and block.incident_id == incident.record.id for block in active):
            return False
        dismissal = Reviewed(decision=ReviewDecision.DISMISS, by=by, why=why)
        result = await self.engine.review(incident.record.id, dismissal)
        return result is not None and result.reason in REVIEWS_TAKEN

    def _view(self, record: BlockRecord) -> BlockView:
        return BlockView(
            ref=record.ref,
            title=self.title(record.ref),
            since=utc(record.created_at),
            until=None if record.until >= blocking.NEVER else utc(record.until),
            by=record.by,
            why=record.why,
            incident_id=record.incident_id,
        )
