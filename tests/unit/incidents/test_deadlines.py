"""Deadlines fire, once and in time, whatever else happens to their incidents, to the store and to the clocks meanwhile."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typing_extensions import override

from monitor.effects.decided import DecidedEffects
from monitor.incidents.engine import IncidentEngine
from monitor.protocol.decision import Decision
from monitor.protocol.definition import After, Definition, OnDetection, OnReview, State, Transition
from monitor.protocol.events import DeadlinePassed, Event, Reviewed, UserReported, WatchChanged
from monitor.store import audit
from monitor.vocabulary import Freshness, Posture, ReviewDecision, Severity, StreamRef
from tests.fakes.clock import ManualClock
from tests.fakes.incidents import ACT, CLEARED, TakenNotes, context
from tests.fakes.protocols import alert
from tests.fakes.store import FlakyDatabase, flaky_store

STREAMS = [StreamRef("edge", "live", f"cam{number}") for number in range(3)]
PERIOD_S = 2.0


class SteppedClock(ManualClock):
    """Its wall clock can be set; its monotonic clock cannot."""

    stepped_s = 0.0

    @override
    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.stepped_s)


def ticking() -> Definition:
    """A protocol whose incidents fire a deadline every two seconds, for ever, on their way round three states."""

    def place(then: str, *more: Transition) -> State:
        return State(Posture.FULL, transitions=(Transition(After(PERIOD_S), None, then), *more))

    on_review = Transition(OnReview(ReviewDecision.CONFIRM), None, None, (alert("updated"),))
    return Definition(
        "ticking",
        1,
        "",
        "calm",
        {
            "calm": State(Posture.CALM, transitions=(Transition(OnDetection(Severity.REVIEW), None, "one"),)),
            "one": place("two", on_review),
            "two": place("three", Transition(After(PERIOD_S / 2), None, None, (alert("updated"),))),
            "three": place("one"),
            "closed": State(Posture.CALM, final=True),
        },
    )


async def until(condition: Callable[[], bool]) -> None:
    """Let the engine and its store work, in real time, until `condition()`."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the store works in a thread
            await asyncio.sleep(0.002)


@asynccontextmanager
async def ticking_engine(folder: Path, clock: ManualClock) -> AsyncIterator[tuple[IncidentEngine, FlakyDatabase]]:
    async with flaky_store(folder / "store.sqlite3") as database:
        notes = TakenNotes()
        engine = IncidentEngine(database, clock, DecidedEffects(notes, 60.0), notes)
        await engine.load()
        task = asyncio.create_task(engine.run())
        await asyncio.sleep(0)
        try:
            yield engine, database
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.wait({task})


async def test_a_wall_clock_that_is_set_back_delays_no_deadline(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with ticking_engine(tmp_path, clock) as (engine, _):
        await engine.handle(context(ticking()), ACT)
        await clock.advance(1.0)
        clock.stepped_s = -3600.0
        await clock.advance(PERIOD_S - 1.0)
        await until(lambda: engine.open_incidents()[0].state.state == "two")
        # What is asked for from now on is asked for in the new time.
        await clock.advance(PERIOD_S)
        await until(lambda: engine.open_incidents()[0].state.state == "three")


async def test_a_machine_that_slept_has_let_the_time_pass(tmp_path: Path) -> None:
    clock = SteppedClock()
    definition = Definition(
        "patient",
        1,
        "",
        "calm",
        {
            "calm": State(Posture.CALM, transitions=(Transition(OnDetection(Severity.REVIEW), None, "waiting"),)),
            "waiting": State(Posture.FULL, transitions=(Transition(After(3600.0), None, "over"),)),
            "over": State(Posture.FULL, transitions=(Transition(After(3600.0), None, "closed"),)),
            "closed": State(Posture.CALM, final=True),
        },
    )
    async with ticking_engine(tmp_path, clock) as (engine, _):
        await engine.handle(context(definition), ACT)
        await clock.wait_for_sleepers()
        clock.stepped_s = 7200.0
        await clock.advance(30.0)
        await until(lambda: engine.open_incidents()[0].state.state == "over")


OTHERS: list[Event] = [
    ACT,
    CLEARED,
    WatchChanged(Freshness.LATE),
    UserReported("somebody"),
    Reviewed(ReviewDecision.CONFIRM, "ada", "seen it"),
]


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Turns:
    number: int


@dataclass(frozen=True)
class SetWall:
    seconds: float


@dataclass(frozen=True)
class Tell:
    ref: StreamRef
    event: Event


@dataclass(frozen=True)
class Break:
    broken: bool


@dataclass(frozen=True)
class RefuseCommits:
    times: int


Move = Wait | Turns | SetWall | Tell | Break | RefuseCommits
MOVES: st.SearchStrategy[Move] = st.one_of(
    st.builds(Wait, st.sampled_from([0.0, 0.3, 1.0, 2.0])),
    st.builds(Turns, st.integers(0, 12)),
    st.builds(SetWall, st.sampled_from([-40.0, -0.1, 0.0])),
    st.builds(Tell, st.sampled_from(STREAMS), st.sampled_from(OTHERS)),
    st.builds(Break, st.booleans()),
    st.builds(RefuseCommits, st.integers(1, 3)),
)


@given(moves=st.lists(MOVES, max_size=25))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)
def test_no_interleaving_of_events_writes_and_clocks_loses_a_deadline(moves: list[Move]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_interleave(Path(folder), moves))


def _upset(move: Move, clock: SteppedClock, database: FlakyDatabase) -> None:
    match move:
        case SetWall(seconds):
            clock.stepped_s = seconds
        case Break(broken):
            database.broken = broken
        case RefuseCommits(times):
            database.refuse_commits = times
        case _:
            raise AssertionError(move)


def _all_went_on(engine: IncidentEngine, before: dict[str, float]) -> bool:
    return all(one.state.entered_at != before[one.record.id] for one in engine.open_incidents())


async def _interleave(folder: Path, moves: list[Move]) -> None:
    clock = SteppedClock()
    definition = ticking()
    async with ticking_engine(folder, clock) as (engine, database):
        for ref in STREAMS:
            await engine.handle(context(definition, ref=ref), ACT)
        told: list[asyncio.Task[Decision | None]] = []
        for move in moves:
            match move:
                case Wait(seconds):
                    await clock.advance(seconds)
                case Turns(number):
                    for _ in range(number):
                        await asyncio.sleep(0)
                case Tell(ref, event):
                    told.append(asyncio.create_task(engine.handle(context(definition, ref=ref), event)))
                case _:
                    _upset(move, clock, database)
        database.broken, database.refuse_commits = False, 0
        await asyncio.gather(*told)
        for _ in range(3):
            before = {one.record.id: one.state.entered_at for one in engine.open_incidents()}
            # In small steps: the engine may have worked out how long to sleep, and not sleep yet.
            for _ in range(25):
                await clock.advance(PERIOD_S / 20)
            await until(partial(_all_went_on, engine, before))
        # Beside the engine's own attempts.
        assert all(await asyncio.gather(engine.catch_up(), engine.catch_up()))
        async with database.reading() as connection:
            log = await audit.entries(connection)
        assert audit.first_broken(log) is None
        keys = [
            (entry.incident_id, entry.detail["caused_by"]["key"])
            for entry in log
            if entry.detail.get("caused_by", {}).get("event") == DeadlinePassed.__name__
        ]
        assert len(keys) == len(set(keys)), "a deadline fired twice"
