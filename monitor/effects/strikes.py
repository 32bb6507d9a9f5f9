"""What an offence leads to: how long it bars, how long it is remembered, and the rows that say so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.effects.identity import Identifier
from monitor.policies import Policies, Policy
from monitor.store import audit, strikes
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.store.strikes import EVERYWHERE, Identity, StrikeRecord
from monitor.vocabulary import OffenceContext, PolicyTier, StreamRef


@dataclass(frozen=True, slots=True)
class StrikeRules:
    """What the configuration says of strikes.

    Attributes:
        tiers: Policies of these give one.
        ladder_s: How long the first, second … strike that stands bars from live; the last entry counts for all further.
        remember_s: How long a strike stands, if it does not bar for longer.
        scope: Where it bars.
    """

    tiers: frozenset[PolicyTier]
    ladder_s: tuple[float, ...]
    remember_s: float
    scope: Literal["server", "everywhere"]

    def bar_s(self, number: int) -> float:
        """Return for how long the strike of this number, from 1, bars."""
        return self.ladder_s[min(number, len(self.ladder_s)) - 1]


@dataclass(frozen=True, slots=True)
class Offence:
    """Something to be judged by the rules.

    Attributes:
        who: Whom it counts against.
        server: The media server that it is about; empty for all, which only a strike ``everywhere`` can be.
        policy: What was broken.
        decided_at: Unix time of the decision.
    """

    who: Identity
    server: str
    policy: Policy
    decided_at: float
    by: str
    why: str
    context: OffenceContext = OffenceContext.NONE
    origin: Literal["live", "elsewhere"] = "elsewhere"
    stream_id: str | None = None
    incident_id: str | None = None
    effect_id: str | None = None


@dataclass(frozen=True, slots=True)
class Striking:
    """Writes strikes, and takes them back, in the caller's transactions; each leaves an audit row.

    Attributes:
        rules: What they do.
        policies: The operator's rules.
        identifier: Who somebody is.
        address_of: The address from which a live stream comes, or None.
    """

    rules: StrikeRules
    policies: Policies
    identifier: Identifier
    address_of: Callable[[StreamRef], str | None]

    def gives_one(self, policy: Policy | None) -> bool:
        """Whether breaking this policy gives a strike."""
        return policy is not None and policy.tier in self.rules.tiers

    async def of_block(self, connection: AsyncConnection, effect: EffectRecord, incident: IncidentRecord) -> None:
        """Write the strike of a protocol's block, unless its policy gives none or the incident has one that stands."""
        policy = self.policies.get(str(effect.parameters.get("policy") or incident.policy or ""))
        if policy is None or not self.gives_one(policy):
            return
        if any(one.lifted_at is None for one in await strikes.of_incident(connection, incident.id)):
            # One incident, one strike: asked for again, a block is renewed, and the offence is the same.
            return
        offence = Offence(
            who=self.identifier.of(incident.ref, self.address_of(incident.ref)),
            server=incident.server,
            policy=policy,
            decided_at=effect.requested_at,
            by="protocol",
            why=f"protocol {incident.protocol}",
            origin="live",
            stream_id=incident.stream_id,
            incident_id=incident.id,
            effect_id=effect.id,
        )
        await self.add(connection, offence, at=effect.requested_at)

    async def add(self, connection: AsyncConnection, offence: Offence, *, at: float) -> StrikeRecord:
        """Write a strike.

        Its place on the ladder follows from those that stand at the decision. One whose context excuses it is recorded,
        but neither bars nor counts.
        """
        earlier = await strikes.standing(connection, offence.who, server=offence.server, at=offence.decided_at)
        counts = offence.context is OffenceContext.NONE
        number = 1 + sum(one.number > 0 for one in earlier) if counts else 0
        until = offence.decided_at + (self.rules.bar_s(number) if counts else 0.0)
        expires_at = max(until, offence.decided_at + self.rules.remember_s)
        record = StrikeRecord(
            id=str(uuid4()),
            server=offence.server,
            scope=self.rules.scope if offence.server else EVERYWHERE,
            stream_id=offence.stream_id,
            stream_hash=offence.who.stream,
            account_hash=offence.who.account,
            address_hash=offence.who.address,
            policy=offence.policy.code,
            origin=offence.origin,
            context=offence.context.value,
            number=number,
            decided_at=offence.decided_at,
            until=until,
            expires_at=expires_at,
            incident_id=offence.incident_id,
            effect_id=offence.effect_id,
            by=offence.by,
            why=offence.why,
        )
        await strikes.add(connection, record)
        detail = {
            "strike": record.id,
            "stream_id": record.stream_id,
            "policy": record.policy,
            "number": number,
            "context": record.context,
            "origin": record.origin,
            "scope": record.scope,
            "decided_at": record.decided_at,
            "until": until,
            "why": record.why,
        }
        await audit.append(
            connection, at=at, actor=record.by, action="strike_added", incident_id=record.incident_id, detail=detail
        )
        return record

    async def lift_of_incident(self, connection: AsyncConnection, incident_id: str, *, at: float, why: str) -> None:
        """Take back what an incident made: it was a mistake, or nobody stood behind it."""
        await self.lift(connection, await strikes.of_incident(connection, incident_id), at=at, by="protocol", why=why)

    async def lift(
        self, connection: AsyncConnection, records: Sequence[StrikeRecord], *, at: float, by: str, why: str
    ) -> Sequence[StrikeRecord]:
        """Take back those of `records` that still stand; returns them as they are now."""
        lifted = await strikes.lift(connection, records, at=at, by=by, why=why)
        for record in lifted:
            detail = {"strike": record.id, "stream_id": record.stream_id, "policy": record.policy, "why": why}
            await audit.append(
                connection, at=at, actor=by, action="strike_lifted", incident_id=record.incident_id, detail=detail
            )
        return lifted
