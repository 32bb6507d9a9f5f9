"""One decision as rows: the incident, its deadlines, its effects and the audit log's entry, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.effects.decided import CHANGES_BLOCKS, DecidedEffects
from monitor.incidents.records import OpenIncident, event_detail
from monitor.protocol.decision import Decision
from monitor.protocol.events import Event
from monitor.store import audit, blocks
from monitor.store import effects as effect_rows
from monitor.store import incidents as incident_rows
from monitor.store.incidents import IncidentRecord


@dataclass(frozen=True, slots=True)
class Written:
    """What a transaction left: the incident, whether blocks of its publisher were touched, and until when it is barred."""

    incident: OpenIncident
    bars: bool
    barred_until: float | None


async def write_definition(connection: AsyncConnection, incident: OpenIncident) -> None:
    """Keep the protocol under which an incident begins, so that it can end under the same one."""
    await incident_rows.save_definition(
        connection,
        digest=incident.record.definition_digest,
        name=incident.record.protocol,
        content=incident.definition.to_json(),
    )


async def write_decision(
    connection: AsyncConnection,
    decided: DecidedEffects,
    incident: OpenIncident,
    decision: Decision,
    *,
    event: Event,
    actor: str,
    detail: Mapping[str, Any] | None,
) -> Written:
    """Write the rows of one decision; `incident` is as it stands after it."""
    record, now = incident.record, incident.record.changed_at
    await incident_rows.save(connection, record, decision.after.deadlines)
    effects = [
        await effect_rows.add(
            connection,
            incident_id=record.id,
            key=request.key,
            position=position,
            kind=request.kind,
            parameters=request.parameters,
            requested_at=now,
        )
        for position, request in enumerate(decision.effects)
    ]
    written = await decided.write(connection, effects, record, decision.reason)
    if written.review_due_at != record.review_due_at:
        await incident_rows.set_review_due(connection, record.id, written.review_due_at)
    await audit.append(
        connection,
        at=now,
        actor=actor,
        action="transition" if decision.transitioned else "event",
        incident_id=record.id,
        detail=_audit_detail(record, decision, event, detail),
    )
    bars = any(request.kind in CHANGES_BLOCKS for request in decision.effects)
    return Written(
        incident=replace(incident, record=written),
        bars=bars,
        barred_until=await blocks.end_of(connection, record.ref, at=now) if bars else None,
    )


def _audit_detail(
    record: IncidentRecord, decision: Decision, event: Event, detail: Mapping[str, Any] | None
) -> dict[str, Any]:
    values: dict[str, Any] = {
        "reason": decision.reason.value,
        "before": decision.before,
        "after": decision.after.state,
        "sequence": record.sequence,
        "severity": decision.after.severity.word,
        "effects": [request.key for request in decision.effects],
        "protocol": record.protocol,
        "definition": record.definition_digest,
        "model": record.model,
        "dry_run": record.dry_run,
        "caused_by": event_detail(event),
    }
    if detail:
        values["result"] = dict(detail)
    return values
