"""The append-only audit log. Each row's hash covers its content and the row before it, so that a change shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.tables import audit

GENESIS_HASH = "0" * 64
"""What the first row names as the row before it."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the log.

    Attributes:
        number: Position in the log; later rows have higher numbers.
        at: Unix time.
        incident_id: The incident that it belongs to, if any.
        actor: Who or what acted: a token's name, ``protocol``, ``daemon``.
        action: Static snake_case word.
        detail: JSON values; never secrets.
        hash: Hex SHA-256 that covers everything above and the previous row's hash.
    """

    number: int
    at: float
    incident_id: str | None
    actor: str
    action: str
    detail: Mapping[str, Any]
    previous_hash: str
    hash: str


def entry_hash(
    *, previous_hash: str, at: float, incident_id: str | None, actor: str, action: str, detail: Mapping[str, Any]
) -> str:
    """Return the hex SHA-256 of a row's canonical JSON together with the previous row's hash."""
    content = json.dumps(
        [previous_hash, at, incident_id, actor, action, detail],
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
    )
    return hashlib.sha256(content.encode("ascii")).hexdigest()


async def append(
    connection: AsyncConnection,
    *,
    at: float,
    actor: str,
    action: str,
    incident_id: str | None,
    detail: Mapping[str, Any],
) -> None:
    """Add one row; call it inside the transaction of what it records."""
    newest = select(audit.c.hash).order_by(audit.c.number.desc()).limit(1)
    previous_hash = (await connection.execute(newest)).scalar_one_or_none() or GENESIS_HASH
    # What is hashed is what a reader will get back: the detail after its trip through JSON.
    stored = json.loads(json.dumps(detail))
    row_hash = entry_hash(
        previous_hash=previous_hash, at=at, incident_id=incident_id, actor=actor, action=action, detail=stored
    )
    await connection.execute(
        insert(audit).values(
            at=at,
            incident_id=incident_id,
            actor=actor,
            action=action,
            detail=stored,
            previous_hash=previous_hash,
            hash=row_hash,
        )
    )


async def entries(connection: AsyncConnection, *, incident_id: str | None = None) -> list[AuditEntry]:
    """Return the log in order, of one incident if given."""
    query = select(audit).order_by(audit.c.number)
    if incident_id is not None:
        query = query.where(audit.c.incident_id == incident_id)
    return [AuditEntry(**row._mapping) for row in (await connection.execute(query)).all()]


def first_broken(log: list[AuditEntry]) -> AuditEntry | None:
    """Return the first row of the whole log whose hash or link does not hold, or None if all do."""
    previous_hash = GENESIS_HASH
    for entry in log:
        wanted = entry_hash(
            previous_hash=previous_hash,
            at=entry.at,
            incident_id=entry.incident_id,
            actor=entry.actor,
            action=entry.action,
            detail=entry.detail,
        )
        if entry.previous_hash != previous_hash or entry.hash != wanted:
            return entry
        previous_hash = entry.hash
    return None
