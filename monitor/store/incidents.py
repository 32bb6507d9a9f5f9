"""Rows of incidents, their deadlines, and the definitions that they run under."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from sqlalchemy import Delete, Insert, Row, and_, bindparam, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.dialects import upsert, upsert_for
from monitor.store.tables import deadline, definition, incident
from monitor.vocabulary import StreamRef


@dataclass(frozen=True, slots=True)
class IncidentRecord:
    """One incident as it is stored. Times are Unix seconds; severities and states are their words.

    A drill's `stream_id` is one of its own (`monitor.incidents.records.drill_id`), so that it never stands in for a real
    incident of its stream; `ref` is the stream's.
    """

    id: str
    server: str
    app: str
    name: str
    stream_id: str
    session: str
    definition_digest: str
    protocol: str
    state: str
    entered_at: float
    sequence: int
    severities: Mapping[str, str]
    max_severity: str
    label: str
    score: float
    posture: str
    dry_run: bool
    model: str
    opened_at: float
    changed_at: float
    closed_at: float | None = None
    review_due_at: float | None = None
    review_decision: str | None = None
    review_by: str | None = None
    review_why: str | None = None
    review_at: float | None = None
    strikes: int = 0
    viewers: int = 0
    reports: int = 0
    review_people: int = 1
    review_confirmed_by: Sequence[str] = field(default_factory=list)
    review_reason: str | None = None
    drill: bool = False
    policy: str | None = None

    @property
    def ref(self) -> StreamRef:
        """The stream that it runs on."""
        return StreamRef(server=self.server, app=self.app, name=self.name)


_COLUMNS = tuple(one.name for one in fields(IncidentRecord))
_ADD_DEADLINES = insert(deadline)


async def save_definition(connection: AsyncConnection, *, digest: str, name: str, content: str) -> None:
    """Keep a definition under its digest; does nothing when it is there already."""
    await connection.execute(
        upsert(connection, definition).values(digest=digest, name=name, content=content).on_conflict_do_nothing()
    )


async def load_definition(connection: AsyncConnection, digest: str) -> str:
    """Return the content of the definition with this digest."""
    query = select(definition.c.content).where(definition.c.digest == digest)
    content: str = (await connection.execute(query)).scalar_one()
    return content


async def save(connection: AsyncConnection, record: IncidentRecord, deadlines: Mapping[str, float]) -> None:
    """Write the incident and replace its pending deadlines."""
    statement, forget = _saving(connection.dialect.name)
    await connection.execute(statement, {name: getattr(record, name) for name in _COLUMNS})
    await connection.execute(forget, {"of": record.id})
    if deadlines:
        rows = [{"incident_id": record.id, "key": key, "due_at": due_at} for key, due_at in deadlines.items()]
        await connection.execute(_ADD_DEADLINES, rows)


@cache
def _saving(dialect: str) -> tuple[Insert, Delete]:
    # Made once: to put such a long statement together takes longer than to run it.
    statement = upsert_for(dialect, incident)
    changed = {name: statement.excluded[name] for name in _COLUMNS if name != "id"}
    forget = delete(deadline).where(deadline.c.incident_id == bindparam("of"))
    return statement.on_conflict_do_update(index_elements=["id"], set_=changed), forget


async def set_review_due(connection: AsyncConnection, incident_id: str, due_at: float | None) -> None:
    """Note until when a responder is asked to decide."""
    await connection.execute(update(incident).where(incident.c.id == incident_id).values(review_due_at=due_at))


async def load_open(connection: AsyncConnection) -> list[tuple[IncidentRecord, dict[str, float]]]:
    """Return every incident that is not closed, oldest first, each with its pending deadlines."""
    rows = (
        await connection.execute(select(incident).where(incident.c.closed_at.is_(None)).order_by(incident.c.opened_at))
    ).all()
    pending: dict[str, dict[str, float]] = {}
    for row in (await connection.execute(select(deadline))).all():
        pending.setdefault(row.incident_id, {})[row.key] = row.due_at
    return [(record_of(row), pending.get(row.id, {})) for row in rows]


async def load(connection: AsyncConnection, incident_id: str) -> IncidentRecord | None:
    """Return one incident, or None."""
    row = (await connection.execute(select(incident).where(incident.c.id == incident_id))).one_or_none()
    return None if row is None else record_of(row)


async def newest(
    connection: AsyncConnection, *, limit: int, open_only: bool = False, below: IncidentRecord | None = None
) -> Sequence[IncidentRecord]:
    """Return incidents, newest first; those that follow `below` in that order, if it is given."""
    query = select(incident).order_by(incident.c.opened_at.desc(), incident.c.id).limit(limit)
    if open_only:
        query = query.where(incident.c.closed_at.is_(None))
    if below is not None:
        # Many incidents may open at one moment.
        same_moment = and_(incident.c.opened_at == below.opened_at, incident.c.id > below.id)
        query = query.where(or_(incident.c.opened_at < below.opened_at, same_moment))
    return [record_of(row) for row in (await connection.execute(query)).all()]


def record_of(row: Row[Any]) -> IncidentRecord:
    """Turn a database row into a record."""
    return IncidentRecord(**row._mapping)
