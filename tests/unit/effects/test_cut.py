from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typing_extensions import override

from monitor.config.section import RemainsSection
from monitor.effects.cut import CutPerformer, CutSettings
from monitor.effects.last_resort import AFTER_S, LastResort
from monitor.effects.port import EffectResult
from monitor.effects.remains import Remains
from monitor.errors import MediaServerRefused, MediaServerUnreachable, StoreError, UnsafeCallRefused
from monitor.servers.port import CutResult
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectKind, EffectOutcome, StreamRef
from tests.fakes.clock import ManualClock
from tests.fakes.media_server import FakeServer
from tests.fakes.store import CAM1, incident_record

STILL_THERE = CutResult(1, verified=False)
NOT_FOUND = CutResult(0, verified=False)
GONE = CutResult(1, verified=True)


def effect(clock: ManualClock, **parameters: float) -> EffectRecord:
    return EffectRecord(
        id="effect-1",
        incident_id="incident-0001",
        key="2.1.cut",
        position=1,
        kind=EffectKind.CUT,
        parameters=parameters,
        status="pending",
        attempts=1,
        requested_at=clock.now().timestamp() - 1.5,
        started_at=None,
        finished_at=None,
        detail=None,
    )


class Cutting:
    """A performer, what it told, and a clock that runs on its own while it works."""

    def __init__(
        self,
        server: FakeServer,
        *,
        wanted: bool | Exception = True,
        emergency: Sequence[str] = (),
        remains: Remains | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.server = server
        self.wanted = wanted
        self.told: list[tuple[IncidentRecord, float | None]] = []
        self.performer = CutPerformer(
            {"edge": server},
            CutSettings(deadline_s=10.0),
            self.clock,
            is_wanted=self.is_wanted,
            on_cut=lambda incident, for_s: self.told.append((incident, for_s)),
            last_resort=LastResort({"edge": emergency}),
            remains=remains,
        )

    async def is_wanted(self, effect_id: str) -> bool:
        assert effect_id == "effect-1"
        if isinstance(self.wanted, Exception):
            raise self.wanted
        return self.wanted

    async def perform(self, incident: IncidentRecord | None = None, **parameters: float) -> EffectResult:
        task = asyncio.create_task(
            self.performer.perform(effect(self.clock, **parameters), incident or incident_record())
        )
        await asyncio.sleep(0)
        while not task.done():
            await self.clock.advance(0.05)
        return task.result()


async def test_a_verified_cut_succeeds_at_once() -> None:
    cutting = Cutting(FakeServer(cuts=[GONE]))
    result = await cutting.perform()
    assert result.outcome is EffectOutcome.SUCCEEDED
    assert result.detail == {"commands": 1, "dropped": 1, "seconds": 1.5}
    assert [for_s for _, for_s in cutting.told] == [None]
    # Every publication of that name, not only the one that the incident began on.
    assert cutting.server.commands == [(CAM1, None)]


async def test_it_repeats_until_a_listing_shows_the_stream_gone() -> None:
    cutting = Cutting(FakeServer(cuts=[MediaServerUnreachable("no"), STILL_THERE, MediaServerRefused("no"), GONE]))
    result = await cutting.perform(for_s=90.0)
    assert result.outcome is EffectOutcome.SUCCEEDED
    assert (result.detail["commands"], result.detail["dropped"]) == (4, 2)
    assert [for_s for _, for_s in cutting.told] == [90.0]


@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [
        (STILL_THERE, EffectOutcome.UNVERIFIED, "still_live"),
        (NOT_FOUND, EffectOutcome.FAILED, "still_live"),
        (MediaServerUnreachable("no"), EffectOutcome.FAILED, "unreachable"),
    ],
)
async def test_it_gives_up_at_its_deadline_and_says_how_far_it_came(
    answer: CutResult | Exception, outcome: EffectOutcome, reason: str
) -> None:
    cutting = Cutting(FakeServer(cuts=[answer]))
    # How long the return is looked out for has nothing to do with how long the command is repeated.
    result = await cutting.perform(for_s=3600.0)
    assert (result.outcome, result.detail["reason"]) == (outcome, reason)
    assert 9 < cutting.clock.monotonic_s() <= 10.2
    assert 6 <= len(cutting.server.commands) <= 12
    assert cutting.told == []


