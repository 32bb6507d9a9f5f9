from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from monitor.daemon.promptness import Promptness
from monitor.detect.persistence import Cleared, Raised
from monitor.effects.port import EffectResult
from monitor.errors import StoreError
from monitor.incidents.records import OpenIncident, drill_id
from monitor.protocol.decision import Decision
from monitor.protocol.events import DetectionRaised, Reviewed
from monitor.store.effects import PENDING, EffectRecord
from monitor.vocabulary import EffectKind, EffectOutcome, ReviewDecision, Severity
from tests.fakes.incidents import ACT, REVIEW, Bench, bench, context
from tests.fakes.samples import growth
from tests.fakes.store import CAM1

STREAM = CAM1.stream_id
CLIP_S = 0.5


@dataclass
class Measured:
    """A daemon's engine whose effects end here; what was observed since the test began."""

    on: Bench
    promptness: Promptness
    sums: dict[str, Callable[[], float]] = field(default_factory=dict)

    async def scored(self, event: DetectionRaised, *, first_hit_s_ago: float) -> None:
        raised = Raised(event.label, event.severity, event.score, since_s=self.on.now - first_hit_s_ago)
        self.promptness.noticed(STREAM, [raised], clip_s=CLIP_S)
        await self.on.engine.handle(context(self.protocol), event)

    protocol: str = "immediate"

    async def effect(self, kind: EffectKind) -> EffectRecord:
        return next(one for one in await self.on.effects() if (one.kind, one.status) == (kind, PENDING))

    async def ends(self, kind: EffectKind, outcome: EffectOutcome = EffectOutcome.SUCCEEDED, **detail: bool) -> None:
        await self.promptness.finish(await self.effect(kind), EffectResult(outcome, detail))

    def seconds(self, metric: str) -> tuple[float, float]:
        """Return how many containments were observed, and their seconds in all."""
        return self.sums[f"{metric}_count"](), round(self.sums[f"{metric}_sum"](), 3)


ROUTES = [
    (f"livecordon_{word}_to_contained_seconds", route)
    for word in ("onset", "detection")
    for route in ("direct", "waited")
]


@pytest.fixture
async def measured(tmp_path: Path) -> AsyncIterator[Measured]:
    async with bench(tmp_path / "store.sqlite3") as on:
        promptness = Promptness(on.engine, on.clock)
        made = Measured(on, promptness)

        def committed(incident: OpenIncident, decision: Decision) -> None:
            promptness.decided(incident, decision)

        on.notes.committed = committed  # type: ignore[method-assign] # as the daemon does
        for name, route in ROUTES:
            for end in ("count", "sum"):
                made.sums[f"{name.split('_')[1]} {route}_{end}"] = growth(f"{name}_{end}", route=route)
        for kind in ("hold", "cut"):
            for end in ("count", "sum"):
                made.sums[f"decision {kind}_{end}"] = growth(
                    f"livecordon_decision_to_contained_seconds_{end}", kind=kind
                )
        yield made


async def test_an_attack_is_measured_from_its_first_frame_from_its_detection_and_from_the_decision(
    measured: Measured,
) -> None:
    await measured.scored(ACT, first_hit_s_ago=4)
    await measured.on.clock.advance(1.5)
    await measured.ends(EffectKind.CUT)
    assert measured.seconds("onset direct") == (1, 4 + CLIP_S + 1.5)
    assert measured.seconds("detection direct") == (1, 1.5)
    assert measured.seconds("decision cut") == (1, 1.5)
    assert measured.seconds("detection waited") == (0, 0)


async def test_what_led_to_the_cut_counts_and_not_what_was_suspected_before(measured: Measured) -> None:
    await measured.scored(REVIEW, first_hit_s_ago=2)
    await measured.on.clock.advance(300)
    await measured.scored(ACT, first_hit_s_ago=3)
    # A second label that rises to the same severity is no newer attack.
    await measured.on.clock.advance(1)
    await measured.scored(DetectionRaised("weapon", Severity.ACT, 0.9), first_hit_s_ago=0)
    await measured.on.clock.advance(1)
    await measured.ends(EffectKind.CUT)
    assert measured.seconds("detection direct") == (1, 2)
    assert measured.seconds("onset direct") == (1, 3 + CLIP_S + 2)


