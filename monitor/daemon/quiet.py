"""Pauses and silences as people begin and end them: durable, audited, and never without an end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock
from monitor.daemon.views import utc
from monitor.effects.restraint import Restraints
from monitor.errors import StoreError
from monitor.metrics import STORE_FAILURES
from monitor.store import audit, silences
from monitor.store.database import Database
from monitor.store.silences import SilenceKind, SilenceRecord
from monitor.web.people_port import SilenceView

_STORE_RETRY_S = 5.0

log = structlog.get_logger()


class Quiet:
    """Implements `monitor.web.port.QuietService`, and ends in the store what has ended by the clock."""

    def __init__(
        self,
        database: Database,
        restraints: Restraints,
        clock: Clock,
        *,
        longest_s: float,
        on_change: Callable[[], None],
    ) -> None:
        """Keep `restraints` as the store has them; `on_change` is called whenever a page would look different."""
        self.longest_s = longest_s
        self._database = database
        self._restraints = restraints
        self._clock = clock
        self._on_change = on_change

    async def load(self) -> None:
        """Take up what was in force when the daemon last stopped.

        Raises:
            StoreError: the store cannot be read.
        """
        async with self._database.reading() as connection:
            self._restraints.replace(await silences.not_ended(connection))
        for record in self._restraints.active():
            log.warning(
                "silence_in_force",
                kind=record.kind.value,
                id=record.id,
                server=record.server,
                owner=record.owner,
                until=record.until,
            )

    def silences(self) -> Sequence[SilenceView]:
        """Return what is in force, oldest first, from memory."""
        return [_view(record) for record in self._restraints.active()]

    async def begin(
        self, kind: SilenceKind, *, server: str | None, pattern: str | None, until: datetime, owner: str, reason: str
    ) -> SilenceView:
        """Pause or silence; one in force with the same scope is replaced. Durable on return."""
        now = self._now()
        scope = (kind, server, pattern)
        begun: list[SilenceRecord] = []

        async def change(connection: AsyncConnection) -> None:
            begun.clear()
            for record in await silences.not_ended(connection):
                if (record.kind, record.server, record.pattern) == scope:
                    await self._end(connection, record, at=now, by=owner, why="replaced by a new one")
            record = await silences.add(
                connection,
                kind,
                server=server,
                pattern=pattern,
                owner=owner,
                reason=reason,
                at=now,
                until=until.timestamp(),
            )
            begun.append(record)
            await self._note(connection, record, "begun", actor=owner, at=now)

        await self._change(change)
        record = begun[0]
        log.warning("silence_begun", kind=kind.value, id=record.id, server=server, owner=owner, until=record.until)
        return _view(record)

    async def end(self, silence_id: str, *, by: str, why: str) -> bool:
        """End one before its time; False when none of this id is in force. Durable on return."""
        record = next((one for one in self._restraints.active() if one.id == silence_id), None)
        if record is None:
            return False

        async def change(connection: AsyncConnection) -> None:
            await self._end(connection, record, at=self._now(), by=by, why=why)

        await self._change(change)
        return True

    async def run(self) -> None:
        """End, with a row and a log line, what is over, until cancelled. In memory it has ended already."""
        while True:
            try:
                if self._restraints.over():
                    await self._change(self._expire)
            except StoreError:
                STORE_FAILURES.inc()
                log.exception("end_of_silence_not_stored")
                await self._clock.sleep(_STORE_RETRY_S)
                continue
            self._restraints.measure()
            await self._restraints.wait_for_next_end()

    async def _expire(self, connection: AsyncConnection) -> None:
        for record in self._restraints.over():
            await self._end(connection, record, at=self._now(), by="daemon", why="its time is over")

    async def _end(self, connection: AsyncConnection, record: SilenceRecord, *, at: float, by: str, why: str) -> None:
        if await silences.end(connection, record.id, at=at, by=by, why=why):
            await self._note(connection, record, "ended", actor=by, at=at, why=why)
            log.warning("silence_ended", kind=record.kind.value, id=record.id, server=record.server, by=by, why=why)

    async def _note(
        self, connection: AsyncConnection, record: SilenceRecord, what: str, *, actor: str, at: float, why: str = ""
    ) -> None:
        await audit.append(
            connection,
            at=at,
            actor=actor,
            action=f"{record.kind.value}_{what}",
            incident_id=None,
            detail={
                "id": record.id,
                "server": record.server,
                "pattern": record.pattern,
                "owner": record.owner,
                "reason": record.reason,
                "until": record.until,
                **({"why": why} if why else {}),
            },
        )

    async def _change(self, change: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        async with self._database.transaction() as connection:
            await change(connection)
            left = await silences.not_ended(connection)
        self._restraints.replace(left)
        self._on_change()

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _view(record: SilenceRecord) -> SilenceView:
    return SilenceView(
        silence_id=record.id,
        kind=record.kind,
        server=record.server,
        pattern=record.pattern,
        owner=record.owner,
        reason=record.reason,
        since=utc(record.created_at),
        until=utc(record.until),
    )
