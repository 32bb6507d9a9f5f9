from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from monitor.effects.port import EffectResult
from monitor.effects.runner import EffectRunner
from monitor.errors import EffectError, StoreError
from monitor.protocol.events import Reviewed
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectKind, EffectOutcome, ReviewDecision, StreamRef
from tests.fakes.incidents import ACT, Bench, bench, context

CAM2 = StreamRef("edge", "live", "cam2")


class Recorder:
    """Performs everything; holds kinds back, or fails, where told to."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str]] = []
        self.ended: list[tuple[str, str]] = []
        self.held: dict[EffectKind, asyncio.Event] = {}
        self.errors: dict[EffectKind, Exception] = {}

    async def perform(self, effect: EffectRecord, incident: IncidentRecord) -> EffectResult:
        assert effect.incident_id == incident.id
        self.begun.append((incident.name, effect.kind.value))
        if effect.kind in self.held:
            await self.held[effect.kind].wait()
        if effect.kind in self.errors:
            raise self.errors[effect.kind]
        self.ended.append((incident.name, effect.kind.value))
        return EffectResult(EffectOutcome.SUCCEEDED)

    def hold(self, kind: EffectKind) -> asyncio.Event:
        return self.held.setdefault(kind, asyncio.Event())


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path / "store.sqlite3") as made:
        yield made


@asynccontextmanager
async def running(on: Bench, performer: Recorder) -> AsyncIterator[EffectRunner]:
    performers = dict.fromkeys(EffectKind, performer)
    runner = EffectRunner(on.database, on.clock, performers, on.engine.finish_effect, on.engine)
    on.notes.on_asked = runner.take
    on.notes.on_commit = runner.wake
    on.notes.on_handed = runner.hand
    task = asyncio.create_task(runner.run())
    try:
        yield runner
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(condition: Callable[[], bool], on: Bench) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
            await on.clock.advance(0.25)


async def test_every_effect_runs_once_however_often_it_is_woken(on: Bench) -> None:
    performer = Recorder()
    async with running(on, performer) as runner:
        await on.engine.handle(context("immediate"), ACT)
        await on.engine.handle(context("immediate", ref=CAM2), ACT)
        await until(lambda: on.notes.states.count("contained") == 2, on)
        await until(lambda: len(performer.ended) == 14, on)
        for _ in range(20):
            runner.wake()
            await asyncio.sleep(0.002)
    assert set(Counter(performer.begun).values()) <= {1, 2}
    assert Counter(kind for _, kind in performer.begun)["cut"] == 2
    assert all((effect.status, effect.attempts) == ("succeeded", 1) for effect in await on.effects())


async def test_containment_runs_in_order_and_neither_evidence_nor_people_wait_for_it(on: Bench) -> None:
    performer = Recorder()
    release_block = performer.hold(EffectKind.BLOCK)
    release_evidence = performer.hold(EffectKind.PRESERVE)
    async with running(on, performer) as runner:
        await on.engine.handle(context("immediate"), ACT)
        await until(lambda: ("cam1", "alert") in performer.ended and ("cam1", "block") in performer.begun, on)
        assert ("cam1", "cut") not in performer.begun
        idle = asyncio.create_task(runner.idle())
        release_block.set()
        await until(lambda: ("cam1", "cut") in performer.ended, on)
        assert ("cam1", "preserve") not in performer.ended
        assert not idle.done()
        release_evidence.set()
        await until(lambda: ("cam1", "preserve") in performer.ended, on)
        await until(idle.done, on)


async def test_one_incidents_slow_cut_does_not_hold_up_anothers(on: Bench) -> None:
    class SlowOnCam1(Recorder):
        async def perform(self, effect: EffectRecord, incident: IncidentRecord) -> EffectResult:  # type: ignore[explicit-override] # a test double
            if incident.name == "cam1" and effect.kind is EffectKind.CUT:
                await asyncio.Event().wait()
            return await super().perform(effect, incident)

    performer = SlowOnCam1()
    async with running(on, performer):
        await on.engine.handle(context("immediate"), ACT)
        await on.engine.handle(context("immediate", ref=CAM2), ACT)
        await until(lambda: ("cam2", "cut") in performer.ended, on)


async def test_what_was_under_way_when_the_daemon_stopped_is_taken_up_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    first = Recorder()
    first.hold(EffectKind.CUT)
    async with bench(path) as before, running(before, first):
        await before.engine.handle(context("immediate"), ACT)
        await until(lambda: ("cam1", "cut") in first.begun and len(first.ended) == 3, before)
    second = Recorder()
    async with bench(path, before.clock) as after:
        async with running(after, second):
            await until(lambda: "contained" in after.notes.states, after)
        cut = next(effect for effect in await after.effects() if effect.kind is EffectKind.CUT)
    assert second.begun[0] == ("cam1", "cut")
    assert ("cam1", "block") not in second.begun
    assert cut.attempts == 2


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (EffectError("no", reason="evidence_not_written"), "evidence_not_written"),
        (ZeroDivisionError(), "internal_error"),
    ],
)
async def test_a_performer_that_fails_ends_its_effect_and_nothing_else(
    on: Bench, error: Exception, reason: str
) -> None:
    performer = Recorder()
    performer.errors[EffectKind.CUT] = error
    async with running(on, performer):
        await on.engine.handle(context("immediate"), ACT)
        await until(lambda: "cut_failed" in on.notes.states, on)
        await until(lambda: ("cam1", "preserve") in performer.ended, on)
    cut = next(effect for effect in await on.effects() if effect.kind is EffectKind.CUT)
    assert (cut.status, cut.detail) == ("failed", {"reason": reason})


@pytest.mark.parametrize("error", [StoreError("no"), RuntimeError("a defect")])
async def test_an_outcome_that_cannot_be_kept_is_kept_later_and_the_effect_not_done_again(
    on: Bench, error: Exception
) -> None:
    performer = Recorder()
    refusals = 3
    finish = on.engine.finish_effect

    async def refusing(effect: EffectRecord, result: EffectResult) -> None:
        nonlocal refusals
        if effect.kind is EffectKind.CUT and refusals:
            refusals -= 1
            raise error
        await finish(effect, result)

    on.engine.finish_effect = refusing  # type: ignore[method-assign] # refuses for a while
    async with running(on, performer):
        await on.engine.handle(context("immediate"), ACT)
        await until(lambda: "contained" in on.notes.states, on)
    assert Counter(performer.begun)["cam1", "cut"] == 1


async def test_a_store_that_cannot_be_read_is_asked_again(on: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    performer = Recorder()
    await on.engine.handle(context(), ACT)
    reading = on.database.reading
    refused = 0

    def refusing() -> object:
        nonlocal refused
        refused += 1
        if refused < 3:
            raise StoreError("no")
        return reading()

    monkeypatch.setattr(on.database, "reading", refusing)
    async with running(on, performer):
        await until(lambda: len(performer.ended) == 3, on)


async def test_a_dismissal_withdraws_the_cut_that_is_still_going_on(on: Bench) -> None:
    performer = Recorder()
    release = performer.hold(EffectKind.CUT)
    async with running(on, performer):
        await on.engine.handle(context("immediate"), ACT)
        await until(lambda: ("cam1", "cut") in performer.begun, on)
        incident_id = on.engine.open_incidents()[0].record.id
        await on.engine.review(incident_id, Reviewed(ReviewDecision.DISMISS, "eve", "a film"))
        (cut,) = [effect for effect in await on.effects() if effect.kind is EffectKind.CUT]
        assert (cut.status, cut.detail) == ("failed", {"reason": "withdrawn"})
        release.set()
        await until(lambda: on.notes.states[-1] == "released", on)
    assert on.engine.open_incidents() == []
    (cut,) = [effect for effect in await on.effects() if effect.kind is EffectKind.CUT]
    assert cut.detail == {"reason": "withdrawn"}


async def test_a_new_incident_begins_to_act_without_another_visit_to_the_store(on: Bench) -> None:
    performer = Recorder()
    written: list[int] = []

    async def finish(effect: EffectRecord, result: EffectResult) -> None:
        written.append(on.database.written)

    runner = EffectRunner(on.database, on.clock, dict.fromkeys(EffectKind, performer), finish, on.engine)
    on.notes.on_asked = runner.take
    task = asyncio.create_task(runner.run())
    await on.engine.handle(context("immediate"), ACT)
    assert on.database.written == 1
    rows = {effect.kind: (effect.attempts, effect.started_at) for effect in await on.effects()}
    assert rows[EffectKind.ALERT] == rows[EffectKind.PRESERVE] == rows[EffectKind.BLOCK] == (1, on.now)
    assert rows[EffectKind.CUT] == (0, None), "the block is in front of it"
    await until(lambda: len(performer.ended) >= 4, on)
    assert written[:3] == [1, 1, 1]
    assert set(performer.begun[:3]) == {("cam1", "alert"), ("cam1", "preserve"), ("cam1", "block")}
    task.cancel()
    await asyncio.wait({task})


async def test_what_was_found_and_done_before_it_was_handed_over_is_not_done_again(on: Bench) -> None:
    performer = Recorder()
    taken: list[EffectRecord] = []
    async with running(on, performer) as runner:
        on.notes.on_asked = lambda effects, _incident: taken.extend(effects)
        await on.engine.handle(context("observe"), ACT)
        await until(lambda: len(performer.ended) == 3, on)
        await until(lambda: not runner._known, on)
        (record,) = await on.records()
        runner.take(taken, record)
        for _ in range(20):
            await asyncio.sleep(0.002)
    assert Counter(performer.begun).most_common(1)[0][1] == 1
