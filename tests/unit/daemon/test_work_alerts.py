from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monitor.alerts.event_models import parse
from monitor.alerts.routing import Route, Routing
from monitor.daemon.alerting import Alerting
from monitor.daemon.work_alerts import WorkAlerts
from monitor.effects.decided import DecidedEffects
from monitor.effects.port import EffectResult
from monitor.incidents.engine import IncidentEngine
from monitor.protocol.events import Reviewed, WatchChanged
from monitor.store.deliveries import due
from monitor.vocabulary import EffectKind, EffectOutcome, Freshness, ReviewDecision
from tests.fakes.incidents import ACT, Bench, bench, context

WORDS = ("review_requested", "review_decided", "effect_failed", "watch_blind", "watch_restored")


async def sent_to(on: Bench, receiver: str) -> list[Any]:
    async with on.database.reading() as connection:
        rows = await due(connection, receiver, at=on.now + 9999, limit=99)
    assert all(parse(row.body).type == row.event_type for row in rows)
    return sorted((json.loads(row.body) for row in rows), key=lambda event: (event["sequence"], event["time"]))


async def test_who_asks_for_the_work_on_incidents_is_told_of_it_in_documented_events_and_nobody_else(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path / "store.sqlite3") as on:
        routing = Routing({"wall": Route(events=frozenset(WORDS))})
        alerting = Alerting("here", ("wall", "partner"), frozenset(), None, routing=routing)
        engine = IncidentEngine(
            on.database, on.clock, DecidedEffects(alerting, 60.0, work=WorkAlerts(alerting)), on.notes
        )
        await engine.load()
        on.engine = engine
        await engine.handle(context("assisted"), ACT)
        for freshness in (Freshness.LATE, Freshness.BLIND, Freshness.FRESH):
            await on.clock.advance(1)
            await engine.handle(context("assisted"), WatchChanged(freshness))
        (incident,) = engine.open_incidents()
        await on.clock.advance(1)
        await engine.review(incident.record.id, Reviewed(ReviewDecision.CONFIRM, "ada", "a real one"))
        cut = next(one for one in await on.effects() if one.kind is EffectKind.CUT)
        await on.clock.advance(1)
        await engine.finish_effect(cut, EffectResult(EffectOutcome.FAILED, {}))
        events = await sent_to(on, "wall")
        by_word = {event["type"].removeprefix("livecordon."): event["data"] for event in events}
        assert set(by_word) == {word.replace("_", ".", 1) for word in WORDS}
        decided, failed = by_word["review.decided"], by_word["effect.failed"]
        assert (decided["decision"], decided["by"], decided["why"]) == ("confirm", "ada", "a real one")
        assert (failed["effect"], failed["outcome"]) == ("cut", "failed")
        others = {event["type"].split(".")[1] for event in await sent_to(on, "partner")}
        assert others == {"incident"}
