from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor.effects.port import EffectResult
from monitor.errors import StoreError
from monitor.incidents.engine import IncidentEngine
from monitor.protocol.decision import Reason
from monitor.protocol.definition import After, Definition, OnDetection, SeverityAtLeast, State, Transition
from monitor.protocol.events import Reviewed, StreamEnded, StreamReturned
from monitor.store import incidents as incident_rows
from monitor.store.audit import first_broken
from monitor.vocabulary import EffectKind, EffectOutcome, Posture, ReviewDecision, Severity, StreamRef
from tests.fakes.incidents import ACT, CLEARED, REVIEW, Bench, bench, context
from tests.fakes.protocols import alert, shipped
from tests.fakes.store import CAM1

CAM2 = StreamRef("edge", "live", "cam2")
CONFIRM = Reviewed(ReviewDecision.CONFIRM, "ada", "seen it")
DISMISS = Reviewed(ReviewDecision.DISMISS, "eve", "a film")


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path / "store.sqlite3") as made:
        yield made


@asynccontextmanager
async def running(engine: IncidentEngine) -> AsyncIterator[None]:
    task = asyncio.create_task(engine.run())
    await asyncio.sleep(0)
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(condition: object, made: Bench, *, advance_s: float = 0.0) -> None:
    """Let the engine work, in real time, until `condition()`; each turn may move the clock on."""
    async with asyncio.timeout(10):
        while not condition():  # type: ignore[operator] # a callable
            await asyncio.sleep(0.005)
            if advance_s:
                await made.clock.advance(advance_s)


async def test_nothing_begins_that_the_protocol_does_not_begin(on: Bench) -> None:
    for event in (CLEARED, StreamEnded(), StreamReturned()):
        assert await on.engine.handle(context(), event) is None
    assert await on.records() == []
    assert on.engine.open_incident(CAM1.stream_id) is None


async def test_a_detection_is_one_transaction_of_incident_effects_deadlines_and_log(on: Bench) -> None:
    await on.engine.handle(context(), ACT)
    assert on.database.written == 1
    (record,) = await on.records()
    assert (record.state, record.label, record.score, record.session) == ("urgent", "violence", 0.95, "s1")
    assert [effect.key for effect in await on.effects()] == ["1.0.alert", "1.1.preserve", "1.2.request_review"]
    assert sorted(await on.deadlines()) == ["1:urgent:2", "1:urgent:3", "1:urgent:4", "1:urgent:5"]
    (entry,) = await on.log()
    assert (entry.actor, entry.action, entry.detail["reason"]) == ("protocol", "transition", "detection_raised")
    assert entry.detail["definition"] == shipped()["assisted"].digest


async def test_an_alert_tells_of_the_review_that_its_own_decision_asks_for(on: Bench) -> None:
    await on.engine.handle(context(), ACT)
    ((event, told, reason),) = on.notes.alerts
    assert (event, told.review_due_at, reason) == ("raised", on.now + 60, Reason.DETECTION_RAISED)
    assert (await on.records())[0].review_due_at == on.now + 60


async def test_a_refused_transaction_leaves_no_rows_and_acts_all_the_same(on: Bench) -> None:
    on.database.refuse_commits = 1
    decision = await on.engine.handle(context(), ACT)
    assert decision is not None
    assert decision.reason is Reason.DETECTION_RAISED
    (opened,) = on.engine.open_incidents()
    assert (opened.record.state, opened.record.review_due_at) == ("urgent", on.now + 60)
    assert await on.records() == []
    assert await on.log() == []
    assert on.engine.unwritten == 1
    # What is nothing but rows waits: alert and review.
    assert [kinds for _, kinds, _ in on.notes.unwritten] == [[EffectKind.PRESERVE]]


