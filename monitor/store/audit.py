"""The append-only audit log. Each row's hash covers its content and the row before it, so that a change shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.tables import audit

GENESIS_HASH = "0" * 64
"""What the first row names as the row before it."""

PRUNED: Final = "audit_pruned"
"""Action of the row that names the last one that was removed because of its age."""

_PAGE: Final = 1000
"""Rows that are in memory at once while the log is read from end to end."""

_NEWEST = select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1)
_ADD = insert(audit)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the log.

    Attributes:
        number: Position in the log, from 1, without gaps.
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
    *,
    previous_hash: str,
    number: int,
    at: float,
    incident_id: str | None,
    actor: str,
    action: str,
    detail: Mapping[str, Any],
) -> str:
    """Return the hex SHA-256 of a row's canonical JSON together with the previous row's hash."""
    content = json.dumps(
        [previous_hash, number, at, incident_id, actor, action, detail],
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
    last = (await connection.execute(_NEWEST)).one_or_none()
    number, previous_hash = (1, GENESIS_HASH) if last is None else (last.number + 1, last.hash)
    # What is hashed is what a reader will get back: the detail after its trip through JSON.
    stored = json.loads(json.dumps(detail))
    row_hash = entry_hash(
        previous_hash=previous_hash,
        number=number,
        at=at,
        incident_id=incident_id,
        actor=actor,
        action=action,
        detail=stored,
    )
    await connection.execute(
        _ADD,
        {
            "number": number,
            "at": at,
            "incident_id": incident_id,
            "actor": actor,
            "action": action,
            "detail": stored,
            "previous_hash": previous_hash,
            "hash": row_hash,
        },
    )


async def entries(connection: AsyncConnection, *, incident_id: str | None = None) -> list[AuditEntry]:
    """Return the log in order, of one incident if given."""
    query = select(audit).order_by(audit.c.number)
    if incident_id is not None:
        query = query.where(audit.c.incident_id == incident_id)
    return [AuditEntry(**row._mapping) for row in (await connection.execute(query)).all()]


@dataclass(frozen=True, slots=True)
class Head:
    """The newest row: whoever keeps it elsewhere can tell later whether rows were cut off. Number 0 is the empty log's."""

    number: int
    hash: str


async def head(connection: AsyncConnection) -> Head:
    """Return the newest row's number and hash."""
    row = (await connection.execute(_NEWEST)).one_or_none()
    return Head(0, GENESIS_HASH) if row is None else Head(row.number, row.hash)


async def holds(connection: AsyncConnection, kept: Head) -> bool:
    """Whether the log has this row, as it was."""
    query = select(audit.c.hash).where(audit.c.number == kept.number)
    return kept.number == 0 or (await connection.execute(query)).scalar_one_or_none() == kept.hash


async def pages(
    connection: AsyncConnection, *, since: float | None = None, until: float | None = None
) -> AsyncIterator[list[AuditEntry]]:
    """Yield the log in order, a thousand rows at a time; rows from Unix time `since` on and before `until`, if given."""
    after = 0
    while True:
        query = select(audit).where(audit.c.number > after).order_by(audit.c.number).limit(_PAGE)
        if since is not None:
            query = query.where(audit.c.at >= since)
        if until is not None:
            query = query.where(audit.c.at < until)
        page = [AuditEntry(**row._mapping) for row in (await connection.execute(query)).all()]
        if page:
            yield page
        if len(page) < _PAGE:
            return
        after = page[-1].number


async def prune(connection: AsyncConnection, *, before: float, at: float) -> int:
    """Remove the oldest rows, up to the first that is not older than the Unix time `before`; returns how many went.

    A new row, `PRUNED`, names the last that went and its hash: what remains can be proved whole without them. The newest row
    always stays. Call it inside a transaction.
    """
    newest = await head(connection)
    first_kept = (await connection.execute(select(func.min(audit.c.number)).where(audit.c.at >= before))).scalar_one()
    through = min(newest.number, newest.number if first_kept is None else first_kept) - 1
    last = (await connection.execute(select(audit.c.hash).where(audit.c.number == through))).scalar_one_or_none()
    if last is None:
        return 0
    detail = {"through": through, "hash": last}
    await append(connection, at=at, actor="daemon", action=PRUNED, incident_id=None, detail=detail)
    return (await connection.execute(delete(audit).where(audit.c.number <= through))).rowcount


class Chain:
    """Follows the log row by row, in order, in constant memory.

    A log whose beginning is missing is whole if a row of it says so: `prune` wrote it.

    Attributes:
        head: The last row that was as it should be.
    """

    def __init__(self) -> None:
        self.head = Head(0, GENESIS_HASH)
        self._broken: int | None = None
        self._unvouched: Head | None = None

    @property
    def broken(self) -> int | None:
        """Number of the first row that was changed, removed or put in; None if there is none, once all rows were followed.

        It is 1 where the beginning is missing, or cannot be told, and nothing vouches for what remains.
        """
        return 1 if self._unvouched is not None else self._broken

    def follow(self, entries: Iterable[AuditEntry]) -> bool:
        """Take the next rows; returns whether all is whole so far."""
        for entry in entries:
            if self._broken is not None:
                return False
            if self.head.number == 0 and entry.number > 1:
                self.head = self._unvouched = Head(entry.number - 1, entry.previous_hash)
            number = self.head.number + 1
            wanted = entry_hash(
                previous_hash=self.head.hash,
                number=number,
                at=entry.at,
                incident_id=entry.incident_id,
                actor=entry.actor,
                action=entry.action,
                detail=entry.detail,
            )
            if (entry.number, entry.previous_hash, entry.hash) != (number, self.head.hash, wanted):
                self._broken = number
                continue
            self.head = Head(number, wanted)
            if entry.action == PRUNED and self._unvouched is not None:
                told = Head(entry.detail.get("through", 0), str(entry.detail.get("hash")))
                self._unvouched = None if told == self._unvouched else self._unvouched
        return self._broken is None


def first_broken(log: Sequence[AuditEntry]) -> int | None:
    """Return the number of the first row of the whole log that was changed, removed or put in; None if there is none.

    Rows that were removed at the end leave no trace here: keep the `head` elsewhere and compare.
    """
    chain = Chain()
    chain.follow(log)
    return chain.broken
