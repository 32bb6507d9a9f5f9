"""Holding and releasing: repeated until a listing shows it, for as long as the protocol says."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from monitor.effects.hold import HoldPerformer
from monitor.effects.port import EffectResult
from monitor.errors import MediaServerRefused, MediaServerUnreachable, StoreError, UnsafeCallRefused
from monitor.servers.port import HoldResult
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectKind, EffectOutcome
from tests.fakes.clock import ManualClock
from tests.fakes.media_server import FakeServer
from tests.fakes.store import CAM1, incident_record

AS_IT_WAS = HoldResult(1, verified=False)
NOT_FOUND = HoldResult(0, verified=False)
DONE = HoldResult(1, verified=True)


class Holding:
    """A performer and a clock that runs on its own while it works."""

    def __init__(self, server: FakeServer, *, wanted: bool | Exception = True) -> None:
        self.clock = ManualClock()
        self.wanted = wanted
        self.performer = HoldPerformer({"edge": server}, 10.0, self.clock, is_wanted=self.is_wanted)

    async def is_wanted(self, effect_id: str) -> bool:
        assert effect_id == "effect-1"
        if isinstance(self.wanted, Exception):
            raise self.wanted
        return self.wanted

    async def perform(
        self, kind: EffectKind = EffectKind.HOLD, incident: IncidentRecord | None = None, **parameters: float
    ) -> EffectResult:
        effect = EffectRecord(
            id="effect-1",
            incident_id="incident-0001",
            key=f"2.0.{kind.value}",
            position=0,
            kind=kind,
            parameters=parameters,
            status="pending",
            attempts=1,
            requested_at=self.clock.now().timestamp(),
            started_at=None,
            finished_at=None,
            detail=None,
        )
        task = asyncio.create_task(self.performer.perform(effect, incident or incident_record()))
        await asyncio.sleep(0)
        while not task.done():
            await self.clock.advance(0.05)
        return task.result()


@pytest.mark.parametrize("kind", [EffectKind.HOLD, EffectKind.RELEASE])
async def test_it_repeats_until_a_listing_shows_it(kind: EffectKind) -> None:
    server = FakeServer(holds=[MediaServerUnreachable("no"), AS_IT_WAS, MediaServerRefused("no"), DONE])
    result = await Holding(server).perform(kind)
    assert result.outcome is EffectOutcome.SUCCEEDED
    assert (result.detail["commands"], result.detail["matched"]) == (4, 2)
    # Every publication of that name, not only the one that the incident began on.
    assert server.hold_commands == [(kind.value, CAM1, None)] * 4


@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [
        (AS_IT_WAS, EffectOutcome.UNVERIFIED, "unchanged"),
        (NOT_FOUND, EffectOutcome.FAILED, "unchanged"),
        (MediaServerUnreachable("no"), EffectOutcome.FAILED, "unreachable"),
    ],
)
async def test_it_gives_up_at_the_configured_time(
    answer: HoldResult | Exception, outcome: EffectOutcome, reason: str
) -> None:
    holding = Holding(FakeServer(holds=[answer]))
    result = await holding.perform()
    assert (result.outcome, result.detail["reason"]) == (outcome, reason)
    assert 9 < holding.clock.monotonic_s() <= 10.2


async def test_a_protocol_says_for_how_long_and_how_often() -> None:
    server = FakeServer(holds=[AS_IT_WAS])
    holding = Holding(server)
    assert (await holding.perform(within_s=3.0, retry_s=1.0)).outcome is EffectOutcome.UNVERIFIED
    assert len(server.hold_commands) == 4, "at 0, 1, 2 and 3 s"
    assert 3 <= holding.clock.monotonic_s() < 3.2


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [(EffectKind.HOLD, EffectOutcome.UNSUPPORTED), (EffectKind.RELEASE, EffectOutcome.SUCCEEDED)],
)
async def test_where_nothing_can_be_held_nothing_is_to_be_released(kind: EffectKind, outcome: EffectOutcome) -> None:
    result = await Holding(FakeServer(can_hold=False)).perform(kind)
    assert (result.outcome, result.detail["reason"]) == (outcome, "server_cannot_hold")


async def test_a_hold_that_was_withdrawn_stops_and_one_that_nobody_knows_of_goes_on() -> None:
    server = FakeServer(holds=[AS_IT_WAS])
    result = await Holding(server, wanted=False).perform()
    assert (result.outcome, result.detail["reason"]) == (EffectOutcome.FAILED, "withdrawn")
    assert len(server.hold_commands) == 1
    result = await Holding(FakeServer(holds=[AS_IT_WAS, DONE]), wanted=StoreError("no")).perform()
    assert result.outcome is EffectOutcome.SUCCEEDED


async def test_what_cannot_be_asked_safely_is_not_asked_twice() -> None:
    server = FakeServer(holds=[UnsafeCallRefused("no")])
    result = await Holding(server).perform()
    assert (result.outcome, result.detail["reason"]) == (EffectOutcome.FAILED, "unsafe_call")
    assert len(server.hold_commands) == 1


async def test_a_dry_run_holds_nobody() -> None:
    server = FakeServer()
    result = await Holding(server).perform(incident=replace(incident_record(), dry_run=True))
    assert (result.outcome, dict(result.detail)) == (EffectOutcome.SUCCEEDED, {"dry_run": True})
    assert server.hold_commands == []
