"""Where an incident stands for somebody who comes late: what was done, by whom, and what can still be undone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote

from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.daemon.views import utc
from monitor.incidents.engine import IncidentEngine
from monitor.protocol.definition import OnReview
from monitor.store import audit, blocks
from monitor.store import effects as effect_rows
from monitor.store.audit import AuditEntry
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectKind, EffectOutcome, ReviewDecision
from monitor.web.people_port import Happening, Standing, Undo

_WORTH_TELLING = frozenset({EffectKind.HOLD, EffectKind.RELEASE, EffectKind.CUT, EffectKind.BLOCK, EffectKind.UNBLOCK})
_UNDOING = {
    ReviewDecision.DISMISS: "takes it back: the block is lifted, a held stream is shown, and everybody who was alerted is told",
    ReviewDecision.RELEASE: "shows the held stream again",
}


def decisions_heard(record: IncidentRecord, engine: IncidentEngine) -> tuple[ReviewDecision, ...]:
    """Return which decisions a responder can take now; none if the incident is closed or its state takes no review."""
    incident = engine.open_incident(record.stream_id)
    if incident is None or incident.record.id != record.id:
        return ()
    transitions = incident.definition.states[incident.state.state].transitions
    heard = {one.trigger.decision for one in transitions if isinstance(one.trigger, OnReview)}
    return tuple(decision for decision in ReviewDecision if decision in heard)


async def standing_of(
    connection: AsyncConnection, record: IncidentRecord, engine: IncidentEngine, *, at: float
) -> Standing:
    """Return what was done and what can be undone, from the store and the incident as it stands in memory."""
    log = await audit.entries(connection, incident_id=record.id)
    asked_by = dict(_asked_by(log))
    done = [
        effect
        for effect in await effect_rows.of_incident(connection, record.id)
        if effect.kind in _WORTH_TELLING
        and effect.status == EffectOutcome.SUCCEEDED.value
        and effect.finished_at is not None
        and not (effect.detail or {}).get("dry_run")
    ]
    happened = tuple(
        Happening(
            what=effect.kind,
            at=utc(effect.finished_at or 0.0),
            by=asked_by.get(effect.key, ("protocol", ""))[0],
            because=asked_by.get(effect.key, ("protocol", ""))[1],
        )
        for effect in done
    )
    barred = await blocks.end_of(connection, record.ref, at=at) is not None
    cut = any(effect.kind is EffectKind.CUT for effect in done)
    return Standing(happened, tuple(_undos(record, engine, barred=barred, cut=cut)))


def _undos(record: IncidentRecord, engine: IncidentEngine, *, barred: bool, cut: bool) -> Iterator[Undo]:
    heard = decisions_heard(record, engine)
    for decision, effect in _UNDOING.items():
        if decision in heard:
            how = f"POST /api/v1/incidents/{record.id}/review with decision {decision.value}"
            yield Undo(decision.value, f"{decision.value} {effect}", how)
    if barred and ReviewDecision.DISMISS not in heard:
        how = f"DELETE /api/v1/blocks/{quote(record.stream_id, safe='')}"
        yield Undo("unblock", "the block can be lifted, and everybody who was alerted is told", how)
    if cut:
        yield Undo("none", "what was cut stays cut: the publisher has to start the stream again", "")


def _asked_by(log: Sequence[AuditEntry]) -> Iterator[tuple[str, tuple[str, str]]]:
    for entry in log:
        for key in entry.detail.get("effects", ()):
            yield str(key), (entry.actor, str(entry.detail.get("reason", "")))
