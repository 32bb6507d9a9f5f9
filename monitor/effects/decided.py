"""What effects write in the very transaction of the decision that asked for them.

A block, a lifted block, an alert in the outbox and a review's due time are rows: committed together with the
transition, none of them can be lost or done twice, whatever dies afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.effects.strikes import Striking
from monitor.protocol.decision import Reason
from monitor.protocol.events import Event
from monitor.store import blocks
from monitor.store import effects as effect_rows
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectKind

DEFAULT_BLOCK_S = 30 * 86_400.0
"""One strike: 30 days from the decision, where the protocol says nothing else."""

CHANGES_BLOCKS = frozenset({EffectKind.BLOCK, EffectKind.CUT, EffectKind.UNBLOCK})
"""Effects after which a publisher may be barred for another time than before."""


ROWS_ONLY = frozenset({EffectKind.ALERT, EffectKind.REQUEST_REVIEW, EffectKind.UNBLOCK, EffectKind.SHARE})
"""Effects that are nothing but rows, or that undo what rows say: they wait for a store that refuses."""


class AlertQueue(Protocol):
    """Where alerts wait for delivery."""

    async def enqueue(
        self, connection: AsyncConnection, effect: EffectRecord, incident: IncidentRecord, reason: Reason
    ) -> None:
        """Write one delivery row per receiver, with the incident's full current state, in the caller's transaction."""
        ...


class WorkQueue(Protocol):
    """Where events about the work on incidents wait for delivery, for receivers that ask for them."""

    async def tell(
        self,
        connection: AsyncConnection,
        incident: IncidentRecord,
        event: Event,
        effects: Sequence[EffectRecord],
        reason: Reason,
    ) -> None:
        """Write what one decision is to tell, in the caller's transaction.

        Args:
            connection: In the transaction.
            incident: As it stands after the decision.
            event: What happened.
            effects: What the decision asks for.
            reason: Why it is what it is.
        """
        ...


def _never(server: str) -> bool:
    """Say of every media server that containment goes on there."""
    return not server


@dataclass(frozen=True, slots=True)
class DecidedEffects:
    """Writes the rows of an effect at decision time.

    Attributes:
        alerts: Takes alerts.
        cut_guard_s: How long a cut keeps the publisher out by itself, so that the encoder cannot be back before the
            cut is verified; a longer block is the protocol's to ask for.
        is_paused: Whether containment is paused on the media server of this name: then nobody is barred. What a pause
            has kept from being written, `make_up` writes after it.
        strikes: What a block under a grave policy leads to; None where there are no strikes.
        work: Takes events about reviews, effects that failed and streams that are not seen; None where nobody does.
    """

    alerts: AlertQueue
    cut_guard_s: float
    is_paused: Callable[[str], bool] = _never
    strikes: Striking | None = None
    work: WorkQueue | None = None

    async def write(
        self, connection: AsyncConnection, effects: Sequence[EffectRecord], incident: IncidentRecord, reason: Reason
    ) -> IncidentRecord:
        """Write the rows of one decision's effects; returns the incident, changed where an effect changes it.

        Alerts are composed last, so that each tells of the review that its own decision asks for.
        """
        for effect in effects:
            incident = await self._act(connection, effect, incident)
        for effect in effects:
            if effect.kind is EffectKind.ALERT:
                await self.alerts.enqueue(connection, effect, incident, reason)
        return incident

    def foresee(self, effects: Sequence[EffectRecord], incident: IncidentRecord) -> tuple[IncidentRecord, float | None]:
        """Say what `write` is going to do when the store is back: the incident, and until when its publisher is barred.

        None leaves that as it is: whoever is barred stays so until the store says otherwise.
        """
        until: float | None = None
        bars = not incident.dry_run and not self.is_paused(incident.server)
        for effect in effects:
            for_s = float(effect.parameters.get("for_s") or 0.0)
            match effect.kind:
                case EffectKind.BLOCK if bars:
                    until = max(until or 0.0, effect.requested_at + (for_s or DEFAULT_BLOCK_S))
                case EffectKind.CUT if bars:
                    until = max(until or 0.0, effect.requested_at + max(self.cut_guard_s, for_s))
                case EffectKind.REQUEST_REVIEW:
                    within_s = effect.parameters.get("within_s")
                    due_at = None if within_s is None else effect.requested_at + float(within_s)
                    incident = replace(incident, review_due_at=due_at)
                case _:
                    pass
        return incident, until

    async def make_up(self, connection: AsyncConnection, effect: EffectRecord, incident: IncidentRecord) -> None:
        """Write the rows of one effect that a pause kept from being written, as if it were asked for now.

        `effect.requested_at` is now; an effect that has made its block, or is not wanted any more, makes none.
        """
        if await effect_rows.is_pending(connection, effect.id) and not await blocks.made_by(connection, effect.id):
            await self._act(connection, effect, incident)

    @staticmethod
    def without_store(effects: Sequence[EffectRecord]) -> list[EffectRecord]:
        """Return those that can be done while the store refuses."""
        return [effect for effect in effects if effect.kind not in ROWS_ONLY]

    async def _act(self, connection: AsyncConnection, effect: EffectRecord, incident: IncidentRecord) -> IncidentRecord:
        at = effect.requested_at
        why = f"protocol {incident.protocol}"
        bars = not incident.dry_run and not self.is_paused(incident.server)
        for_s = float(effect.parameters.get("for_s") or 0.0)
        match effect.kind:
            case EffectKind.BLOCK if bars:
                until = at + (for_s or DEFAULT_BLOCK_S)
                # Asked for again, a block is renewed: one publisher, one block in force.
                await blocks.lift_of_incident(connection, incident.id, at=at, by="protocol", why="renewed")
                await self._block(connection, effect, incident, until=until, why=why)
                if self.strikes is not None:
                    await self.strikes.of_block(connection, effect, incident)
            case EffectKind.RELEASE:
                # Whoever is shown again must not vanish again by a hold that has not come to its end.
                await effect_rows.withdraw(connection, incident.id, EffectKind.HOLD, at=at)
            case EffectKind.CUT if not incident.dry_run:
                # A cut does not wait for a hold that is still being tried.
                await effect_rows.withdraw(connection, incident.id, EffectKind.HOLD, at=at)
                if not bars:
                    return incident
                until = at + max(self.cut_guard_s, for_s)
                if (await blocks.end_of(connection, incident.ref, at=at) or 0.0) < until:
                    await self._block(connection, effect, incident, until=until, why=f"{why}: while it is cut")
            case EffectKind.UNBLOCK:
                # Whoever is let in again must not be thrown out by a cut that has not come to its end.
                await effect_rows.withdraw(connection, incident.id, EffectKind.CUT, at=at)
                await effect_rows.withdraw_paused(connection, incident.id, EffectKind.BLOCK, at=at)
                await blocks.lift_of_incident(connection, incident.id, at=at, by="protocol", why=why)
                if self.strikes is not None:
                    await self.strikes.lift_of_incident(connection, incident.id, at=at, why=why)
            case EffectKind.REQUEST_REVIEW:
                within_s = effect.parameters.get("within_s")
                return replace(incident, review_due_at=None if within_s is None else at + float(within_s))
            case _:
                pass
        return incident

    async def _block(
        self, connection: AsyncConnection, effect: EffectRecord, incident: IncidentRecord, *, until: float, why: str
    ) -> None:
        # Whoever is kept out can ask under which rule.
        policy = effect.parameters.get("policy") or incident.policy
        await blocks.add(
            connection,
            incident.ref,
            at=effect.requested_at,
            until=until,
            by="protocol",
            why=f"{why}, under {policy}" if policy else why,
            incident_id=incident.id,
            effect_id=effect.id,
        )
