from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from monitor.effects.port import EffectResult
from monitor.effects.runner import EffectRunner
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectKind, EffectOutcome
from tests.fakes.incidents import ACT, bench, context
from tests.fakes.samples import growth
from tests.fakes.waiting import eventually


class Answering:
    """Ends every effect in the same way."""

    def __init__(self, result: EffectResult) -> None:
        self.result = result

    async def perform(self, effect: EffectRecord, incident: IncidentRecord) -> EffectResult:
        return self.result


@pytest.mark.parametrize(
    ("detail", "counted"),
    [({"reason": "withdrawn"}, "withdrawn"), ({"reason": "still_live"}, "failed"), ({"drill": True}, None)],
)
async def test_what_was_taken_back_and_what_was_an_exercise_is_no_failure(
    tmp_path: Path, detail: dict[str, str | bool], counted: str | None
) -> None:
    grown = {
        outcome: growth("livecordon_effects_total", kind="cut", outcome=outcome) for outcome in ("failed", "withdrawn")
    }
    async with bench(tmp_path / "store.sqlite3") as on:
        performers = dict.fromkeys(EffectKind, Answering(EffectResult(EffectOutcome.FAILED, detail)))
        runner = EffectRunner(on.database, on.clock, performers, on.engine.finish_effect, on.engine)
        on.notes.on_commit = runner.wake
        task = asyncio.create_task(runner.run())
        await on.engine.handle(context("immediate"), ACT)

        async def ended() -> bool:
            cuts = [one for one in await on.effects() if one.kind is EffectKind.CUT]
            return all(one.finished_at for one in cuts) and not runner._queues

        await eventually(ended)
        task.cancel()
        await asyncio.wait({task})
    assert {outcome: count() for outcome, count in grown.items() if count()} == ({counted: 1} if counted else {})
