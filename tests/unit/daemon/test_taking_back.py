"""Whatever takes something back, a strike, a block or a hold: everybody who was alerted is told, and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from monitor.alerts.routing import Route, Routing
from monitor.daemon.alerting import Alerting
from monitor.daemon.services import Blocks
from monitor.daemon.strikes import Strikes
from monitor.effects.blocklist import BlockList
from monitor.effects.decided import DecidedEffects
from monitor.effects.strikelist import StrikeList
from monitor.incidents.engine import IncidentEngine
from monitor.protocol.binding import bound
from monitor.protocol.events import Reviewed
from monitor.store import audit, deliveries
from monitor.store import strikes as strike_rows
from monitor.vocabulary import EffectKind, OffenceContext, ReviewDecision
from monitor.web.enforcement_port import Culprit
from tests.fakes.clock import ManualClock
from tests.fakes.incidents import ACT, Bench, TakenNotes, context
from tests.fakes.protocols import shipped
from tests.fakes.store import CAM1, flaky_store
from tests.unit.effects.test_strikes import KNOWN, POLICIES, striking

ROUTING = {"raised-only": ("raised",), "contained-only": ("contained",), "overdue-only": ("review_overdue",)}
ROUTES = Routing({name: Route(events=frozenset(words)) for name, words in ROUTING.items()})
"""Receivers beside `all`, and what they are told; no review is overdue here."""


@dataclass
class Desk(Bench):
    blocks: Blocks
    strikes: Strikes
    blocklist: BlockList

    async def told(self, word: str) -> list[str]:
        """Who has been sent this alert, in order of names."""
        (record,) = await self.records()
        async with self.database.reading() as connection:
            rows = await deliveries.of_incident(connection, record.id)
        return sorted(row.receiver for row in rows if row.event_type.endswith(f".{word}"))

    async def standing(self) -> list[strike_rows.StrikeRecord]:
        async with self.database.reading() as connection:
            return list(await strike_rows.all_standing(connection, at=self.now))

    async def contain(self, *, confirm: bool) -> str:
        await self.engine.handle(context("immediate"), ACT)
        await self.finish(EffectKind.CUT)
        (record,) = await self.records()
        if confirm:
            await self.engine.review(record.id, Reviewed(ReviewDecision.CONFIRM, "ada", "a knife"))
        return record.id


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    async with flaky_store(folder / "store.sqlite3") as database:
        clock, notes = ManualClock(), TakenNotes()
        alerting = Alerting("test", ("all", *ROUTING), frozenset(), None, ROUTES, policies=POLICIES)
        engine = IncidentEngine(database, clock, DecidedEffects(alerting, 60.0, strikes=striking()), notes, POLICIES)
        await engine.load()
        standing = StrikeList(clock, KNOWN)
        blocklist = BlockList(clock, standing)
        notes.block_changed = blocklist.change  # type: ignore[method-assign] # as the daemon does
        notes.strikes_changed = standing.take  # type: ignore[method-assign] # as the daemon does
        blocks = Blocks(
            database,
            engine,
            blocklist,
            clock,
            str,
            alerting,
            striking=striking(),
            standing=standing,
        )
        strikes = Strikes(database, striking(), standing, clock, lambda: None, blocks.take_back)
        yield Desk(folder, database, clock, notes, engine, blocks, strikes, blocklist)


async def test_a_strike_taken_back_lets_in_again_and_is_told_to_everybody_who_was_alerted(tmp_path: Path) -> None:
    async with desk(tmp_path) as on:
        await on.contain(confirm=True)
        assert (await on.records())[0].closed_at is not None
        assert on.blocklist.is_blocked(CAM1)
        (strike,) = await on.standing()
        before = (await on.records())[0].sequence
        assert await on.strikes.remove(strike.id, by="lead", why="the appeal was right")
        assert not await on.strikes.remove(strike.id, by="lead", why="once more")
        assert await on.standing() == []
        assert not on.blocklist.is_blocked(CAM1)
        assert await on.told("released") == ["all", "contained-only", "raised-only"]
        assert (await on.records())[0].sequence == before + 1, "receivers keep the newest"
        actions = [entry.action for entry in await on.log()]
        assert (actions.count("strike_lifted"), actions.count("block_lifted")) == (1, 1)
        assert audit.first_broken(await on.log()) is None


async def test_a_strike_of_an_incident_under_way_is_taken_back_by_dismissing_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as on:
        await on.contain(confirm=False)
        (strike,) = await on.standing()
        assert await on.strikes.remove(strike.id, by="lead", why="a film")
        (record,) = await on.records()
        assert (record.state, record.review_decision, record.review_by) == ("releasing", "dismiss", "lead")
        assert await on.standing() == []
        assert not on.blocklist.is_blocked(CAM1)
        assert await on.told("dismissed") == ["all", "contained-only", "raised-only"]
        await on.finish(EffectKind.UNBLOCK)
        assert (await on.records())[0].state == "released"
        assert await on.told("released") == ["all", "contained-only", "raised-only"], "once each"


async def test_a_block_lifted_after_the_end_is_told_to_everybody_who_was_alerted(tmp_path: Path) -> None:
    async with desk(tmp_path) as on:
        await on.contain(confirm=True)
        assert await on.blocks.remove(CAM1, by="lead", why="thirty days are too many")
        assert await on.told("released") == ["all", "contained-only", "raised-only"]
        assert await on.standing() == []
        assert not await on.blocks.remove(CAM1, by="lead", why="once more")
        assert await on.told("released") == ["all", "contained-only", "raised-only"]


async def test_an_offence_elsewhere_was_told_to_nobody_and_neither_is_its_end(tmp_path: Path) -> None:
    async with desk(tmp_path) as on:
        await on.contain(confirm=True)
        view = await on.strikes.add(
            Culprit(CAM1), "live-violence", context=OffenceContext.NONE, decided_at=None, by="lead", why="in a post"
        )
        assert (view.number, len(await on.standing())) == (2, 2)
        assert await on.strikes.remove(view.strike_id, by="lead", why="another person")
        assert [strike.number for strike in await on.standing()] == [1]
        assert on.blocklist.is_blocked(CAM1), "by the first, still"
        assert await on.told("released") == []


async def test_a_held_stream_that_is_released_is_told_to_everybody_who_was_alerted(tmp_path: Path) -> None:
    async with desk(tmp_path) as on:
        await on.engine.handle(context(bound(shipped()["assisted"], can_hold=True)), ACT)
        await on.clock.advance(61)
        await on.engine.fire_due()
        await on.finish(EffectKind.HOLD)
        (record,) = await on.records()
        assert record.state == "held"
        await on.engine.review(record.id, Reviewed(ReviewDecision.RELEASE, "ada", "a wedding"))
        assert await on.told("released") == [], "not before it is proven"
        await on.finish(EffectKind.UNBLOCK)
        await on.finish(EffectKind.RELEASE)
        assert (await on.records())[0].state == "released"
        assert await on.told("released") == ["all", "contained-only", "raised-only"]
