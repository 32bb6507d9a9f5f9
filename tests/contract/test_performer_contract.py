"""What every performer of an effect promises: a second call is harmless, dry runs touch nothing, results are plain."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from monitor.effects.committed import CommittedPerformer, UnsupportedPerformer
from monitor.effects.cut import CutPerformer, CutSettings
from monitor.effects.hold import HoldPerformer
from monitor.effects.port import Performer
from monitor.effects.preserve import Kept, PreservePerformer
from monitor.evidence.package import Frame, ScoredClip
from monitor.store.effects import EffectRecord
from monitor.vocabulary import EffectKind, EffectOutcome, StreamRef
from tests.fakes.clock import ManualClock
from tests.fakes.media_server import FakeServer
from tests.fakes.store import incident_record

SECRET_NAME = "key-c4n4ry"
INCIDENT = incident_record(ref=StreamRef("edge", "live", SECRET_NAME))


@dataclass
class Held:
    """Evidence that comes when it is let go."""

    ready: asyncio.Event

    async def kept(self, stream_id: str) -> Kept:
        assert stream_id == INCIDENT.stream_id
        await self.ready.wait()
        return Kept((Frame(1.0, 2.0, b"jpeg"),), (ScoredClip(0.0, 1.0, {"violence": 0.9}),))


@dataclass
class World:
    """What performers act on, and whether it lets them go on."""

    root: Path
    server: FakeServer
    ready: asyncio.Event

    def touched(self) -> object:
        return [*self.server.commands, *self.server.hold_commands]


async def _wanted(_effect_id: str) -> bool:
    return True


def _committed(_world: World) -> Performer:
    return CommittedPerformer()


def _cut(world: World) -> Performer:
    return CutPerformer(
        {"edge": world.server}, CutSettings(5.0), ManualClock(), is_wanted=_wanted, on_cut=lambda *_told: None
    )


def _hold(world: World) -> Performer:
    return HoldPerformer({"edge": world.server}, 5.0, ManualClock(), is_wanted=_wanted)


def _share(_world: World) -> Performer:
    return UnsupportedPerformer("no_partners")


def _preserve(world: World) -> Performer:
    return PreservePerformer(Held(world.ready), world.root, ManualClock())


CASES: list[tuple[Callable[[World], Performer], EffectKind]] = [
    (_committed, EffectKind.BLOCK),
    (_committed, EffectKind.UNBLOCK),
    (_committed, EffectKind.ALERT),
    (_committed, EffectKind.REQUEST_REVIEW),
    (_cut, EffectKind.CUT),
    (_hold, EffectKind.HOLD),
    (_hold, EffectKind.RELEASE),
    (_share, EffectKind.SHARE),
    (_preserve, EffectKind.PRESERVE),
]


@pytest.fixture
def world(tmp_path: Path) -> World:
    ready = asyncio.Event()
    ready.set()
    return World(tmp_path, FakeServer(held=ready), ready)


def effect_of(kind: EffectKind) -> EffectRecord:
    return EffectRecord(
        id="effect-1",
        incident_id=INCIDENT.id,
        key=f"1.0.{kind.value}",
        position=0,
        kind=kind,
        parameters={"event": "raised"},
        status="pending",
        attempts=1,
        requested_at=0.0,
        started_at=None,
        finished_at=None,
        detail=None,
    )


def test_every_kind_of_effect_is_covered() -> None:
    assert {kind for _, kind in CASES} == set(EffectKind)


@pytest.mark.parametrize(("make", "kind"), CASES)
async def test_a_second_call_after_a_crash_succeeds_as_the_first(
    make: Callable[[World], Performer], kind: EffectKind, world: World
) -> None:
    first = await make(world).perform(effect_of(kind), INCIDENT)
    second = await make(world).perform(effect_of(kind), INCIDENT)
    expected = EffectOutcome.UNSUPPORTED if kind is EffectKind.SHARE else EffectOutcome.SUCCEEDED
    assert first.outcome is second.outcome is expected
    if kind is EffectKind.PRESERVE:
        assert first.detail == second.detail


@pytest.mark.parametrize(("make", "kind"), CASES)
async def test_results_are_json_and_name_nobody(
    make: Callable[[World], Performer], kind: EffectKind, world: World
) -> None:
    result = await make(world).perform(effect_of(kind), INCIDENT)
    assert json.loads(json.dumps(dict(result.detail))) == result.detail
    assert SECRET_NAME not in str(result)


@pytest.mark.parametrize(("make", "kind"), CASES)
async def test_a_dry_run_touches_no_media_server(
    make: Callable[[World], Performer], kind: EffectKind, world: World
) -> None:
    result = await make(world).perform(effect_of(kind), replace(INCIDENT, dry_run=True))
    assert result.outcome is EffectOutcome.SUCCEEDED
    assert world.touched() == []
    touching = set(EffectKind) - {EffectKind.PRESERVE, EffectKind.ALERT, EffectKind.REQUEST_REVIEW}
    assert bool(result.detail.get("dry_run")) == (kind in touching)


@pytest.mark.parametrize(
    ("make", "kind"), [(_cut, EffectKind.CUT), (_hold, EffectKind.HOLD), (_preserve, EffectKind.PRESERVE)]
)
async def test_cancellation_ends_it_and_a_later_call_does_the_work(
    make: Callable[[World], Performer], kind: EffectKind, world: World
) -> None:
    world.ready.clear()
    task = asyncio.create_task(make(world).perform(effect_of(kind), INCIDENT))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    world.ready.set()
    assert (await make(world).perform(effect_of(kind), INCIDENT)).outcome is EffectOutcome.SUCCEEDED
