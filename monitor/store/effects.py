"""Rows of effects: what a decision asked for, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.tables import effect
from monitor.vocabulary import EffectKind, EffectOutcome

_IDS = UUID("6c0c1f0e-0f0a-5d0e-9a53-7d3e9f0c2b41")

PENDING = "pending"
"""Status of an effect that has not ended; the other statuses are the words of `EffectOutcome`."""


@dataclass(frozen=True, slots=True)
class EffectRecord:
    """One effect as it is stored.

    Attributes:
        key: Unique within the incident; together with `incident_id` the idempotency key.
        position: Place among the effects of its decision.
        parameters: As in `EffectRequest`.
        status: ``pending`` or an `EffectOutcome`'s word.
        attempts: How often it was begun; more than one after a crash in its middle.
        detail: What came of it, as JSON; while pending None, or ``{"paused": true, …}``.
    """

    id: str
    incident_id: str
    key: str
    position: int
    kind: EffectKind
    parameters: Mapping[str, Any]
    status: str
    attempts: int
    requested_at: float
    started_at: float | None
    finished_at: float | None
    detail: Mapping[str, Any] | None


def effect_id(incident_id: str, key: str) -> str:
    """Return the id of an effect: the same however often its decision is computed or written."""
    return str(uuid5(_IDS, f"{incident_id}/{key}"))


def asked_for(
    *,
    incident_id: str,
    key: str,
    position: int,
    kind: EffectKind,
    parameters: Mapping[str, Any],
    requested_at: float,
) -> EffectRecord:
    """Return an effect to do, as its row will be."""
    return EffectRecord(
        id=effect_id(incident_id, key),
        incident_id=incident_id,
        key=key,
        position=position,
        kind=kind,
        parameters=dict(parameters),
        status=PENDING,
        attempts=0,
        requested_at=requested_at,
        started_at=None,
        finished_at=None,
        detail=None,
    )


async def add(connection: AsyncConnection, effects: Sequence[EffectRecord]) -> None:
    """Write effects to do; the unique key makes a second write of the same one an error."""
    rows = [{name: getattr(one, name) for name in EffectRecord.__slots__} | {"kind": one.kind.value} for one in effects]
    if rows:
        await connection.execute(insert(effect), rows)


async def unfinished(connection: AsyncConnection) -> Sequence[EffectRecord]:
    """Return pending effects; those of one incident in the order in which they were asked for."""
    return await _ordered(connection, effect.c.status == PENDING)


async def of_incident(connection: AsyncConnection, incident_id: str) -> Sequence[EffectRecord]:
    """Return an incident's effects in the order in which they were asked for."""
    return await _ordered(connection, effect.c.incident_id == incident_id)


async def last_requests(connection: AsyncConnection, incident_id: str) -> dict[EffectKind, int]:
    """Return, for each kind that an incident asked for, the number of the decision that did so last."""
    query = select(effect.c.kind, effect.c.key).where(effect.c.incident_id == incident_id)
    newest: dict[EffectKind, int] = {}
    for row in (await connection.execute(query)).all():
        kind, sequence = EffectKind(row.kind), int(row.key.partition(".")[0])
        newest[kind] = max(sequence, newest.get(kind, 0))
    return newest


async def _ordered(connection: AsyncConnection, which: ColumnElement[bool]) -> Sequence[EffectRecord]:
    rows = (await connection.execute(select(effect).where(which).order_by(effect.c.requested_at))).all()
    # Two decisions may fall into one tick of the clock, and the clock may be set back between them: only the
    # decision's number, with which the key begins, tells their order.
    return sorted(
        (_record(dict(row._mapping)) for row in rows), key=lambda one: (int(one.key.partition(".")[0]), one.position)
    )


async def is_pending(connection: AsyncConnection, effect_id: str) -> bool:
    """Whether an effect is still wanted."""
    query = select(effect.c.status).where(effect.c.id == effect_id)
    return (await connection.execute(query)).scalar_one_or_none() == PENDING


async def withdraw(connection: AsyncConnection, incident_id: str, kind: EffectKind, *, at: float) -> None:
    """End an incident's pending effects of one kind: they are not wanted any more."""
    await connection.execute(
        update(effect)
        .where(effect.c.incident_id == incident_id, effect.c.kind == kind.value, effect.c.status == PENDING)
        .values(status=EffectOutcome.FAILED.value, finished_at=at, detail={"reason": "withdrawn"})
    )


async def withdraw_paused(connection: AsyncConnection, incident_id: str, kind: EffectKind, *, at: float) -> None:
    """As `withdraw`, but only those that a pause holds back: others of the kind are done, and about to say so."""
    for one in await of_incident(connection, incident_id):
        if one.kind is kind and one.status == PENDING and (one.detail or {}).get("paused"):
            await finish(connection, one.id, outcome=EffectOutcome.FAILED, at=at, detail={"reason": "withdrawn"})


async def begin(connection: AsyncConnection, effect_id: str, *, at: float) -> bool:
    """Note that an attempt begins, so that a crash in its middle can be seen; False when it has ended already."""
    result = await connection.execute(
        update(effect)
        .where(effect.c.id == effect_id, effect.c.status == PENDING)
        .values(started_at=at, attempts=effect.c.attempts + 1)
    )
    return result.rowcount == 1


async def mark(connection: AsyncConnection, effect_id: str, detail: Mapping[str, Any]) -> bool:
    """Note something about an effect that has not ended; False when it has, or the store does not know it."""
    result = await connection.execute(
        update(effect).where(effect.c.id == effect_id, effect.c.status == PENDING).values(detail=dict(detail))
    )
    return result.rowcount == 1


async def finish(
    connection: AsyncConnection, effect_id: str, *, outcome: EffectOutcome, at: float, detail: Mapping[str, Any]
) -> bool:
    """Write how an effect ended; returns False, changing nothing, when it had ended before."""
    result = await connection.execute(
        update(effect)
        .where(effect.c.id == effect_id, effect.c.status == PENDING)
        .values(status=outcome.value, finished_at=at, detail=dict(detail))
    )
    return result.rowcount == 1


def _record(values: Mapping[str, Any]) -> EffectRecord:
    return EffectRecord(**{**values, "kind": EffectKind(values["kind"])})