async def test_events_keep_their_order_while_the_store_refuses(on: Bench) -> None:
    on.database.broken = True
    async with running(on.engine):
        await on.engine.handle(context(), REVIEW)
        on.database.broken = False
        # Written at once, these would overtake the one before them.
        await on.engine.handle(context("observe"), CLEARED)
        await on.engine.handle(context(), ACT)
        assert on.engine.unwritten == 3
        assert await on.records() == []
        await until(lambda: len(on.notes.decisions) == 3, on, advance_s=1.0)
    assert on.engine.unwritten == 0
    assert on.notes.states == ["under_review", "under_review", "urgent"]
    assert len(await on.records()) == 1
    log = await on.log()
    assert [entry.detail["caused_by"]["event"] for entry in log if "caused_by" in entry.detail] == [
        "DetectionRaised",
        "DetectionCleared",
        "DetectionRaised",
    ]
    assert log[0].detail["stored_at"] > log[0].at
    assert (log[-1].action, log[-1].detail["decisions"]) == ("store_caught_up", 3)
    assert first_broken(log) is None


async def test_an_attack_is_cut_while_the_store_refuses_and_all_of_it_is_written_later(on: Bench) -> None:
    on.database.broken = True
    async with running(on.engine):
        await on.engine.handle(context(), ACT)
        await on.clock.wait_for_sleepers()
        # Nobody decides, and nobody could: the minute passes.
        with pytest.raises(StoreError):
            await on.engine.review(on.engine.open_incidents()[0].record.id, DISMISS)
        await until(lambda: on.engine.open_incidents()[0].record.state == "containing", on, advance_s=10.0)
        record, kinds, barred_until = on.notes.unwritten[-1]
        assert kinds == [EffectKind.BLOCK, EffectKind.CUT]
        assert barred_until == record.changed_at + 30 * 86_400
        containment = on.notes.handed[-2:]
        for effect in containment:
            assert await on.engine.is_wanted(effect.id)
            await on.engine.finish_effect(effect, EffectResult(EffectOutcome.SUCCEEDED, {"commands": 1}))
            assert on.engine.has_ended(effect.id)
        assert on.engine.open_incidents()[0].record.state == "contained"
        assert await on.records() == []
        on.database.broken = False
        await until(lambda: on.engine.unwritten == 0, on, advance_s=1.0)
    (record,) = await on.records()
    assert record == on.engine.open_incidents()[0].record
    ended = {effect.key: effect.status for effect in await on.effects()}
    assert [ended[effect.key] for effect in containment] == ["succeeded", "succeeded"]
    assert [event for event, _, _ in on.notes.alerts] == ["raised", "contained"]
    assert on.notes.blocks == {CAM1: barred_until}
    assert first_broken(await on.log()) is None


