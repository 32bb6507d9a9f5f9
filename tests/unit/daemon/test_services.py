from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.daemon.services import Blocks, Incidents
from monitor.effects.blocklist import BlockList
from monitor.errors import StoreError
from monitor.evidence.package import Frame, write_package
from monitor.protocol.decision import Reason
from monitor.store.blocks import BlockRecord
from monitor.vocabulary import EffectKind, EffectOutcome, ReviewDecision, Severity, StreamRef
from monitor.web.port import ReviewOutcome
from tests.fakes.incidents import ACT, Bench, bench, context
from tests.fakes.samples import growth
from tests.fakes.store import CAM1, FlakyDatabase

CONFIRM, DISMISS = ReviewDecision.CONFIRM, ReviewDecision.DISMISS


@dataclass
class Serving:
    on: Bench
    incidents: Incidents
    blocks: Blocks
    database: FlakyDatabase
    evidence: Path

    async def open_one(self, protocol: str = "assisted", name: str = "cam1") -> str:
        ref = StreamRef("edge", "live", name)
        await self.on.engine.handle(context(protocol, ref=ref), ACT)
        opened = self.on.engine.open_incident(ref.stream_id)
        assert opened is not None
        return opened.record.id


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    async with bench(tmp_path / "store.sqlite3") as on:
        blocklist = BlockList(on.clock)

        def title(ref: StreamRef) -> str:
            return f"<{ref.name}>"

        def loaded(active: Sequence[BlockRecord]) -> None:
            blocklist.replace(active)

        on.notes.blocks_loaded = loaded  # type: ignore[method-assign] # as the daemon does
        on.notes.block_changed = blocklist.change  # type: ignore[method-assign] # as the daemon does
        yield Serving(
            on,
            Incidents(on.database, on.engine, tmp_path / "evidence", title, on.clock),
            Blocks(on.database, on.engine, blocklist, on.clock, title),
            on.database,
            tmp_path / "evidence",
        )


async def test_pages_go_on_where_the_last_one_ended_even_within_one_moment(serving: Serving) -> None:
    ids = {await serving.open_one(name=f"cam{number}") for number in range(7)}
    seen: list[str] = []
    after: str | None = None
    while page := await serving.incidents.incidents(limit=2, after=after):
        seen += [view.incident_id for view in page]
        after = seen[-1]
    assert len(seen) == 7
    assert set(seen) == ids
    assert list(await serving.incidents.incidents(limit=2, after="nobody")) == []


async def test_an_incident_is_shown_with_everything_that_happened(serving: Serving) -> None:
    incident_id = await serving.open_one("immediate")
    await serving.on.finish(EffectKind.CUT, EffectOutcome.SUCCEEDED, seconds=0.4)
    write_package(
        serving.evidence,
        incident_id=incident_id,
        key="1.1.preserve",
        about={},
        preserved_at=1.0,
        frames=[Frame(0.0, 1.0, b"jpeg")],
        scores=[],
    )
    detail = await serving.incidents.incident(incident_id)
    assert detail is not None
    assert (detail.summary.title, detail.summary.state, detail.summary.reviewable) == ("<cam1>", "contained", True)
    assert detail.severities == {"violence": Severity.ACT}
    assert [entry.reason for entry in detail.timeline] == [Reason.DETECTION_RAISED, Reason.EFFECT_SUCCEEDED]
    assert detail.timeline[0].detail == "violence raised to act at a score of 0.95"
    assert detail.timeline[1].detail == "cut succeeded (seconds 0.4)"
    cut = next(effect for effect in detail.effects if effect.kind is EffectKind.CUT)
    assert (cut.outcome, cut.detail) == (EffectOutcome.SUCCEEDED, "seconds 0.4")
    assert [package.frames for package in detail.evidence] == [1]
    assert await serving.incidents.incident("../../etc/passwd") is None


async def test_a_review_is_accepted_once_and_the_first_decision_stands(serving: Serving) -> None:
    incident_id = await serving.open_one()
    accepted = await serving.incidents.review(incident_id, DISMISS, by="eve", why="a film")
    assert (accepted.outcome, accepted.state) == (ReviewOutcome.ACCEPTED, "dismissed")
    late = await serving.incidents.review(incident_id, CONFIRM, by="ada", why="no")
    assert late.outcome is ReviewOutcome.ALREADY_DECIDED
    assert late.review is not None
    assert (late.review.by, late.review.decision) == ("eve", DISMISS)


