"""A real store, engine and keeper; scores are recorded ones, and time is played."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from monitor.config.models import Config, DetectionSection, WatchSection
from monitor.daemon.keeper import Keeper, ServerPolicy
from monitor.daemon.streams import StreamRegistry
from monitor.daemon.thresholds import Thresholds, applications_of, budgets_of, ending_of
from monitor.daemon.thresholds_of_model import basis_of
from monitor.detect.learning import Ending
from monitor.detect.persistence import DetectionRule, LevelRule
from monitor.incidents.records import begin_record
from monitor.metrics import THRESHOLD, THRESHOLD_HOURS
from monitor.vocabulary import Posture, ReviewDecision, Severity, StreamRef
from monitor.watch.messages import Observation
from tests.fakes.clock import ManualClock
from tests.fakes.incidents import Bench, bench, context
from tests.fakes.media_server import FakeServer, live
from tests.fakes.protocols import shipped

RULES = {"violence": DetectionRule(LevelRule(0.7, 3, 5), LevelRule(0.95, 4, 6), 0.8, 10.0)}
REVIEW = Severity.REVIEW


def test_budgets_are_read_from_the_configuration() -> None:
    section = DetectionSection.model_validate({"review": {"budget": "20 per 1000 stream-hours"}})
    assert budgets_of(section) == {REVIEW: pytest.approx(0.02)}
    assert budgets_of(DetectionSection()) == {}


def test_applications_that_are_named_learn_by_themselves() -> None:
    addresses = {"stat_url": "http://127.0.0.1/s", "control_url": "http://127.0.0.1/c", "rtmp_url": "rtmp://127.0.0.1"}
    named = {"applications": ["live", "news"], "learn_apart": ["news", "sport"]}
    edge = {"name": "edge", "kind": "nginx_rtmp", **addresses, **named}
    cams = {"name": "cams", "kind": "static", "streams": [{"name": "a", "url": "a.mp4"}], "learn_apart": ["talk"]}
    config = Config.model_validate({"servers": [edge, cams]})
    assert applications_of(config) == {"edge": ("live", "news", "sport"), "cams": ("talk",)}


@pytest.mark.parametrize(
    "text",
    [
        "20",
        20,
        "20 per hour",
        "20 per 0 stream-hours",
        "0 per 1000 stream-hours",
        "9 per 1 stream-hours",
        None,
        "-1 per 5 stream-hours",
    ],
)
def test_what_is_no_budget_is_refused_with_an_example(text: object) -> None:
    if text is None:
        assert DetectionSection.model_validate({"review": {"budget": None}}).review.budget is None
        return
    with pytest.raises(ValueError, match=r"such as 20 per 1000 stream-hours|allow at least"):
        DetectionSection.model_validate({"review": {"budget": text}})


def test_the_basis_is_another_for_another_model_or_persistence_and_not_for_another_threshold() -> None:
    other = {"violence": DetectionRule(LevelRule(0.6, 3, 5), LevelRule(0.9, 4, 6), 0.8, 10.0)}
    looser = {"violence": DetectionRule(LevelRule(0.7, 2, 5), LevelRule(0.95, 4, 6), 0.8, 10.0)}
    assert basis_of(RULES, "1f") == basis_of(other, "1f")
    assert len({basis_of(RULES, "1f"), basis_of(RULES, "2f"), basis_of(looser, "1f")}) == 3


@dataclass
class School:
    on: Bench
    server: FakeServer
    registry: StreamRegistry
    keeper: Keeper
    thresholds: Thresholds
    told: list[int]

    def play(self, name: str, scores: list[float], *, every_s: float = 9.0) -> None:
        """Let one stream show these scores, the last of them now."""
        began = self.on.now - every_s * (len(scores) - 1)
        for number, score in enumerate(scores):
            ref = StreamRef("edge", "live", name)
            self.thresholds.observe(ref.stream_id, ref, began + number * every_s, {"violence": score})

    @property
    def threshold(self) -> float:
        return self.thresholds.rules_for(StreamRef("edge", "live", "cam1"))["violence"].review.threshold


@asynccontextmanager
async def school(
    path: Path,
    clock: ManualClock,
    *,
    budget: float | None = 0.2,
    digest: str = "1f",
    rules: Mapping[str, DetectionRule] = RULES,
) -> AsyncIterator[School]:
    async with bench(path / "store.sqlite3", clock) as on:
        thresholds = Thresholds(
            rules=rules,
            budgets={} if budget is None else {REVIEW: budget},
            applications={"edge": ("news",)},
            model="toy@1",
            digest=digest,
            database=on.database,
            clock=clock,
            has_incident=lambda stream_id: on.engine.open_incident(stream_id) is not None,
        )
        await thresholds.load()
        registry = StreamRegistry(WatchSection())
        server: FakeServer = FakeServer()
        keeper = Keeper(
            registry=registry,
            servers={"edge": server},
            policies={"edge": ServerPolicy(shipped()["observe"], dry_run=False, names_are_secret=False)},
            rules=rules,
            model="toy@1",
            watchers=FakeWatchers(),
            engine=on.engine,
            clock=clock,
            on_live=lambda _server, _stream: None,
            on_change=lambda: None,
            thresholds=thresholds,
        )
        told: list[int] = []

        def changed() -> None:
            told.append(1)
            keeper.use_rules()

        thresholds.on_change = changed
        yield School(on, server, registry, keeper, thresholds, told)


class FakeWatchers:
    async def assign(self, stream_id: str, url: str, posture: object) -> None: ...

    async def release(self, stream_id: str) -> None: ...

    async def set_posture(self, stream_id: str, posture: object) -> None: ...


def hours_of(hours: int, *, bursts_at: float) -> list[float]:
    """So many hours, a clip every nine seconds, with three high ones in a row in each hour."""
    hour = [0.2] * 400
    hour[200:203] = [bursts_at] * 3
    return hour * hours


async def test_a_budget_becomes_a_threshold_over_a_restart_in_the_middle(tmp_path: Path) -> None:
    clock = ManualClock()
    async with school(tmp_path, clock) as first:
        await clock.advance(20 * 3600)
        for name in ("a", "b"):
            first.play(name, hours_of(8, bursts_at=0.85))
        await clock.advance(3600)
        await first.thresholds.keep()
        assert first.threshold == 0.7
        assert first.told == []
    async with school(tmp_path, clock) as second:
        await second.keeper.on_listing(second.server, (live(),))
        detector = next(iter(second.registry)).detector
        assert second.threshold == 0.7
        await clock.advance(20 * 3600)
        second.play("c", hours_of(10, bursts_at=0.85))
        await clock.advance(3600)
        await second.thresholds.keep()
        assert second.told == [1]
        learnt = second.threshold
        assert 0.85 < learnt < 0.95
        (entry,) = [one for one in await second.on.log() if one.action == "threshold_learnt"]
        assert entry.actor == "daemon"
        assert entry.detail["before"] == 0.7
        assert entry.detail["after"] == pytest.approx(learnt, abs=1e-4)
        assert entry.detail["budget_per_1000_h"] == 200
        assert 24 < entry.detail["hours"] < 25.5
        # The stream that is live is judged by it too.
        ref = StreamRef("edge", "live", "cam1")
        assert detector is second.registry.get(ref.stream_id).detector  # type: ignore[union-attr] # it is live
        for at in range(3):
            assert detector.observe(float(at), {"violence": 0.84}) == ()
        assert second.thresholds.rules_for(StreamRef("edge", "news", "x")) == RULES
    async with school(tmp_path, clock) as third:
        assert third.threshold == learnt
        await third.thresholds.keep()
        assert third.told == []
    async with school(tmp_path, clock, digest="2f") as other:
        assert other.threshold == 0.7


@pytest.mark.parametrize(
    ("change", "begins"),
    [
        ({}, None),
        ({"budget": 0.1}, 0.7),
        ({"rules": {"violence": DetectionRule(LevelRule(0.6, 3, 5), LevelRule(0.95, 4, 6), 0.8, 10.0)}}, 0.6),
    ],
)
async def test_other_terms_are_another_beginning_by_what_was_counted(
    tmp_path: Path, change: dict[str, Any], begins: float | None
) -> None:
    clock = ManualClock()
    async with school(tmp_path, clock) as first:
        await clock.advance(60 * 3600)
        first.play("a", hours_of(60, bursts_at=0.85))
        await clock.advance(3600)
        await first.thresholds.keep()
        learnt = first.threshold
        assert 0.85 < learnt < 0.95
    async with school(tmp_path, clock, **change) as second:
        assert second.threshold == (learnt if begins is None else begins)
        # Nothing has to be counted again.
        await second.thresholds.keep()
        assert second.threshold == learnt
        assert second.told == ([] if begins is None else [1])


async def test_what_the_store_refuses_does_not_come_into_force_and_is_tried_again(tmp_path: Path) -> None:
    clock = ManualClock()
    async with school(tmp_path, clock) as here:
        await clock.advance(60 * 3600)
        here.play("a", hours_of(30, bursts_at=0.85))
        await clock.advance(3600)
        here.on.database.broken = True
        await here.thresholds.keep()
        assert here.threshold == 0.7
        assert here.told == []
        here.on.database.broken = False
        await here.thresholds.keep()
        assert here.threshold > 0.85
        assert here.told == [1]


async def test_without_a_budget_nothing_is_learnt_or_written(tmp_path: Path) -> None:
    clock = ManualClock()
    async with school(tmp_path, clock, budget=None) as here:
        await clock.advance(60 * 3600)
        here.play("a", hours_of(30, bursts_at=0.85))
        await here.thresholds.keep()
        assert here.threshold == 0.7
        assert here.on.database.written == 0


@pytest.mark.parametrize(
    ("decision", "severity", "ending"),
    [
        (ReviewDecision.CONFIRM, "review", Ending.ATTACK),
        (ReviewDecision.ESCALATE, "act", Ending.ATTACK),
        (ReviewDecision.DISMISS, "act", Ending.ORDINARY),
        (ReviewDecision.RELEASE, "act", Ending.ORDINARY),
        (None, "act", Ending.DOUBTFUL),
        (None, "review", Ending.ORDINARY),
    ],
)
def test_people_say_what_was_an_attack(decision: ReviewDecision | None, severity: str, ending: Ending) -> None:
    record = replace(begin_record("i", context(), now=0.0), max_severity=severity, review_decision=decision)
    assert ending_of(record) is ending


OTHER_RULES = {"violence": DetectionRule(LevelRule(0.5, 3, 5), LevelRule(0.9, 4, 6), 0.8, 10.0)}
CAM1 = StreamRef("edge", "live", "cam1")


async def test_a_model_that_takes_over_learns_its_own_and_the_one_before_keeps_what_it_learnt(tmp_path: Path) -> None:
    clock = ManualClock()
    async with school(tmp_path, clock) as here:
        await clock.advance(60 * 3600)
        here.play("a", hours_of(30, bursts_at=0.85))
        await clock.advance(3600)
        await here.thresholds.keep()
        learnt = here.threshold
        assert 0.85 < learnt < 0.95
        # Another model: its own rules, nothing learnt yet; streams that it does not score yet go on by what was learnt.
        here.thresholds.adopt(await here.thresholds.prepare("toy@2", "2f", OTHER_RULES))
        here.keeper.adopt("toy@2", OTHER_RULES)
        assert here.threshold == 0.5
        assert here.thresholds.rules_for(CAM1, "toy@1")["violence"].review.threshold == learnt
        assert THRESHOLD.labels("edge", "*", "violence", "review")._value.get() == 0.5
        assert [one for found in THRESHOLD_HOURS.collect() for one in found.samples] == []
        # It learns while the daemon runs.
        await clock.advance(60 * 3600)
        here.play("b", hours_of(30, bursts_at=0.65))
        await clock.advance(3600)
        await here.thresholds.keep()
        assert 0.65 < here.threshold < 0.75
        second = here.threshold
        assert here.thresholds.rules_for(CAM1, "toy@1")["violence"].review.threshold == learnt
        log = [one.detail["model"] for one in await here.on.log() if one.action == "threshold_learnt"]
        assert log == ["toy@1", "toy@2"]
        # Back again: nothing has to be learnt a second time.
        here.thresholds.adopt(await here.thresholds.prepare("toy@1", "1f", RULES))
        here.keeper.adopt("toy@1", RULES)
        assert here.threshold == learnt
        assert here.thresholds.rules_for(CAM1, "toy@2")["violence"].review.threshold == second


async def test_a_stream_is_judged_by_what_was_learnt_from_the_model_that_scores_it(tmp_path: Path) -> None:
    clock = ManualClock()
    async with school(tmp_path, clock) as here:
        await here.keeper.on_listing(here.server, (live(),))
        here.thresholds.adopt(await here.thresholds.prepare("toy@2", "2f", OTHER_RULES))
        here.keeper.adopt("toy@2", OTHER_RULES)
        await clock.advance(60 * 3600)
        here.play("a", hours_of(30, bursts_at=0.65))
        await clock.advance(3600)
        here.keeper.on_model(CAM1.stream_id, "toy@2")
        await here.thresholds.keep()
        assert here.keeper.rules_on(CAM1.stream_id) == here.thresholds.rules_for(CAM1, "toy@2")
        detector = here.registry.get(CAM1.stream_id).detector  # type: ignore[union-attr] # it is live
        assert [detector.observe(float(at), {"violence": 0.6}) for at in range(4)] == [()] * 4
        # Its clips teach the new model's thresholds, and no other's.
        observation = Observation(
            CAM1.stream_id, 0.0, 1.0, here.on.now, here.on.now, (0.1,), Posture.CALM, spacing_honoured=True
        )
        here.keeper.on_observation(observation, ("violence",))
        taught = [name for name, one in here.thresholds._by_model.items() if CAM1.stream_id in one.learning._streams]
        assert taught == ["toy@2"]


async def test_people_are_shown_what_holds_and_how_far_it_is(tmp_path: Path) -> None:
    clock = ManualClock()
    async with school(tmp_path, clock) as here:
        await clock.advance(60 * 3600)
        here.play("a", hours_of(12, bursts_at=0.85))
        await clock.advance(3600)
        await here.thresholds.keep()
        views = {(view.app, view.severity): view for view in here.thresholds.views()}
        assert set(views) == {(app, severity) for app in ("news", "*") for severity in (REVIEW, Severity.ACT)}
        learning = views["*", REVIEW]
        assert (learning.threshold, learning.default, learning.learnt, learning.since) == (0.7, 0.7, False, None)
        assert learning.budget_per_1000_h == pytest.approx(200)
        assert learning.hours_needed == 24
        assert learning.hours == pytest.approx(12, abs=0.2)
        assert learning.counted_per_1000_h == pytest.approx(1000, rel=0.02)
        assert views["news", REVIEW].hours == 0
        assert views["news", REVIEW].counted_per_1000_h is None
        assert views["*", Severity.ACT].budget_per_1000_h is None
        await clock.advance(60 * 3600)
        here.play("b", hours_of(30, bursts_at=0.85))
        await clock.advance(3600)
        await here.thresholds.keep()
        (learnt,) = [view for view in here.thresholds.views() if view.learnt]
        assert learnt.threshold == here.threshold
        assert learnt.default == 0.7
        assert learnt.since == clock.now()
        assert learnt.counted_per_1000_h == 0
