"""Pauses, silences, routing and the ladder, with a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.alerts.routing import Route, Routing
from monitor.config.people import ResponderGroup
from monitor.daemon.acknowledging import Acknowledging
from monitor.daemon.alerting import Alerting
from monitor.daemon.ladder import Ladder
from monitor.daemon.quiet import Quiet
from monitor.effects.decided import DecidedEffects
from monitor.effects.restraint import Restraints
from monitor.incidents.engine import IncidentEngine
from monitor.protocol.events import Reviewed
from monitor.store import audit, deliveries
from monitor.store.silences import SilenceKind
from monitor.vocabulary import EffectKind, EffectOutcome, ReviewDecision, StreamRef
from tests.fakes.clock import ManualClock
from tests.fakes.incidents import ACT, REVIEW, Bench, TakenNotes, context
from tests.fakes.store import CAM1, flaky_store

GROUPS = (
    ResponderGroup(name="on-duty", within="2m"),  # type: ignore[arg-type] # as the file has it
    ResponderGroup(name="leads", receivers=("leads",), within="5m"),  # type: ignore[arg-type]
    ResponderGroup(name="boss", receivers=("boss",)),
)


class Site(Bench):
    restraints: Restraints
    alerting: Alerting
    quiet: Quiet
    ladder: Ladder
    acknowledging: Acknowledging

    async def sent(self) -> list[tuple[str, str]]:
        """Every alert: receiver and the last word of its type, in order."""
        ids = {record.id for record in await self.records()}
        async with self.database.reading() as connection:
            rows = [row for one in ids for row in await deliveries.of_incident(connection, one)]
        return [(row.receiver, row.event_type.split(".")[-1]) for row in rows]

    async def actions(self) -> list[str]:
        return [entry.action for entry in await self.log()]


@asynccontextmanager
async def site(
    path: Path, clock: ManualClock, *, events: dict[str, Sequence[str]] | None = None
) -> AsyncIterator[Site]:
    async with flaky_store(path) as database:
        restraints = Restraints(clock)
        receivers = ("all", "leads", "boss")
        routing = {"leads": ("contained",), "boss": ("contained",)} if events is None else events
        routes = {name: Route(events=frozenset(words)) for name, words in routing.items()}
        alerting = Alerting("test", receivers, frozenset(), None, Routing(routes, GROUPS), restraints)
        notes = TakenNotes()
        engine = IncidentEngine(database, clock, DecidedEffects(alerting, 60.0, restraints.is_paused), notes)
        await engine.load()
        made = Site(path, database, clock, notes, engine)
        made.restraints, made.alerting = restraints, alerting
        made.quiet = Quiet(database, restraints, clock, longest_s=86400.0, on_change=lambda: None)
        await made.quiet.load()
        made.acknowledging = Acknowledging(database, alerting, clock)
        alerting.acknowledged_at = made.acknowledging.at
        made.ladder = Ladder(database, engine, alerting, clock, routing=alerting.routing, answers=made.acknowledging)
        yield made


async def begin(on: Site, kind: SilenceKind, hours: float = 1.0, **scope: Any) -> str:
    until = on.clock.now() + timedelta(hours=hours)
    scope = {"server": None, "pattern": None, **scope}
    return (await on.quiet.begin(kind, until=until, owner="ada", reason="a film", **scope)).silence_id


async def test_a_silence_keeps_alerts_back_but_never_containment_nor_what_takes_it_back(tmp_path: Path) -> None:
    clock = ManualClock()
    async with site(tmp_path / "store.sqlite3", clock, events={}) as on:
        await begin(on, SilenceKind.SILENCE, pattern="live/cam*")
        await on.engine.handle(context("immediate"), ACT)
        assert await on.sent() == []
        assert "alert_silenced" in await on.actions()
        await on.finish(EffectKind.CUT)
        assert await on.sent() == [(name, "contained") for name in ("all", "boss", "leads")]
        (record,) = await on.records()
        await on.engine.review(record.id, Reviewed(ReviewDecision.DISMISS, "ada", "a film"))
        assert [word for _, word in await on.sent()].count("dismissed") == 3
        other = StreamRef("edge", "live", "hall")
        await on.engine.handle(context("immediate", ref=other), ACT)
        assert ("all", "raised") in await on.sent(), "a stream that the pattern does not name"


async def test_nobody_is_told_of_the_end_of_what_nobody_was_told_of(tmp_path: Path) -> None:
    async with site(tmp_path / "store.sqlite3", ManualClock(), events={}) as on:
        await begin(on, SilenceKind.SILENCE, server="edge")
        await on.engine.handle(context("assisted"), REVIEW)
        (record,) = await on.records()
        await on.engine.review(record.id, Reviewed(ReviewDecision.DISMISS, "ada", "a film"))
        assert await on.sent() == []


async def test_a_withdrawal_goes_to_whoever_was_told_whatever_the_routing(tmp_path: Path) -> None:
    events: dict[str, Sequence[str]] = {"all": ("raised",), "leads": ("contained",), "boss": ("closed",)}
    async with site(tmp_path / "store.sqlite3", ManualClock(), events=events) as on:
        await on.engine.handle(context("immediate"), ACT)
        await on.finish(EffectKind.CUT)
        assert await on.sent() == [("all", "raised"), ("leads", "contained")]
        (record,) = await on.records()
        await on.engine.review(record.id, Reviewed(ReviewDecision.DISMISS, "ada", "a film"))
        told = [pair for pair in await on.sent() if pair[1] == "dismissed"]
        assert told == [("all", "dismissed"), ("leads", "dismissed")], "and nobody who heard nothing"


async def test_during_a_pause_nobody_is_barred_and_afterwards_the_rows_are_made_up(tmp_path: Path) -> None:
    clock = ManualClock()
    async with site(tmp_path / "store.sqlite3", clock) as on:
        await begin(on, SilenceKind.PAUSE, server="other")
        assert not on.restraints.is_paused("edge")
        pause = await begin(on, SilenceKind.PAUSE)
        await on.engine.handle(context("immediate"), ACT)
        assert on.notes.blocks.get(CAM1) is None
        (block,) = [one for one in await on.effects() if one.kind is EffectKind.BLOCK]
        assert await on.quiet.end(pause, by="bob", why="well again")
        assert not await on.quiet.end(pause, by="bob", why="well again")
        (record,) = await on.records()
        now = clock.now().timestamp() + 100.0
        decided = DecidedEffects(on.alerting, 60.0, on.restraints.is_paused)
        for _ in range(2):
            async with on.database.transaction() as connection:
                await decided.make_up(connection, replace(block, requested_at=now), record)
        async with on.database.reading() as connection:
            rows = (await connection.exec_driver_sql("SELECT created_at FROM block")).all()
        assert [row.created_at for row in rows] == [now], "once, and from the end of the pause on"


async def test_what_was_dismissed_during_a_pause_is_not_made_up(tmp_path: Path) -> None:
    async with site(tmp_path / "store.sqlite3", ManualClock()) as on:
        pause = await begin(on, SilenceKind.PAUSE)
        await on.engine.handle(context("immediate"), ACT)
        (record,) = await on.records()
        marked = [one for one in await on.effects() if one.kind in (EffectKind.BLOCK, EffectKind.CUT)]
        async with on.database.transaction() as connection:
            for one in marked:
                await connection.exec_driver_sql(
                    "UPDATE effect SET detail = '{\"paused\": true}' WHERE id = ?", (one.id,)
                )
        await on.engine.review(record.id, Reviewed(ReviewDecision.DISMISS, "ada", "a film"))
        await on.quiet.end(pause, by="ada", why="well again")
        states = {one.kind: one.status for one in await on.effects() if one.id in {m.id for m in marked}}
        assert set(states.values()) == {EffectOutcome.FAILED.value}
        decided = DecidedEffects(on.alerting, 60.0, on.restraints.is_paused)
        async with on.database.transaction() as connection:
            for one in marked:
                await decided.make_up(connection, one, record)
            assert (await connection.exec_driver_sql("SELECT count(*) FROM block")).scalar_one() == 0


async def test_a_pause_ends_by_the_clock_with_a_row_also_if_it_ended_while_nobody_ran(tmp_path: Path) -> None:
    clock = ManualClock()
    path = tmp_path / "store.sqlite3"
    async with site(path, clock) as on:
        await begin(on, SilenceKind.PAUSE, hours=1)
        task = asyncio.create_task(on.quiet.run())
        await clock.advance(3599)
        assert on.restraints.is_paused("edge")
        await clock.advance(2)
        assert not on.restraints.is_paused("edge")
        async with asyncio.timeout(10):
            while "pause_ended" not in await on.actions():
                await clock.advance(1)
        task.cancel()
        assert (await on.actions()).count("pause_ended") == 1
        await begin(on, SilenceKind.SILENCE, hours=1, server="edge")
    await clock.advance(7200)
    async with site(path, clock) as on:
        assert on.quiet.silences() == []
        task = asyncio.create_task(on.quiet.run())
        async with asyncio.timeout(10):
            while "silence_ended" not in await on.actions():
                await clock.advance(1)
        task.cancel()
        (ended,) = [entry for entry in await on.log() if entry.action == "silence_ended"]
        assert (ended.actor, ended.detail["why"]) == ("daemon", "its time is over")


async def test_one_scope_has_one_pause_and_it_survives_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    path = tmp_path / "store.sqlite3"
    async with site(path, clock) as on:
        await begin(on, SilenceKind.PAUSE, hours=1)
        await begin(on, SilenceKind.PAUSE, hours=2)
        assert len(on.quiet.silences()) == 1
    async with site(path, clock) as on:
        (view,) = on.quiet.silences()
        assert (view.owner, view.until) == ("ada", clock.now() + timedelta(hours=2))
        assert on.restraints.is_paused("edge")
        async with on.database.reading() as connection:
            assert audit.first_broken(await audit.entries(connection)) is None


async def test_a_review_that_nobody_decides_climbs_and_a_restart_repeats_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    path = tmp_path / "store.sqlite3"
    async with site(path, clock) as on:
        await on.engine.handle(context("assisted"), REVIEW)
        await on.ladder.look()
        await clock.advance(119)
        await on.ladder.look()
        assert [pair for pair in await on.sent() if pair[1] == "review_overdue"] == []
        await clock.advance(2)
        await on.ladder.look()
        assert [pair for pair in await on.sent() if pair[1] == "review_overdue"] == [("leads", "review_overdue")]
    async with site(path, clock) as on:
        await on.ladder.look()
        await clock.advance(301)
        await on.ladder.look()
        await on.ladder.look()
        await clock.advance(86000)
        await on.ladder.look()
        told = [pair for pair in await on.sent() if pair[1] == "review_overdue"]
        assert told == [("leads", "review_overdue"), ("boss", "review_overdue")]
        assert (await on.actions()).count("review_overdue") == 2


@pytest.mark.parametrize("decision", [ReviewDecision.CONFIRM, ReviewDecision.DISMISS])
async def test_a_decision_ends_the_climb(tmp_path: Path, decision: ReviewDecision) -> None:
    clock = ManualClock()
    async with site(tmp_path / "store.sqlite3", clock) as on:
        await on.engine.handle(context("assisted"), REVIEW)
        await on.ladder.look()
        (record,) = await on.records()
        await on.engine.review(record.id, Reviewed(decision, "ada", "seen"))
        await clock.advance(86000)
        await on.ladder.look()
        assert "review_overdue" not in await on.actions()


async def test_whoever_escalates_passes_it_on_at_once(tmp_path: Path) -> None:
    clock = ManualClock()
    async with site(tmp_path / "store.sqlite3", clock) as on:
        await on.engine.handle(context("assisted"), REVIEW)
        await on.ladder.look()
        (record,) = await on.records()
        await clock.advance(1)
        await on.engine.review(record.id, Reviewed(ReviewDecision.ESCALATE, "ada", "not sure"))
        await on.ladder.look()
        await on.ladder.look()
        assert [pair for pair in await on.sent() if pair[1] == "review_overdue"] == [("leads", "review_overdue")]
        assert [entry.actor for entry in await on.log() if entry.action == "review_overdue"] == ["ada"]
