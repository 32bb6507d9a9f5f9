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
from monitor.daemon.alerting import Alerting
from monitor.daemon.incident_view import delivery_view, detail_view, incident_view
from monitor.daemon.standing import standing_of
from monitor.daemon.views import utc
from monitor.effects.blocklist import BlockList
from monitor.evidence.package import packages_of
from monitor.incidents.engine import IncidentEngine
from monitor.incidents.records import REVIEWS_TAKEN
from monitor.protocol.decision import Reason
from monitor.protocol.events import Reviewed
from monitor.store import audit, blocks
from monitor.store import effects as effect_rows
from monitor.store import incidents as incident_rows
from monitor.store.blocks import BlockRecord
from monitor.store.database import Database
from monitor.store.tables import delivery
from monitor.vocabulary import ReviewDecision, ReviewReason, StreamRef
from monitor.web.port import (
    BlockView,
    IncidentDetail,
    IncidentView,
    ReviewOutcome,
    ReviewResult,
)

Title = Callable[[StreamRef], str]

_NOTED = {Reason.REVIEW_NOTED: ReviewOutcome.NOTED, Reason.REVIEW_REPEATED: ReviewOutcome.REPEATED}

_NEVER = 253_370_764_800.0
"""Unix time of the year 9999: a block without an end."""


@dataclass(frozen=True, slots=True)
class Incidents:
    """Implements `monitor.web.port.IncidentService`. `title` gives a stream's name as people may see it."""

    database: Database
    engine: IncidentEngine
    evidence_root: Path
    title: Title
    clock: Clock = field(default_factory=SystemClock)

    async def incidents(
        self, *, limit: int, open_only: bool = False, after: str | None = None
    ) -> Sequence[IncidentView]:
        """Return incidents, newest first; see the port."""
        async with self.database.reading() as connection:
            below = None if after is None else await incident_rows.load(connection, after)
            if after is not None and below is None:
                return []
            records = await incident_rows.newest(connection, limit=limit, open_only=open_only, below=below)
        return [incident_view(record, self.title(record.ref), self.engine) for record in records]

    async def incident(self, incident_id: str) -> IncidentDetail | None:
        """Return one incident with its history; see the port."""
        async with self.database.reading() as connection:
            record = await incident_rows.load(connection, incident_id)
            if record is None:
                return None
            log = await audit.entries(connection, incident_id=incident_id)
            effects = await effect_rows.of_incident(connection, incident_id)
            standing = await standing_of(connection, record, self.engine, at=self.clock.now().timestamp())
            sent = (
                await connection.execute(
                    select(delivery).where(delivery.c.incident_id == incident_id).order_by(delivery.c.created_at)
                )
            ).all()
        packages = await asyncio.to_thread(packages_of, self.evidence_root, incident_id)
        return detail_view(
            incident_view(record, self.title(record.ref), self.engine),
            record,
            log=log,
            effects=effects,
            deliveries=[delivery_view(row) for row in sent],
            packages=packages,
            standing=standing,
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
        result = await self.engine.review(incident_id, Reviewed(decision=decision, by=by, why=why, reason=reason))
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
        view = incident_view(record, self.title(record.ref), self.engine)
        if result is None:
            outcome = ReviewOutcome.ALREADY_DECIDED if view.review else ReviewOutcome.CLOSED
        elif result.reason in REVIEWS_TAKEN:
            outcome = ReviewOutcome.ACCEPTED
        else:
            outcome = ReviewOutcome.ALREADY_DECIDED if view.review else ReviewOutcome.NOT_AWAITED
        return ReviewResult(outcome, state=record.state, review=view.review, standing=standing)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Implements `monitor.web.port.BlockService`."""

    database: Database
    engine: IncidentEngine
    blocklist: BlockList
    clock: Clock
    title: Title
    alerting: Alerting | None = None

    async def blocks(self) -> Sequence[BlockView]:
        """Return the blocks in force, newest first."""
        async with self.database.reading() as connection:
            active = await blocks.active(connection, at=self.clock.now().timestamp())
        return [self._view(record) for record in active]

    async def add(self, ref: StreamRef, *, until: datetime | None, by: str, why: str) -> BlockView:
        """Block, or change the end of the block in force; durable on return."""
        now = self.clock.now().timestamp()
        end = _NEVER if until is None else until.timestamp()
        added: list[BlockRecord] = []

        async def change(connection: AsyncConnection) -> None:
            await blocks.lift_of_publisher(connection, ref, at=now, by=by, why="replaced by a new block")
            added.append(await blocks.add(connection, ref, at=now, until=end, by=by, why=why))
            await audit.append(
                connection,
                at=now,
                actor=by,
                action="block_added",
                incident_id=None,
                detail={"stream_id": ref.stream_id, "until": end, "why": why},
            )

        await self.engine.change_block(ref, change)
        return self._view(added[0])

    async def remove(self, ref: StreamRef, *, by: str, why: str) -> bool:
        """Lift the block; False when there was none.

        Where an incident under way made the block, lifting it dismisses that incident: its protocol would take the
        publisher's return for an evasion, and cut again whom a person has just let in.
        """
        dismissed = await self._dismiss_cause(ref, by=by, why=why)
        now = self.clock.now().timestamp()
        lifted = 0

        async def change(connection: AsyncConnection) -> None:
            nonlocal lifted
            causes = {block.incident_id for block in await blocks.active(connection, at=now) if block.ref == ref}
            lifted = await blocks.lift_of_publisher(connection, ref, at=now, by=by, why=why)
            if lifted:
                await audit.append(
                    connection,
                    at=now,
                    actor=by,
                    action="block_lifted",
                    incident_id=None,
                    detail={"stream_id": ref.stream_id, "why": why},
                )
                await self._withdraw(connection, causes, at=now)

        await self.engine.change_block(ref, change)
        return dismissed or lifted > 0

    async def _withdraw(self, connection: AsyncConnection, incident_ids: set[str | None], *, at: float) -> None:
        """Tell those who were told of a closed incident that its block is lifted; one under way tells by itself."""
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
            until=None if record.until >= _NEVER else utc(record.until),
            by=record.by,
            why=record.why,
            incident_id=record.incident_id,
        )
