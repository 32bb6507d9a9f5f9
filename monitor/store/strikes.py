"""Rows of strikes: offences that count against a publisher, until when they bar from live and until when they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.tables import block, strike
from monitor.vocabulary import StreamRef

EVERYWHERE = "everywhere"
"""Scope of a strike that counts on every media server; the other one is ``server``."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who published, as keyed hashes in hex; None for what is not known or does not count."""

    stream: str | None = None
    account: str | None = None
    address: str | None = None

    def __iter__(self) -> Iterator[str]:
        return (one for one in (self.stream, self.account, self.address) if one is not None)


@dataclass(frozen=True, slots=True)
class StrikeRecord:
    """One offence. Times are Unix seconds.

    Attributes:
        server: The media server of the offence; empty for one elsewhere that has scope ``everywhere``.
        scope: ``server`` or ``everywhere``.
        stream_id: The stream, where there was one; for people to see.
        stream_hash, account_hash, address_hash: Who did it; see `Identity`.
        policy: Code of the policy that was broken.
        origin: ``live``, or ``elsewhere`` on the platform.
        context: An `OffenceContext`'s word.
        number: Place on the ladder, from 1; 0 for an offence that its context excuses.
        decided_at: When it was decided: what follows counts from here.
        until: Until when it bars from live.
        expires_at: Until when it stands.
    """

    id: str
    server: str
    scope: str
    stream_id: str | None
    stream_hash: str | None
    account_hash: str | None
    address_hash: str | None
    policy: str
    origin: str
    context: str
    number: int
    decided_at: float
    until: float
    expires_at: float
    incident_id: str | None
    effect_id: str | None
    by: str
    why: str
    lifted_at: float | None = None
    lifted_by: str | None = None
    lifted_why: str | None = None

    @property
    def identity(self) -> Identity:
        """Whom it counts against."""
        return Identity(self.stream_hash, self.account_hash, self.address_hash)


async def add(connection: AsyncConnection, record: StrikeRecord) -> None:
    """Write a strike; a second one for the same effect is an error."""
    await connection.execute(insert(strike).values(asdict(record)))


async def standing(connection: AsyncConnection, who: Identity, *, server: str, at: float) -> Sequence[StrikeRecord]:
    """Return the strikes that count at `at` against somebody who publishes on `server`."""
    columns = (strike.c.stream_hash, strike.c.account_hash, strike.c.address_hash)
    known = (who.stream, who.account, who.address)
    same = [column == value for column, value in zip(columns, known, strict=True) if value is not None]
    if not same:
        return []
    here = or_(strike.c.scope == EVERYWHERE, strike.c.server == server)
    return await _select(connection, or_(*same), here, *_in_force(at))


async def all_standing(connection: AsyncConnection, *, at: float) -> Sequence[StrikeRecord]:
    """Return every strike that counts at `at`, newest first."""
    return await _select(connection, *_in_force(at))


async def of_incident(connection: AsyncConnection, incident_id: str) -> Sequence[StrikeRecord]:
    """Return an incident's strikes, lifted ones too."""
    return await _select(connection, strike.c.incident_id == incident_id)


async def of_blocks(connection: AsyncConnection, ref: StreamRef, *, at: float) -> Sequence[StrikeRecord]:
    """Return the strikes of the incidents whose blocks keep `ref` out at `at`."""
    keep_out = select(block.c.incident_id).where(
        block.c.server == ref.server,
        block.c.app == ref.app,
        block.c.name == ref.name,
        block.c.lifted_at.is_(None),
        block.c.until > at,
        block.c.incident_id.is_not(None),
    )
    return await _select(connection, strike.c.incident_id.in_(keep_out), *_in_force(at))


async def load(connection: AsyncConnection, strike_id: str) -> StrikeRecord | None:
    """Return one strike, or None."""
    return next(iter(await _select(connection, strike.c.id == strike_id)), None)


async def lift(
    connection: AsyncConnection, records: Sequence[StrikeRecord], *, at: float, by: str, why: str
) -> Sequence[StrikeRecord]:
    """Take back those of `records` that have not been; returns them as they are now."""
    ids = [one.id for one in records if one.lifted_at is None]
    if not ids:
        return []
    values = {"lifted_at": at, "lifted_by": by, "lifted_why": why}
    await connection.execute(update(strike).where(strike.c.id.in_(ids)).values(values))
    return await _select(connection, strike.c.id.in_(ids))


def _in_force(at: float) -> tuple[ColumnElement[bool], ...]:
    return (strike.c.lifted_at.is_(None), strike.c.expires_at > at)


async def _select(connection: AsyncConnection, *which: ColumnElement[bool]) -> Sequence[StrikeRecord]:
    query = select(strike).where(*which).order_by(strike.c.decided_at.desc(), strike.c.id)
    return [StrikeRecord(**row._mapping) for row in (await connection.execute(query)).all()]
