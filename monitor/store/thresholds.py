"""Rows of learnt thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.dialects import upsert
from monitor.store.tables import learnt_threshold

_KEY = ("server", "app", "label", "severity")


@dataclass(frozen=True, slots=True)
class LearntRow:
    """One threshold of one group of streams.

    Attributes:
        app: An application, or ``*`` for all that have no row of their own.
        basis: Digest of what the counts hold for: model, persistence and hysteresis.
        standing, tally: JSON values, as `monitor.detect.budget` has them.
        saved_at: Unix time.
    """

    server: str
    app: str
    label: str
    severity: str
    basis: str
    standing: Mapping[str, Any]
    tally: Mapping[str, Any]
    saved_at: float


async def save(connection: AsyncConnection, rows: list[LearntRow]) -> None:
    """Write rows in the place of those of the same key."""
    for row in rows:
        values = asdict(row)
        changed = {name: value for name, value in values.items() if name not in _KEY}
        statement = upsert(connection, learnt_threshold).values(values)
        await connection.execute(statement.on_conflict_do_update(index_elements=list(_KEY), set_=changed))


async def load(connection: AsyncConnection) -> list[LearntRow]:
    """Return every row."""
    return [LearntRow(**row._mapping) for row in (await connection.execute(select(learnt_threshold))).all()]
