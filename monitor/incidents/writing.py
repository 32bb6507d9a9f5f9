"""One decision as rows: the incident, its deadlines, its effects and the audit log's entry, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from monitor import faults
from monitor.effects.decided import CHANGES_BLOCKS, DecidedEffects
from monitor.effects.lanes import beginning
from monitor.effects.port import EffectResult
from monitor.incidents.records import OpenIncident, event_detail
from monitor.protocol.decision import Decision
from monitor.protocol.events import Event
from monitor.store import audit, blocks, strikes
from monitor.store import effects as effect_rows
from monitor.store import incidents as incident_rows
from monitor.store.effects import EffectRecord
from monitor.store.strikes import StrikeRecord


@dataclass(frozen=True, slots=True)
class Ended:
    """An effect's outcome, to be written together with what its protocol does about it."""

    effect_id: str
    result: EffectResult


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One decision and all that is needed to write it, now or later.

    Attributes:
        incident: As it stands after the decision.
        begins: The store does not know the incident yet.
        ended: The effect whose outcome the event tells.
        actor: Who or what acted, for the audit log.
    """

    incident: OpenIncident
    decision: Decision
    event: Event
    actor: str
    begins: bool = False
    ended: Ended | None = None

    @property
    def effect_ids(self) -> list[str]:
        """The ids of the effects that the decision asks for; the same however often it is written."""
        record = self.incident.record
        return [effect_rows.effect_id(record.id, request.key) for request in self.decision.effects]

    def rows(self) -> list[EffectRecord]:
        """Return the rows of the effects that the decision asks for; those of a new incident begin with it."""
        return beginning(self.effects(), at=self.incident.record.changed_at) if self.begins else self.effects()

    def effects(self) -> list[EffectRecord]:
        """Return the effects that the decision asks for, none of them begun."""
        record = self.incident.record
        return [
            effect_rows.asked_for(
                incident_id=record.id,
                key=request.key,
                position=position,
                kind=request.kind,
                parameters=request.parameters,
                requested_at=record.changed_at,
            )
            for position, request in enumerate(self.decision.effects)
        ]


@dataclass(frozen=True, slots=True)
class Written:
    """What a transaction left: the incident, whether blocks of its publisher were touched, until when it is barred, its strikes."""

    incident: OpenIncident
    decision: Decision
    bars: bool
    barred_until: float | None
    strikes: Sequence[StrikeRecord] = ()


async def is_written(connection: AsyncConnection, step: Step) -> bool:
    """Whether the store holds this step: a connection that breaks at a commit does not tell."""
    record = step.incident.record
    stored = await incident_rows.load(connection, record.id)
    return stored is not None and (stored.sequence, stored.changed_at) >= (record.sequence, record.changed_at)


async def write_step(
    connection: AsyncConnection, decided: DecidedEffects, step: Step, *, stored_at: float | None = None
) -> Written | None:
    """Write the rows of one decision: its incident, deadlines, effects and the audit log's entry.

    Args:
        connection: In a transaction.
        decided: Writes the rows that effects make real.
        step: What was decided.
        stored_at: The Unix time at which it is written, where that is later than the decision; the audit log tells.

    Returns:
        What there is now; None, and nothing written, when the outcome that the step tells was written before.
    """
    incident, decision = step.incident, step.decision
    record, now = incident.record, incident.record.changed_at
    if step.ended is not None and not await _write_outcome(connection, step.ended, at=now):
        # The protocol has seen this event already.
        return None
    faults.reach("outcome_written_before_commit" if step.ended else "decision_half_written")
    if step.begins:
        await incident_rows.save_definition(
            connection,
            digest=record.definition_digest,
            name=record.protocol,
            content=incident.definition.to_json(),
        )
    await incident_rows.save(connection, record, decision.after.deadlines)
    effects = step.effects()
    await effect_rows.add(connection, step.rows())
    written = await decided.write(connection, effects, record, decision.reason)
    if decided.work is not None:
        await decided.work.tell(connection, written, step.event, effects, decision.reason)
    if written.review_due_at != record.review_due_at:
        await incident_rows.set_review_due(connection, record.id, written.review_due_at)
    await audit.append(
        connection,
        at=now,
        actor=step.actor,
        action="transition" if decision.transitioned else "event",
        incident_id=record.id,
        detail=_audit_detail(step, stored_at),
    )
    bars = any(request.kind in CHANGES_BLOCKS for request in decision.effects)
    return Written(
        incident=replace(incident, record=written),
        decision=decision,
        bars=bars,
        barred_until=await blocks.end_of(connection, record.ref, at=now) if bars else None,
        strikes=await strikes.of_incident(connection, record.id) if bars else (),
    )


async def write_late_outcome(
    connection: AsyncConnection, effect: EffectRecord, ended: Ended, event: Event, *, at: float
) -> None:
    """Write the outcome of an effect whose incident is closed: there is nobody left to tell, but the log says it."""
    if await _write_outcome(connection, ended, at=at):
        drill = {"drill": True} if ended.result.detail.get("drill") else {}
        await audit.append(
            connection,
            at=at,
            actor="daemon",
            action="effect_finished",
            incident_id=effect.incident_id,
            detail=event_detail(event) | {"result": dict(ended.result.detail)} | drill,
        )


async def _write_outcome(connection: AsyncConnection, ended: Ended, *, at: float) -> bool:
    return await effect_rows.finish(
        connection, ended.effect_id, outcome=ended.result.outcome, at=at, detail=dict(ended.result.detail)
    )


def _audit_detail(step: Step, stored_at: float | None) -> dict[str, Any]:
    record, decision = step.incident.record, step.decision
    values: dict[str, Any] = {
        "reason": decision.reason.value,
        "before": decision.before,
        "after": decision.after.state,
        "sequence": record.sequence,
        "severity": decision.after.severity.word,
        "effects": [request.key for request in decision.effects],
        "protocol": record.protocol,
        "version": step.incident.definition.version,
        "definition": record.definition_digest,
        "model": record.model,
        "policy": record.policy,
        "dry_run": record.dry_run,
        "caused_by": event_detail(step.event),
    }
    if record.drill:
        values["drill"] = True
    if step.begins:
        # All that the protocol knew beforehand: with it, the log alone says what state the incident is in.
        values["known"] = {"strikes": record.strikes, "viewers": record.viewers}
    if record.drill:
        values["drill"] = True
    if step.ended is not None and step.ended.result.detail:
        values["result"] = dict(step.ended.result.detail)
    if stored_at is not None:
        values["stored_at"] = stored_at
    return values
