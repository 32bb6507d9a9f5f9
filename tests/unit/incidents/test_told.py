"""What an incident was told of its stream outlives a restart, exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from monitor.protocol.events import (
    KnownContentMatched,
    PartnerAlerted,
    StreamReturned,
    StrikesChanged,
    UserReported,
    ViewersChanged,
)
from monitor.vocabulary import EffectKind, PartnerSignal
from tests.fakes.incidents import ACT, REVIEW, bench, context


async def test_everything_that_the_protocol_goes_by_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    stream = replace(context("immediate"), strikes=2, viewers=40)
    async with bench(path) as before:
        await before.engine.handle(stream, ACT)
        await before.finish(EffectKind.CUT)
        await before.engine.handle(replace(stream, session="s2"), StreamReturned())
        for event in (UserReported("violence"), UserReported("violence"), ViewersChanged(900), StrikesChanged(3)):
            await before.engine.handle(stream, event)
        (left,) = before.engine.open_incidents()
    async with bench(path) as after:
        (found,) = after.engine.open_incidents()

    assert found.state == left.state
    assert (left.state.reports, left.state.viewers, left.state.strikes) == (2, 900, 3)
    assert left.state.asked[EffectKind.CUT] == 3
    assert found.record == left.record


async def test_what_others_say_is_in_the_log_although_the_protocol_does_nothing_about_it(tmp_path: Path) -> None:
    async with bench(tmp_path / "store.sqlite3") as on:
        await on.engine.handle(context("observe"), REVIEW)
        for event in (PartnerAlerted("acme", PartnerSignal.RAISED), KnownContentMatched("ours"), UserReported("gore")):
            await on.engine.handle(context("observe"), event)
        said = [entry.detail["caused_by"] for entry in await on.log()]

    assert said[1:] == [
        {"event": "PartnerAlerted", "partner": "acme", "signal": "raised"},
        {"event": "KnownContentMatched", "source": "ours"},
        {"event": "UserReported", "category": "gore"},
    ]


async def test_viewers_and_strikes_alone_begin_no_incident(tmp_path: Path) -> None:
    async with bench(tmp_path / "store.sqlite3") as on:
        for event in (ViewersChanged(1000), StrikesChanged(5)):
            assert await on.engine.handle(context(), event) is None
        assert on.engine.open_incidents() == []