async def test_a_full_store_is_not_asked_for_every_decision(on: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def full(work: object) -> None:
        nonlocal asked
        asked += 1
        raise StoreError("told to refuse", reason="disk_full")

    monkeypatch.setattr(on.database, "write", full)
    for name in ("a", "b", "c"):
        await on.engine.handle(context(ref=StreamRef("edge", "live", name)), ACT)
    assert (asked, on.engine.unwritten) == (1, 3)


async def test_a_store_that_another_daemon_took_over_ends_this_one(on: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await on.engine.handle(context(), ACT)

    async def taken(work: object) -> None:
        raise StoreError("told to refuse", reason="in_use", retryable=False)

    monkeypatch.setattr(on.database, "write", taken)
    with pytest.raises(StoreError):
        await on.engine.handle(context(ref=CAM2), ACT)
    assert on.notes.unwritten == []
    running_engine = asyncio.create_task(on.engine.run())
    await on.clock.wait_for_sleepers()
    await on.clock.advance(61)
    with pytest.raises(ExceptionGroup) as caught:
        await running_engine
    assert caught.group_contains(StoreError)


async def test_a_step_of_which_nobody_knows_whether_it_was_written_is_written_once(
    on: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = on.database.write

    async def broken_after(work: Any) -> None:
        await write(work)
        raise StoreError("the connection broke", reason="unreachable")

    monkeypatch.setattr(on.database, "write", broken_after)
    await on.engine.handle(context(), ACT)
    monkeypatch.undo()
    async with running(on.engine):
        await until(lambda: on.engine.unwritten == 0, on, advance_s=1.0)
    assert len(await on.effects()) == 3
    assert [entry.action for entry in await on.log()] == ["transition", "store_caught_up"]


async def test_one_streams_waiting_events_do_not_hold_up_another_stream(on: Bench) -> None:
    on.database.broken = True
    await on.engine.handle(context(), ACT)
    on.database.broken = False
    assert await on.engine.handle(context(ref=CAM2), ACT) is not None
    assert [record.name for record in await on.records()] == ["cam2"]


async def test_a_store_that_stays_away_is_asked_again_every_second_and_no_more_often(on: Bench) -> None:
    on.database.broken = True
    async with running(on.engine):
        await on.engine.handle(context(), ACT)
        await on.clock.wait_for_sleepers()
        assert on.clock.next_due_in_s == 1.0
        await on.clock.advance(30)
        await on.clock.wait_for_sleepers()
        on.database.broken = False
        await until(lambda: on.notes.states == ["urgent"], on, advance_s=1.0)


async def test_deadlines_fire_in_order_and_are_logged(on: Bench) -> None:
    async with running(on.engine):
        await on.engine.handle(context(), ACT)
        await on.clock.wait_for_sleepers()
        await on.clock.advance(59.9)
        assert on.notes.states == ["urgent"]
        await on.clock.advance(0.2)
        await until(lambda: on.notes.states == ["urgent", "containing"], on)
    entry = (await on.log())[-1]
    assert entry.detail["caused_by"] == {"event": "DeadlinePassed", "key": "1:urgent:2"}


async def test_deadlines_that_passed_while_the_daemon_was_away_fire_at_once_and_once(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    async with bench(path) as before:
        await before.engine.handle(context(), ACT)
        await before.clock.advance(3600)
    async with bench(path, before.clock) as after:
        assert after.engine.open_incidents()[0].state.state == "urgent"
        async with running(after.engine):
            await until(lambda: "cut_failed" in after.notes.states, after, advance_s=20)
        assert after.notes.states[0] == "containing"
        keys = [effect.key for effect in await after.effects()]
        assert len(keys) == len(set(keys))


async def test_a_deadline_whose_guard_is_false_does_not_keep_the_engine_busy(on: Bench) -> None:
    async with running(on.engine):
        await on.engine.handle(context(), ACT)
        await on.engine.handle(context(), CLEARED)
        await until(lambda: len(on.notes.decisions) == 4, on, advance_s=5.0)
        written = on.database.written
        await on.clock.wait_for_sleepers()
        await on.clock.advance(120)
        await asyncio.sleep(0.05)
        assert on.database.written == written
        # It stays due: the responder has had their minute.
        await on.engine.handle(context(), ACT)
        assert on.notes.states[-1] == "containing"


async def test_a_passed_guard_is_still_remembered_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    async with bench(path) as before, running(before.engine):
        await before.engine.handle(context(), ACT)
        await before.engine.handle(context(), CLEARED)
        await before.clock.advance(61)
        await until(lambda: len(before.notes.decisions) == 4, before)
    async with bench(path, before.clock) as after:
        await after.engine.handle(context(), ACT)
        assert after.notes.states == ["containing"]


async def test_one_incidents_refused_deadline_does_not_stop_the_others(
    on: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await on.engine.handle(context(), ACT)
    await on.engine.handle(context(ref=CAM2), ACT)
    poisoned = on.engine.open_incidents()[0].record.id
    save = incident_rows.save

    async def refusing(connection: Any, record: Any, *rest: Any, **named: Any) -> Any:
        if record.id == poisoned:
            raise StoreError("told to refuse")
        return await save(connection, record, *rest, **named)

    monkeypatch.setattr(incident_rows, "save", refusing)
    async with running(on.engine):
        await until(lambda: on.notes.states[2:] == ["containing"], on, advance_s=5.0)


async def test_a_clock_that_is_set_forward_is_noticed(on: Bench) -> None:
    async with running(on.engine):
        await on.engine.handle(context(), ACT)
        await on.clock.wait_for_sleepers()
        assert on.clock.next_due_in_s is not None
        assert on.clock.next_due_in_s <= 30


async def test_two_deadlines_at_one_moment_are_decided_by_file_order(on: Bench) -> None:
    definition = Definition(
        "twins",
        1,
        "",
        "calm",
        {
            "calm": State(Posture.CALM, transitions=(Transition(OnDetection(Severity.REVIEW), None, "open"),)),
            "open": State(
                Posture.CLOSE,
                transitions=(
                    Transition(After(5.0), None, None, (alert("updated"),)),
                    Transition(After(5.0), SeverityAtLeast(Severity.ACT), "closed"),
                    Transition(After(5.0), None, "other"),
                ),
            ),
            "other": State(Posture.CALM, transitions=(Transition(After(60.0), None, "closed"),)),
            "closed": State(Posture.CALM, final=True),
        },
    )
    async with running(on.engine):
        await on.engine.handle(context(definition), REVIEW)
        await on.clock.wait_for_sleepers()
        await on.clock.advance(5.1)
        await until(lambda: on.notes.states[-1] == "other", on)
    assert [event for event, _, _ in on.notes.alerts] == ["updated"]


async def test_an_outcome_steps_the_protocol_once(on: Bench) -> None:
    await on.engine.handle(context("immediate"), ACT)
    cut = await on.finish(EffectKind.CUT, seconds=0.5)
    await on.engine.finish_effect(cut, EffectResult(EffectOutcome.FAILED))
    assert on.notes.states == ["containing", "contained"]
    kept = next(effect for effect in await on.effects() if effect.id == cut.id)
    assert (kept.status, kept.detail) == ("succeeded", {"seconds": 0.5})
    assert sum(entry.detail["caused_by"]["event"] == "EffectFinished" for entry in await on.log()) == 1


async def test_an_outcome_that_the_store_refuses_steps_the_protocol_and_is_written_later(on: Bench) -> None:
    await on.engine.handle(context("immediate"), ACT)
    on.database.refuse_commits = 1
    cut = await on.finish(EffectKind.CUT)
    assert on.engine.has_ended(cut.id)
    assert on.engine.open_incidents()[0].record.state == "contained"
    assert (await on.records())[0].state == "containing"
    async with running(on.engine):
        await until(lambda: on.engine.unwritten == 0, on, advance_s=1.0)
    assert (await on.records())[0].state == "contained"
    assert not on.engine.has_ended(cut.id)
    assert on.notes.states == ["containing", "contained"]


async def test_an_outcome_after_the_end_is_kept_and_logged(on: Bench) -> None:
    await on.engine.handle(context(), ACT)
    (opened,) = on.engine.open_incidents()
    await on.engine.review(opened.record.id, DISMISS)
    assert on.engine.open_incidents() == []
    await on.finish(EffectKind.PRESERVE, frames=3)
    entry = (await on.log())[-1]
    assert (entry.action, entry.incident_id) == ("effect_finished", opened.record.id)
    assert entry.detail["result"] == {"frames": 3}
    assert on.notes.states == ["urgent", "dismissed"]


async def test_a_review_that_counts_is_recorded_with_its_author(on: Bench) -> None:
    await on.engine.handle(context(), ACT)
    decision = await on.engine.review(on.engine.open_incidents()[0].record.id, CONFIRM)
    assert decision is not None
    assert decision.reason is Reason.REVIEW_CONFIRMED
    (record,) = await on.records()
    assert (record.review_decision, record.review_by, record.review_at) == ("confirm", "ada", on.now)
    assert (await on.log())[-1].actor == "ada"


async def test_a_review_in_the_wrong_state_changes_nothing_but_the_log(on: Bench) -> None:
    await on.engine.handle(context("immediate"), ACT)
    incident_id = on.engine.open_incidents()[0].record.id
    await on.finish(EffectKind.CUT)
    await on.engine.review(incident_id, DISMISS)
    assert on.notes.states[-1] == "releasing"
    decision = await on.engine.review(incident_id, CONFIRM)
    assert decision is not None
    assert decision.reason is Reason.NO_TRANSITION
    (record,) = await on.records()
    assert (record.review_decision, record.review_by, record.review_why) == ("dismiss", "eve", "a film")
    assert ((await on.log())[-1].actor, (await on.log())[-1].action) == ("ada", "event")
    assert await on.engine.review("nobody", CONFIRM) is None


async def test_no_review_is_due_where_none_can_be_taken(on: Bench) -> None:
    await on.engine.handle(context("immediate"), ACT)
    await on.finish(EffectKind.CUT)
    assert (await on.records())[0].review_due_at == on.now + 1800
    async with running(on.engine):
        await on.clock.wait_for_sleepers()
        await until(lambda: on.notes.states[-1] == "releasing", on, advance_s=43_000)
    assert (await on.records())[0].review_due_at is None


async def test_incidents_on_one_stream_follow_each_other(on: Bench) -> None:
    for _ in range(2):
        await on.engine.handle(context(), ACT)
        opened = on.engine.open_incident(CAM1.stream_id)
        assert opened is not None
        await on.engine.review(opened.record.id, DISMISS)
        await on.clock.advance(10)
    first, second = await on.records()
    assert first.id != second.id
    assert {first.state, second.state} == {"dismissed"}
    assert on.engine.open_incident(CAM1.stream_id) is None


async def test_a_return_is_told_once_also_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    async with bench(path) as before:
        await before.engine.handle(context("immediate"), ACT)
        await before.finish(EffectKind.CUT)
        assert await before.engine.handle(context("immediate"), StreamReturned()) is None  # the same publication
        await before.engine.handle(context("immediate"), StreamEnded())
        assert (await before.records())[0].session == ""
        await before.engine.handle(context("immediate", session="s2"), StreamReturned())
        assert before.notes.states == ["containing", "contained", "contained", "containing"]
        assert (await before.records())[0].session == "s2"
    async with bench(path) as after:
        assert await after.engine.handle(context("immediate", session="s2"), StreamReturned()) is None
        assert after.notes.decisions == []


async def test_a_publication_that_a_listing_missed_once_has_returned(on: Bench) -> None:
    await on.engine.handle(context("immediate"), ACT)
    await on.finish(EffectKind.CUT)
    await on.engine.handle(context("immediate"), StreamEnded())
    await on.engine.handle(context("immediate"), StreamReturned())
    assert on.notes.states[-1] == "containing"


async def test_an_incident_ends_under_the_definition_that_it_began_with(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    async with bench(path) as before:
        await before.engine.handle(context("observe"), ACT)
    async with bench(path) as after:
        (opened,) = after.engine.open_incidents()
        assert opened.definition == shipped()["observe"]
        await after.engine.handle(context("immediate"), ACT)
        assert after.notes.states == ["grave"]


async def test_an_unreadable_definition_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    async with bench(path) as before:
        await before.engine.handle(context(), ACT)
        async with before.database.transaction() as connection:
            await connection.exec_driver_sql("UPDATE definition SET content = '{}'")
    with pytest.raises(StoreError, match="cannot read"):
        async with bench(path):
            pytest.fail("it loaded")


async def test_only_decisions_that_touch_blocks_tell_of_them(on: Bench) -> None:
    await on.engine.handle(context(), ACT)
    await on.engine.handle(context(), CLEARED)
    assert on.notes.blocks == {}
    await on.engine.review(on.engine.open_incidents()[0].record.id, CONFIRM)
    assert on.notes.blocks == {CAM1: on.now + 30 * 86_400}
    await on.engine.review(on.engine.open_incidents()[0].record.id, DISMISS)
    assert on.notes.blocks == {CAM1: None}


async def test_dry_run_records_everything_and_bars_nobody(on: Bench) -> None:
    await on.engine.handle(context("immediate", dry_run=True), ACT)
    await on.finish(EffectKind.CUT)
    assert on.notes.states == ["containing", "contained"]
    assert {effect.kind for effect in await on.effects()} >= {EffectKind.BLOCK, EffectKind.CUT, EffectKind.ALERT}
    assert on.notes.blocks == {CAM1: None}
    assert all(entry.detail["dry_run"] for entry in await on.log())
    assert (await on.records())[0].dry_run


async def test_whoever_is_cancelled_while_it_is_written_leaves_store_and_memory_alike(tmp_path: Path) -> None:
    for turns in range(0, 60, 3):
        async with bench(tmp_path / f"{turns}.sqlite3") as made:
            task = asyncio.create_task(made.engine.handle(context(), ACT))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            in_memory = [opened.record for opened in made.engine.open_incidents()]
            assert in_memory == await made.records()
            await made.engine.handle(context(ref=CAM2), ACT)
            assert first_broken(await made.log()) is None