async def test_what_cannot_be_asked_safely_is_not_asked_twice() -> None:
    cutting = Cutting(FakeServer(cuts=[UnsafeCallRefused("no")]))
    result = await cutting.perform()
    assert (result.outcome, result.detail["reason"]) == (EffectOutcome.FAILED, "unsafe_call")
    assert len(cutting.server.commands) == 1


async def test_a_cut_that_was_withdrawn_stops() -> None:
    cutting = Cutting(FakeServer(cuts=[STILL_THERE]), wanted=False)
    result = await cutting.perform()
    assert (result.outcome, result.detail["reason"]) == (EffectOutcome.FAILED, "withdrawn")
    assert len(cutting.server.commands) == 1


async def test_an_attack_does_not_wait_for_the_store() -> None:
    cutting = Cutting(FakeServer(cuts=[STILL_THERE, GONE]), wanted=StoreError("no"))
    assert (await cutting.perform()).outcome is EffectOutcome.SUCCEEDED


@pytest.mark.parametrize(
    ("server", "incident", "reason"),
    [
        (FakeServer(), replace(incident_record(), server="gone"), "server_not_configured"),
        (FakeServer(can_cut=False), incident_record(), "server_cannot_cut"),
    ],
)
async def test_where_nothing_can_be_cut_it_says_so(server: FakeServer, incident: IncidentRecord, reason: str) -> None:
    result = await Cutting(server).perform(incident)
    assert (result.outcome, result.detail) == (EffectOutcome.FAILED, {"reason": reason})
    assert server.commands == []


async def test_the_operators_command_is_run_once_when_trying_has_not_helped(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    command = ("/bin/sh", "-c", f'echo "$0" >> {mark}', "{app}/{name}")

    class Obeying(FakeServer):
        @override
        async def cut(self, ref: StreamRef, session: str | None = None) -> CutResult:
            await super().cut(ref, session)
            return GONE if mark.exists() else STILL_THERE

    cutting = Cutting(Obeying(), emergency=command)
    result = await cutting.perform()
    assert result.outcome is EffectOutcome.SUCCEEDED
    assert result.detail["emergency_command"] == "ran"
    assert mark.read_text() == "live/cam1\n"
    assert cutting.clock.monotonic_s() >= AFTER_S


@pytest.mark.parametrize(
    ("command", "outcome", "said"),
    [
        (("/bin/true",), EffectOutcome.UNVERIFIED, "ran"),
        (("/bin/false",), EffectOutcome.FAILED, "command_failed"),
        (("/nowhere/at/all",), EffectOutcome.FAILED, "refused"),
    ],
)
async def test_nothing_that_was_tried_is_taken_for_done_without_proof(
    command: tuple[str, ...], outcome: EffectOutcome, said: str
) -> None:
    cutting = Cutting(FakeServer(cuts=[MediaServerUnreachable("no")]), emergency=command)
    result = await cutting.perform()
    assert (result.outcome, result.detail["emergency_command"]) == (outcome, said)
    assert (result.detail["reason"], result.detail["kept_out_by_gate"]) == ("unreachable", True)
    assert cutting.told == []


async def test_where_asking_again_cannot_help_the_command_is_run_at_once() -> None:
    cutting = Cutting(FakeServer(cuts=[UnsafeCallRefused("no")]), emergency=("/bin/true",))
    result = await cutting.perform()
    assert (result.outcome, result.detail["emergency_command"]) == (EffectOutcome.UNVERIFIED, "ran")
    assert len(cutting.server.commands) == 1


async def test_what_remains_is_part_of_the_outcome(tmp_path: Path) -> None:
    (tmp_path / "cam1.m3u8").write_text("#EXTM3U")
    async with Remains({"edge": RemainsSection(folder=tmp_path, purge=True)}) as remains:
        cutting = Cutting(FakeServer(cuts=[GONE]), remains=remains)
        detail = (await cutting.perform()).detail
    assert (detail["written_files"], detail["purged_files"], detail["remaining_files"]) == (1, 1, 0)
