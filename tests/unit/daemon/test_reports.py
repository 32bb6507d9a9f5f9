from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.config.enforcement import ReportsSection
from monitor.config.models import WatchSection
from monitor.daemon.reports import Reports
from monitor.daemon.streams import StreamRegistry, WatchedStream
from monitor.detect.persistence import Detector
from monitor.effects.identity import Identifier
from monitor.store import reports as rows
from monitor.vocabulary import Category
from monitor.web.enforcement_port import ReportOutcome, ReportResult
from tests.fakes.incidents import Bench, bench, context
from tests.fakes.media_server import live
from tests.fakes.protocols import shipped
from tests.fakes.store import CAM1


class Taking:
    def __init__(self, on: Bench, **limits: object) -> None:
        self.on = on
        self.registry = StreamRegistry(WatchSection(), remember_ended_s=600.0)
        self.stream = WatchedStream(live(), shipped()["assisted"], Detector({}), False, "cam1", on.now)
        self.registry.add(self.stream)
        self.reports = Reports(
            on.database,
            on.engine,
            self.registry,
            on.clock,
            identifier=Identifier(b"k" * 32),
            settings=ReportsSection.model_validate(limits),
            context_of=lambda _stream, is_live: context(session="s1" if is_live else ""),
        )

    async def report(self, reporter: str = "u1", category: Category = Category.HATE, by: str = "app") -> ReportResult:
        return await self.reports.report(CAM1.stream_id, category, text="look", reporter=reporter, by=by)


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path / "store.sqlite3") as made:
        yield made


async def test_a_report_in_any_category_reaches_the_protocol_the_store_and_the_log(on: Bench) -> None:
    taking = Taking(on)
    for number, category in enumerate(Category):
        result = await taking.report(f"u{number}", category)
        assert result.outcome is ReportOutcome.TAKEN
    (incident,) = on.engine.open_incidents()
    assert (incident.record.state, incident.record.reports) == ("under_review", len(Category))
    async with on.database.reading() as connection:
        kept = await rows.of_incident(connection, incident.record.id)
    assert {one.category for one in kept} == {category.value for category in Category}
    assert "u1" not in {one.reporter_hash for one in kept}
    actions = [entry.action for entry in await on.log()]
    assert actions.count("user_reported") == len(Category)


async def test_the_same_words_of_the_same_person_count_once(on: Bench) -> None:
    taking = Taking(on)
    first = await taking.report()
    again = await taking.report()
    assert (again.outcome, again.incident_id) == (ReportOutcome.DUPLICATE, first.incident_id)
    assert on.engine.open_incidents()[0].record.reports == 1
    assert (await taking.report(category=Category.FRAUD)).outcome is ReportOutcome.TAKEN


async def test_each_reporter_and_each_token_has_a_limit_that_passes(on: Bench) -> None:
    taking = Taking(on, per_reporter=2, per_token=3)
    outcomes = [(await taking.report(category=category)).outcome for category in list(Category)[:3]]
    assert outcomes == [ReportOutcome.TAKEN, ReportOutcome.TAKEN, ReportOutcome.TOO_MANY]
    assert (await taking.report("u2")).outcome is ReportOutcome.TAKEN
    full = await taking.report("u3")
    assert (full.outcome, full.wait_s) == (ReportOutcome.TOO_MANY, 60.0)
    assert (await taking.report("u3", by="other")).outcome is ReportOutcome.TAKEN
    await on.clock.advance(60)
    assert (await taking.report("u3")).outcome is ReportOutcome.TAKEN


async def test_a_stream_that_ended_lately_can_still_be_reported(on: Bench) -> None:
    taking = Taking(on)
    taking.registry.remove(CAM1.stream_id, on.now)
    late = await taking.report()
    assert (late.outcome, late.ended_at) == (ReportOutcome.ENDED, on.clock.now())
    assert len(on.engine.open_incidents()) == 1
    await on.clock.advance(600)
    assert (await taking.report("u2")).outcome is ReportOutcome.UNKNOWN


async def test_a_store_that_refuses_keeps_no_report_from_the_protocol(on: Bench) -> None:
    taking = Taking(on)
    on.database.broken = True
    assert (await taking.report()).outcome is ReportOutcome.TAKEN
    assert on.engine.open_incidents()[0].record.state == "under_review"