async def test_what_people_and_deadlines_were_given_is_counted_apart(measured: Measured) -> None:
    measured.protocol = "assisted"
    await measured.scored(ACT, first_hit_s_ago=1)
    await measured.on.clock.advance(20)
    record = (await measured.on.records())[0]
    await measured.on.engine.review(record.id, Reviewed(ReviewDecision.CONFIRM, by="ana", why="seen"))
    await measured.on.clock.advance(2)
    await measured.ends(EffectKind.CUT)
    assert measured.seconds("detection waited") == (1, 22)
    assert measured.seconds("decision cut") == (1, 2)
    assert measured.seconds("detection direct") == measured.seconds("onset direct") == (0, 0)


async def test_a_deadline_that_ends_an_attempt_to_cut_does_not_excuse_how_long_it_took(measured: Measured) -> None:
    await measured.scored(ACT, first_hit_s_ago=0)
    await measured.ends(EffectKind.CUT, EffectOutcome.FAILED)
    await measured.on.clock.advance(301)
    await measured.on.engine.fire_due()
    await measured.ends(EffectKind.CUT)
    assert measured.seconds("detection direct") == (1, 301)
    assert measured.seconds("decision cut") == (1, 0)


async def test_a_stream_that_comes_back_after_its_incident_is_measured_anew(measured: Measured) -> None:
    for _ in range(2):
        await measured.scored(ACT, first_hit_s_ago=0)
        await measured.on.clock.advance(1)
        await measured.ends(EffectKind.CUT)
        record = (await measured.on.records())[-1]
        await measured.on.engine.review(record.id, Reviewed(ReviewDecision.CONFIRM, by="ana", why="seen"))
        assert measured.on.engine.open_incident(STREAM) is None
        await measured.on.clock.advance(86400)
    assert measured.seconds("detection direct") == (2, 2)


async def test_a_detection_that_cleared_is_over(measured: Measured) -> None:
    await measured.scored(REVIEW, first_hit_s_ago=0)
    measured.promptness.noticed(STREAM, [Cleared("violence", Severity.NONE)], clip_s=CLIP_S)
    await measured.on.clock.advance(100)
    await measured.scored(REVIEW, first_hit_s_ago=0)
    await measured.on.clock.advance(5)
    record = (await measured.on.records())[0]
    await measured.on.engine.review(record.id, Reviewed(ReviewDecision.CONFIRM, by="ana", why="seen"))
    await measured.ends(EffectKind.CUT)
    assert measured.seconds("detection waited") == (1, 5)


async def test_a_store_that_refuses_the_outcome_changes_nothing_about_when_it_was(measured: Measured) -> None:
    await measured.scored(ACT, first_hit_s_ago=0)
    await measured.on.clock.advance(1)
    effect = await measured.effect(EffectKind.CUT)
    attempts = 0
    finish = measured.on.engine.finish_effect

    async def refusing(effect: EffectRecord, result: EffectResult) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise StoreError("not now")
        await finish(effect, result)

    measured.on.engine.finish_effect = refusing  # type: ignore[method-assign] # the store's bad day
    with pytest.raises(StoreError):
        await measured.promptness.finish(effect, EffectResult(EffectOutcome.SUCCEEDED))
    assert measured.seconds("decision cut") == (0, 0)
    await measured.on.clock.advance(30)
    await measured.promptness.finish(effect, EffectResult(EffectOutcome.SUCCEEDED))
    assert measured.seconds("decision cut") == (1, 1)
    assert measured.seconds("detection direct") == (1, 1)


@pytest.mark.parametrize("outcome", [EffectOutcome.FAILED, EffectOutcome.UNVERIFIED])
async def test_what_did_not_work_contained_nothing(measured: Measured, outcome: EffectOutcome) -> None:
    await measured.scored(ACT, first_hit_s_ago=0)
    await measured.ends(EffectKind.CUT, outcome)
    assert measured.seconds("decision cut") == measured.seconds("detection direct") == (0, 0)


async def test_a_rehearsal_contained_nothing(measured: Measured) -> None:
    await measured.scored(ACT, first_hit_s_ago=0)
    await measured.ends(EffectKind.CUT, dry_run=True)
    assert measured.seconds("decision cut") == measured.seconds("detection direct") == (0, 0)


async def test_a_drill_contained_nothing(measured: Measured) -> None:
    raised = Raised("violence", Severity.ACT, 0.9, since_s=measured.on.now)
    measured.promptness.noticed(drill_id(CAM1), [raised], clip_s=0)
    assert await measured.on.engine.begin_drill(replace(context("immediate"), drill=True), ACT, actor="ana")
    await measured.ends(EffectKind.CUT)
    assert measured.seconds("decision cut") == measured.seconds("detection direct") == (0, 0)
