"""Acknowledgements, reminders, and whom an incident is passed on to that nobody acknowledges; the test moves the clock."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from monitor.alerts.routing import Route, Routing
from monitor.config.people import ResponderGroup
from monitor.daemon.acknowledging import Acknowledging
from monitor.daemon.alerting import Alerting
from monitor.daemon.ladder import Ladder
from monitor.daemon.reminding import Reminding
from monitor.effects.decided import DecidedEffects
from monitor.effects.restraint import Restraints
from monitor.errors import StoreError
from monitor.incidents.engine import IncidentEngine
from monitor.protocol.events import Reviewed
from monitor.store import acknowledgements, deliveries
from monitor.vocabulary import EffectKind, ReviewDecision
from monitor.web.acknowledge_port import AcknowledgeOutcome, AcknowledgeWay, PagerDutySaid
from tests.fakes.clock import ManualClock
from tests.fakes.incidents import ACT, REVIEW, Bench, TakenNotes, context
from tests.fakes.store import flaky_store

SECRET = SecretStr("a webhook's secret of PagerDuty")


def group(name: str, **settings: object) -> ResponderGroup:
    return ResponderGroup.model_validate({"name": name, "receivers": (name,), **settings})


class Site(Bench):
    alerting: Alerting
    acknowledging: Acknowledging
    ladder: Ladder
    reminding: Reminding

    async def sent(self) -> list[tuple[str, str]]:
        ids = {record.id for record in await self.records()}
        async with self.database.reading() as connection:
            rows = [row for one in ids for row in await deliveries.of_incident(connection, one)]
        return [(row.receiver, row.event_type.split(".")[-1]) for row in rows]

    async def bodies(self, word: str) -> list[dict[str, object]]:
        ids = {record.id for record in await self.records()}
        async with self.database.reading() as connection:
            rows = [row for one in ids for row in await deliveries.of_incident(connection, one)]
        return [json.loads(row.body)["data"] for row in rows if row.event_type.endswith(word)]

    async def delivered(self) -> None:
        async with self.database.transaction() as connection:
            await connection.exec_driver_sql("UPDATE delivery SET status = 'delivered'")


@asynccontextmanager
async def site(
    path: Path,
    clock: ManualClock,
    *,
    groups: Sequence[ResponderGroup] = (),
    routes: Mapping[str, Route] | None = None,
    receivers: Sequence[str] = ("first", "second", "third"),
) -> AsyncIterator[Site]:
    async with flaky_store(path) as database:
        restraints = Restraints(clock)
        routing = Routing(routes or {}, groups)
        alerting = Alerting("test", receivers, frozenset(), None, routing, restraints)
        notes = TakenNotes()
        engine = IncidentEngine(database, clock, DecidedEffects(alerting, 60.0, restraints.is_paused), notes)
        await engine.load()
        made = Site(path, database, clock, notes, engine)
        made.alerting = alerting
        made.acknowledging = Acknowledging(database, alerting, clock)
        await made.acknowledging.load()
        alerting.acknowledged_at = made.acknowledging.at
        made.ladder = Ladder(database, engine, alerting, clock, routing=routing, answers=made.acknowledging)
        made.reminding = Reminding(database, engine, alerting, clock, acknowledging=made.acknowledging, routing=routing)
        yield made


async def test_the_first_one_counts_and_whoever_was_told_hears_of_it_once(tmp_path: Path) -> None:
    clock = ManualClock()
    routes = {"second": Route(events=frozenset({"contained", "acknowledged"}))}
    async with site(tmp_path / "s", clock, routes=routes) as on:
        await on.engine.handle(context("assisted"), REVIEW)
        (record,) = await on.records()
        await clock.advance(7)
        told = []
        on.acknowledging.on_change = lambda: told.append(1)
        first = await on.acknowledging.acknowledge(record.id, by="ada", way=AcknowledgeWay.API)
        again = await on.acknowledging.acknowledge(record.id, by="bob", way=AcknowledgeWay.LINK)

        assert (first.outcome, first.by) == (AcknowledgeOutcome.ACCEPTED, "ada")
        assert (again.outcome, again.by, again.at) == (AcknowledgeOutcome.ALREADY, "ada", first.at)
        assert told == [1]
        # `second` asks for the event, but has heard nothing of this incident.
        assert [one for one in await on.sent() if one[1] == "acknowledged"] == [
            ("first", "acknowledged"),
            ("third", "acknowledged"),
        ]
        (body, _) = await on.bodies("acknowledged")
        assert body["acknowledged_at"] == first.at.isoformat().replace("+00:00", "Z") if first.at else None
        (entry,) = [entry for entry in await on.log() if entry.action == "acknowledged"]
        assert (entry.actor, entry.detail) == ("ada", {"via": "api"})


async def test_what_is_closed_or_unknown_is_not_acknowledged(tmp_path: Path) -> None:
    async with site(tmp_path / "s", ManualClock()) as on:
        await on.engine.handle(context("assisted"), REVIEW)
        (record,) = await on.records()
        await on.engine.review(record.id, Reviewed(ReviewDecision.DISMISS, "ada", "a film"))
        for incident_id, outcome in (
            (record.id, AcknowledgeOutcome.CLOSED),
            ("none", AcknowledgeOutcome.UNKNOWN),
            ("\ud800" * 400, AcknowledgeOutcome.UNKNOWN),
        ):
            answer = await on.acknowledging.acknowledge(
                incident_id.encode("utf-8", "replace").decode(), by="ada", way=AcknowledgeWay.API
            )
            assert answer.outcome is outcome


async def test_an_acknowledgement_that_is_not_stored_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site(tmp_path / "s", ManualClock()) as on:
        await on.engine.handle(context("assisted"), REVIEW)
        (record,) = await on.records()

        async def refuses(*_: object, **__: object) -> None:
            raise StoreError("full")

        with monkeypatch.context() as broken:
            broken.setattr(
                on.acknowledging, "_alerts", type("Broken", (), {"tell_acknowledged": staticmethod(refuses)})()
            )
            with pytest.raises(StoreError):
                await on.acknowledging.acknowledge(record.id, by="ada", way=AcknowledgeWay.API)
        assert on.acknowledging.at(record.id) is None
        async with on.database.reading() as connection:
            assert await acknowledgements.of_incidents(connection, [record.id]) == {}


async def test_acknowledgements_survive_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with site(tmp_path / "s", clock) as on:
        await on.engine.handle(context("assisted"), REVIEW)
        (record,) = await on.records()
        await on.acknowledging.acknowledge(record.id, by="ada", way=AcknowledgeWay.PAGE)
    async with site(tmp_path / "s", clock) as on:
        assert on.acknowledging.at(record.id) is not None
        on.acknowledging.forget_closed(set())
        assert on.acknowledging.at(record.id) is None


GROUPS = (
    group("first", within="10m", acknowledge_within="60s"),
    group("second", within="10m", acknowledge_within="60s"),
    group("third"),
)


def overdue(sent: list[tuple[str, str]]) -> list[str]:
    return [name for name, word in sent if word == "review_overdue"]


async def test_what_nobody_acknowledges_climbs_until_somebody_does(tmp_path: Path) -> None:
    clock = ManualClock()
    async with site(tmp_path / "s", clock, groups=GROUPS) as on:
        await on.engine.handle(context("assisted"), REVIEW)
        (record,) = await on.records()
        for seconds, told in ((59, []), (2, ["second"]), (58, ["second"])):
            await on.ladder.look()
            await clock.advance(seconds)
            await on.ladder.look()
            assert overdue(await on.sent()) == told
        await on.acknowledging.acknowledge(record.id, by="ada", way=AcknowledgeWay.LINK)
        await clock.advance(300)
        await on.ladder.look()
        assert overdue(await on.sent()) == ["second"], "somebody is on it, and there is time left to decide"
        await clock.advance(400)
        await on.ladder.look()
        assert overdue(await on.sent()) == ["second", "third"], "whoever was on it has not decided"


async def test_a_grave_incident_climbs_even_where_no_decision_is_asked_for(tmp_path: Path) -> None:
    clock = ManualClock()
    async with site(tmp_path / "s", clock, groups=GROUPS) as on:
        await on.engine.handle(context("observe"), ACT)
        await on.ladder.look()
        await clock.advance(61)
        await on.ladder.look()
        assert overdue(await on.sent()) == ["second"]
    # The wait is the store's, and a restart neither forgets nor doubles it.
    async with site(tmp_path / "s", clock, groups=GROUPS) as on:
        await on.ladder.look()
        assert overdue(await on.sent()) == ["second"]
        await clock.advance(61)
        await on.ladder.look()
        assert overdue(await on.sent()) == ["second", "third"]
        (record,) = await on.records()
        await on.acknowledging.acknowledge(record.id, by="ada", way=AcknowledgeWay.PAGE)
        await on.ladder.look()


async def test_a_group_off_call_is_passed_over_unless_nobody_would_be_left(tmp_path: Path) -> None:
    clock = ManualClock()
    weekday = clock.now().strftime("%a").lower()
    other = "sun" if weekday != "sun" else "mon"
    off = {"hours": (f"{other} 00:00-24:00",)}
    groups: Sequence[ResponderGroup] = (GROUPS[0], group("second", **off), group("third"))
    async with site(tmp_path / "a", clock, groups=groups) as on:
        await on.engine.handle(context("observe"), ACT)
        assert [name for name, _ in await on.sent()] == ["first", "third"], "receivers of groups that are on call"
        await on.ladder.look()
        await clock.advance(61)
        await on.ladder.look()
        assert overdue(await on.sent()) == ["third"]
    groups = (group("first", acknowledge_within="60s", **off), group("second", **off))
    async with site(tmp_path / "b", clock, groups=groups, receivers=("first", "second")) as on:
        await on.engine.handle(context("observe"), ACT)
        assert [name for name, _ in await on.sent()] == ["first", "second"], "nobody is on call: everybody is told"
        await on.ladder.look()
        await clock.advance(61)
        await on.ladder.look()
        assert overdue(await on.sent()) == ["second"]


async def test_reminders_come_until_somebody_answers_and_never_pile_up(tmp_path: Path) -> None:
    clock = ManualClock()
    async with site(tmp_path / "s", clock, routes={"second": Route(repeat_s=300.0)}) as on:
        await on.engine.handle(context("observe"), ACT)

        async def reminders() -> int:
            return (await on.sent()).count(("second", "updated"))

        await clock.advance(301)
        await on.reminding.look()
        assert await reminders() == 0, "the first alert is still on its way"
        await on.delivered()
        await on.reminding.look()
        await on.reminding.look()
        assert await reminders() == 1
        await on.delivered()
        await clock.advance(299)
        assert 0 < await on.reminding.look() - clock.now().timestamp() <= 1
        assert await reminders() == 1
        await clock.advance(2)
        await on.reminding.look()
        assert await reminders() == 2
        assert (await on.sent()).count(("first", "updated")) == 0, "only who asked for it"
        await on.delivered()
        (record,) = await on.records()
        await on.acknowledging.acknowledge(record.id, by="ada", way=AcknowledgeWay.API)
        await clock.advance(1000)
        assert await on.reminding.look() == float("inf")
        assert await reminders() == 2


async def test_a_decision_is_an_answer_too(tmp_path: Path) -> None:
    clock = ManualClock()
    async with site(tmp_path / "s", clock, routes={"second": Route(repeat_s=300.0)}) as on:
        await on.engine.handle(context("assisted"), ACT)
        await on.delivered()
        (record,) = await on.records()
        await on.engine.review(record.id, Reviewed(ReviewDecision.CONFIRM, "ada", "seen"))
        await clock.advance(301)
        assert await on.reminding.look() == float("inf")


async def test_whoever_keeps_an_incident_open_is_told_of_its_end(tmp_path: Path) -> None:
    routes = {
        "first": Route(events=frozenset({"raised"}), follows=True),
        "second": Route(events=frozenset({"raised"})),
        "third": Route(events=frozenset({"contained"}), severities=frozenset({"none"})),
    }
    async with site(tmp_path / "s", ManualClock(), routes=routes) as on:
        await on.engine.handle(context("immediate"), ACT)
        await on.finish(EffectKind.CUT)
        (record,) = await on.records()
        await on.engine.review(record.id, Reviewed(ReviewDecision.DISMISS, "ada", "a film"))
        sent = await on.sent()
        assert [word for name, word in sent if name == "second"] == ["raised", "dismissed"]
        assert [word for name, word in sent if name == "first"][:2] == ["raised", "contained"]
        assert [word for name, word in sent if name == "third"] == []


def signed(body: bytes, secret: SecretStr = SECRET) -> str:
    return "v1=" + hmac.new(secret.get_secret_value().encode(), body, hashlib.sha256).hexdigest()


async def test_pagerduty_acknowledges_with_a_valid_signature_only(tmp_path: Path) -> None:
    async with site(tmp_path / "s", ManualClock()) as on:
        await on.engine.handle(context("assisted"), REVIEW)
        (record,) = await on.records()
        on.acknowledging.webhook_secrets = {"pager": (SecretStr("an older secret, still in use"), SECRET)}
        event = {
            "id": "01BX",
            "event_type": "incident.acknowledged",
            "agent": {"type": "user_reference", "summary": "Ada\n Lovelace"},
            "data": {"id": "PGR0VU2", "type": "incident", "incident_key": record.id},
        }
        body = json.dumps({"event": event}).encode()
        hear = on.acknowledging.heard_from_pagerduty
        for receiver, wrong in (
            ("pager", ""),
            ("pager", "v1=" + "0" * 64),
            ("pager", signed(body, SecretStr("another"))),
            ("pager", signed(body + b" ")),
            ("other", signed(body)),
            ("pager", "v1=\u00fc"),
        ):
            assert await hear(receiver, body, wrong) is PagerDutySaid.NOT_PAGERDUTY
        assert on.acknowledging.at(record.id) is None
        resolved = json.dumps({"event": {**event, "event_type": "incident.resolved"}}).encode()
        assert await hear("pager", resolved, signed(resolved)) is PagerDutySaid.SOMETHING_ELSE
        for broken in (b"[]", b"{", b'{"event": 1}', b'{"event": {"event_type": "incident.acknowledged"}}'):
            with pytest.raises(ValueError, match=r"webhook|Expecting"):
                await hear("pager", broken, signed(broken))
        assert await hear("pager", body, f"v1={'0' * 64}, {signed(body)}") is PagerDutySaid.ACKNOWLEDGED
        async with on.database.reading() as connection:
            found = (await acknowledgements.of_incidents(connection, [record.id]))[record.id]
        assert (found.by, found.via) == ("Ada Lovelace via pager", "pagerduty")
