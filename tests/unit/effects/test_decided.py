from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.effects.decided import DEFAULT_BLOCK_S
from monitor.protocol.definition import Effect
from monitor.protocol.events import Reviewed, StreamReturned
from monitor.store import blocks
from monitor.store.blocks import BlockRecord
from monitor.vocabulary import EffectKind, ReviewDecision
from tests.fakes.incidents import ACT, Bench, bench, context
from tests.fakes.protocols import shipped
from tests.fakes.store import CAM1

DISMISS = Reviewed(ReviewDecision.DISMISS, "eve", "a film")


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path / "store.sqlite3") as made:
        yield made


async def active(on: Bench) -> list[BlockRecord]:
    async with on.database.reading() as connection:
        return list(await blocks.active(connection, at=on.now))


async def test_a_block_lasts_as_long_as_it_says_and_a_cut_adds_none_to_it(on: Bench) -> None:
    await on.engine.handle(context("immediate"), ACT)
    (block,) = await active(on)
    assert (block.ref, block.until, block.by) == (CAM1, on.now + DEFAULT_BLOCK_S, "protocol")
    assert block.effect_id in {effect.id for effect in await on.effects() if effect.kind is EffectKind.BLOCK}


async def test_a_cut_without_a_block_keeps_the_encoder_out_while_it_lasts(on: Bench) -> None:
    immediate = shipped()["immediate"]
    containing = replace(immediate.states["containing"], enter=(Effect(EffectKind.CUT, {"for_s": 300.0}),))
    definition = replace(immediate, states={**immediate.states, "containing": containing})
    await on.engine.handle(context(definition), ACT)
    (block,) = await active(on)
    assert block.until == on.now + 300.0
    assert on.notes.blocks == {CAM1: on.now + 300.0}


async def test_a_block_asked_for_again_is_renewed(on: Bench) -> None:
    await on.engine.handle(context("immediate"), ACT)
    await on.finish(EffectKind.CUT)
    await on.clock.advance(100)
    await on.engine.handle(context("immediate", session="s2"), StreamReturned())
    (block,) = await active(on)
    assert block.until == on.now + DEFAULT_BLOCK_S


async def test_an_unblock_lifts_what_the_incident_made_and_nothing_else(on: Bench) -> None:
    async with on.database.transaction() as connection:
        await blocks.add(connection, CAM1, at=on.now, until=on.now + 500, by="ada", why="by hand")
    await on.engine.handle(context("immediate"), ACT)
    await on.engine.review(on.engine.open_incidents()[0].record.id, DISMISS)
    assert [block.by for block in await active(on)] == ["ada"]
    assert on.notes.blocks == {CAM1: on.now + 500}


async def test_dry_run_writes_every_effect_and_no_block(on: Bench) -> None:
    await on.engine.handle(context("immediate", dry_run=True), ACT)
    assert await active(on) == []
    kinds = [effect.kind for effect in await on.effects()]
    assert kinds == [EffectKind.ALERT, EffectKind.PRESERVE, EffectKind.BLOCK, EffectKind.CUT]
    assert [event for event, incident, _ in on.notes.alerts if incident.dry_run] == ["raised"]
