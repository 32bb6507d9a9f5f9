"""Offences elsewhere, and strikes taken back: implements `monitor.web.enforcement_port.StrikeService`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock
from monitor.daemon.incident_view import policy_view
from monitor.daemon.views import utc
from monitor.effects.strikelist import StrikeList
from monitor.effects.strikes import Offence, Striking
from monitor.store import strikes
from monitor.store.database import Database
from monitor.store.strikes import EVERYWHERE, Identity, StrikeRecord
from monitor.vocabulary import OffenceContext
from monitor.web.enforcement_port import Culprit, StrikeView
from monitor.web.enforcement_values import PolicyView


class TakeBack(Protocol):
    """See `monitor.daemon.services.Blocks.take_back`."""

    async def __call__(self, incident_id: str, *, by: str, why: str) -> None:
        """Undo what an incident did."""
        ...


@dataclass(frozen=True, slots=True)
class Strikes:
    """Writes and lifts strikes by hand.

    Attributes:
        on_changed: Called when somebody may be barred, or no more.
        take_back: Undoes what an incident did to its publisher, its strike included, and tells whoever was alerted.
    """

    database: Database
    striking: Striking
    standing: StrikeList
    clock: Clock
    on_changed: Callable[[], None]
    take_back: TakeBack

    @property
    def knows_accounts(self) -> bool:
        """Whether streams can be told to belong to an account."""
        return self.striking.identifier.knows_accounts

    @property
    def knows_addresses(self) -> bool:
        """Whether addresses count."""
        return self.striking.identifier.knows_addresses

    @property
    def everywhere(self) -> bool:
        """Whether strikes count on every media server."""
        return self.striking.rules.scope == EVERYWHERE

    def policies(self) -> Sequence[tuple[PolicyView, bool]]:
        """Return the policies, each with whether breaking it gives a strike."""
        policies = self.striking.policies
        return [(policy_view(one.code, policies), self.striking.gives_one(one)) for one in policies.all]

    async def strikes(self) -> Sequence[StrikeView]:
        """Return the strikes that stand, newest first."""
        async with self.database.reading() as connection:
            records = await strikes.all_standing(connection, at=self._now())
        return [self._view(record) for record in records]

    async def add(
        self,
        culprit: Culprit,
        policy: str,
        *,
        context: OffenceContext,
        decided_at: datetime | None,
        by: str,
        why: str,
    ) -> StrikeView:
        """Record an offence that was not seen on a live stream here; see the port."""
        broken = self.striking.policies.get(policy)
        who = self._identity(culprit)
        if broken is None or not any(who):
            message = "no such policy, or nobody whom a strike could be against"
            raise ValueError(message)
        ref = culprit.ref
        now = self._now()
        offence = Offence(
            who=who,
            server=(ref.server if ref is not None else culprit.server) or "",
            policy=broken,
            decided_at=now if decided_at is None else decided_at.timestamp(),
            by=by,
            why=why,
            context=context,
            stream_id=None if ref is None else ref.stream_id,
        )

        async def work(connection: AsyncConnection) -> StrikeRecord:
            return await self.striking.add(connection, offence, at=now)

        record = await self.database.write(work)
        self.standing.take([record])
        self.on_changed()
        return self._view(record)

    async def remove(self, strike_id: str, *, by: str, why: str) -> bool:
        """Take a strike back, with the block of the same decision; see the port."""
        now = self._now()
        async with self.database.reading() as connection:
            record = await strikes.load(connection, strike_id)
        if record is None or record.lifted_at is not None or record.expires_at <= now:
            return False
        if record.incident_id is not None:
            await self.take_back(record.incident_id, by=by, why=why)
        else:
            offence = record

            async def work(connection: AsyncConnection) -> Sequence[StrikeRecord]:
                return await self.striking.lift(connection, [offence], at=now, by=by, why=why)

            self.standing.take(await self.database.write(work))
        self.on_changed()
        return True

    def _identity(self, culprit: Culprit) -> Identity:
        identifier = self.striking.identifier
        if culprit.ref is not None:
            # Where its publisher is live, the address is known too.
            return identifier.of(culprit.ref, self.striking.address_of(culprit.ref))
        if culprit.account is not None:
            return identifier.of_account(culprit.account)
        return identifier.of_address(culprit.address or "")

    def _view(self, record: StrikeRecord) -> StrikeView:
        hashes = {"stream": record.stream_hash, "account": record.account_hash, "address": record.address_hash}
        return StrikeView(
            strike_id=record.id,
            stream_id=record.stream_id,
            known_by=tuple(kind for kind, value in hashes.items() if value is not None),
            server=record.server,
            scope=record.scope,
            policy=policy_view(record.policy, self.striking.policies),
            origin=record.origin,
            context=record.context,
            number=record.number,
            decided_at=utc(record.decided_at),
            until=utc(record.until),
            expires_at=utc(record.expires_at),
            incident_id=record.incident_id,
            by=record.by,
            why=record.why,
        )

    def _now(self) -> float:
        return self.clock.now().timestamp()