async def test_how_long_a_decision_took_is_measured_from_the_question_and_only_once(serving: Serving) -> None:
    decided, seconds = (growth(f"livecordon_review_seconds_{end}", decision="dismiss") for end in ("count", "sum"))
    incident_id = await serving.open_one()
    await serving.on.clock.advance(20)
    for by in ("eve", "ada"):
        await serving.incidents.review(incident_id, DISMISS, by=by, why="a film")
    assert (decided(), seconds()) == (1, 20)


async def test_two_responders_at_once_are_told_apart(serving: Serving) -> None:
    incident_id = await serving.open_one()
    results = await asyncio.gather(
        *(serving.incidents.review(incident_id, DISMISS, by=name, why="") for name in ("ada", "eve", "kim"))
    )
    outcomes = [result.outcome for result in results]
    assert sorted(outcomes) == [ReviewOutcome.ACCEPTED, ReviewOutcome.ALREADY_DECIDED, ReviewOutcome.ALREADY_DECIDED]
    assert len({result.review.by for result in results if result.review is not None}) == 1


async def test_reviews_that_nobody_asked_for_are_refused_in_words(serving: Serving) -> None:
    assert (await serving.incidents.review("nobody", CONFIRM, by="ada", why="")).outcome is ReviewOutcome.UNKNOWN
    incident_id = await serving.open_one("immediate")
    await serving.on.finish(EffectKind.CUT)
    while serving.on.notes.states[-1] != "releasing":
        await serving.on.clock.advance(3600)
        await serving.on.engine.fire_due()
    early = await serving.incidents.review(incident_id, CONFIRM, by="ada", why="")
    assert (early.outcome, early.review) == (ReviewOutcome.NOT_AWAITED, None)
    await serving.on.finish(EffectKind.UNBLOCK)
    closed = await serving.incidents.review(incident_id, CONFIRM, by="ada", why="")
    assert (closed.outcome, closed.state) == (ReviewOutcome.CLOSED, "released")


async def test_a_store_that_refuses_decides_nothing(serving: Serving) -> None:
    incident_id = await serving.open_one()
    serving.database.broken = True
    with pytest.raises(StoreError):
        await serving.incidents.review(incident_id, CONFIRM, by="ada", why="")
    with pytest.raises(StoreError):
        await serving.blocks.add(CAM1, until=None, by="ada", why="x")
    assert not serving.blocks.is_blocked(CAM1)
    serving.database.broken = False
    view = (await serving.incidents.incidents(limit=1))[0]
    assert (view.state, view.review) == ("urgent", None)


async def test_blocks_are_added_replaced_and_lifted_and_the_log_tells(serving: Serving) -> None:
    added = await serving.blocks.add(CAM1, until=None, by="ada", why="strikes")
    assert (added.title, added.until, added.by) == ("<cam1>", None, "ada")
    assert serving.blocks.is_blocked(CAM1)
    until = datetime.fromtimestamp(serving.on.now + 60, UTC)
    await serving.blocks.add(CAM1, until=until, by="kim", why="less")
    (view,) = await serving.blocks.blocks()
    assert (view.until, view.by) == (until, "kim")
    await serving.on.clock.advance(61)
    assert not serving.blocks.is_blocked(CAM1)
    assert list(await serving.blocks.blocks()) == []
    assert not await serving.blocks.remove(CAM1, by="eve", why="")
    await serving.blocks.add(CAM1, until=None, by="ada", why="again")
    assert await serving.blocks.remove(CAM1, by="eve", why="mistake")
    assert not serving.blocks.is_blocked(CAM1)
    assert [entry.action for entry in await serving.on.log()] == [
        "block_added",
        "block_added",
        "block_added",
        "block_lifted",
    ]
    assert "cam1" not in str([entry.detail for entry in await serving.on.log()])


async def test_a_protocols_block_is_lifted_by_hand_too(serving: Serving) -> None:
    await serving.open_one("immediate")
    assert serving.blocks.is_blocked(CAM1)
    (view,) = await serving.blocks.blocks()
    assert view.by == "protocol"
    assert await serving.blocks.remove(CAM1, by="ada", why="mistake")
    assert not serving.blocks.is_blocked(CAM1)


async def test_a_responder_is_told_what_the_state_means_while_the_incident_is_open(serving: Serving) -> None:
    incident_id = await serving.open_one("observe")
    (shown,) = await serving.incidents.incidents(limit=1)
    assert shown.state_summary == "This looks like an attack. This protocol will not cut it off; decide what to do."
    await serving.incidents.review(incident_id, DISMISS, by="ada", why="a film")
    (shown,) = await serving.incidents.incidents(limit=1)
    assert (shown.state, shown.state_summary) == ("dismissed", "")
