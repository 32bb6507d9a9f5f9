from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from monitor.alerts.event_models import parse
from monitor.alerts.events import compose
from monitor.alerts.signing import Signer
from monitor.alerts.verifying import Doubt, Verifier
from monitor.config.models import WatchSection
from monitor.config.partners import PartnerSection
from monitor.daemon.partners import Partners
from monitor.daemon.peers import Peer
from monitor.daemon.streams import StreamRegistry, WatchedStream
from monitor.detect.persistence import Detector
from monitor.protocol.decision import Reason
from monitor.protocol.events import Reviewed
from monitor.store.deliveries import due, enqueue
from monitor.vocabulary import AlertEvent, Posture, ReviewDecision, Severity, StreamRef
from monitor.web.partners_port import PartnerReply
from tests.fakes.incidents import ACT, Bench, bench, context
from tests.fakes.media_server import live
from tests.fakes.protocols import shipped
from tests.fakes.snapshots import SNAPSHOT
from tests.fakes.store import CAM1

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SIGNER = Signer([SecretStr(SECRET)])
EVENT = replace(SNAPSHOT, severity=Severity.ACT, stream_name="stage/CAM1", sequence=3)


class Taking:
    """Partners around a bench's engine, with one live stream `cam1`."""

    def __init__(self, on: Bench, **settings: object) -> None:
        self.on = on
        self.registry = StreamRegistry(WatchSection())
        self.stream = WatchedStream(live(), shipped()["immediate"], Detector({}), False, "cam1", on.now)
        self.registry.add(self.stream)
        section = PartnerSection.model_validate(
            {"name": "north", "url": "https://north.example/x", "secrets": [{"env": "X"}], **settings}
        )
        self.enqueued = 0
        self.blocked: set[StreamRef] = set()
        self.partners = Partners(
            on.database,
            on.engine,
            self.registry,
            on.clock,
            [Peer(section, Verifier([SecretStr(SECRET)]), SIGNER)],
            source="here",
            context_of=lambda _stream, is_live: context("immediate", session="s1" if is_live else ""),
            is_blocked=lambda ref: ref in self.blocked,
            refresh=lambda _stream_id: None,
            on_change=lambda: None,
            on_enqueued=self._count,
        )
        on.notes.on_commit = self._committed

    def _count(self) -> None:
        self.enqueued += 1

    def _committed(self) -> None:
        for incident in self.on.engine.open_incidents():
            self.partners.decided(incident, self.on.notes.decisions[-1])

    async def send(self, kind: AlertEvent = AlertEvent.RAISED, event_id: str = "e1", **changes: Any) -> Any:
        event = compose(kind, replace(EVENT, **changes), source="north", event_id=event_id)
        reply = await self.post(event_id, event.body)
        assert reply.status == 200, reply
        return receipt(reply)

    async def post(self, event_id: str, body: bytes, *, at: datetime | None = None) -> PartnerReply:
        headers = SIGNER.headers(event_id, body, at=at or self.on.clock.now().astimezone(UTC))
        return await self.partners.take("north", headers, body)

    @property
    def posture(self) -> Posture:
        return self.partners.floor(CAM1)


def receipt(reply: PartnerReply) -> Any:
    """Check a receipt's signature, and return what it says."""
    headers = dict(reply.headers)
    at = int(headers["webhook-timestamp"])
    assert not isinstance(Verifier([SecretStr(SECRET)]).verify(headers, reply.body, now=at), str)
    event = parse(reply.body)
    assert (event.type, event.id) == ("livecordon.partner.receipt", headers["webhook-id"])
    return json.loads(reply.body)["data"]


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path / "store.sqlite3") as made:
        yield made


async def test_an_alert_raises_postures_and_tells_the_stream_of_the_same_name_and_cuts_nothing(on: Bench) -> None:
    taking = Taking(on)
    said = await taking.send()
    assert (said["taken"], said["matched"], said["acted"]) == ("taken", 1, ["shown", "watched", "told"])
    assert taking.posture is Posture.CLOSE
    (incident,) = on.engine.open_incidents()
    assert incident.record.state == "under_review"
    assert on.notes.decisions[-1].reason is Reason.PARTNER_ALERTED
    assert not {effect.kind for effect in await on.effects()} & {"cut", "block", "hold"}
    (view,) = taking.partners.alerts()
    assert (view.partner, view.state, view.streams) == ("north", "standing", (CAM1.stream_id,))


@pytest.mark.parametrize(
    ("settings", "posture", "told"),
    [
        ({"trust": "shown"}, Posture.CALM, 0),
        ({"trust": "watched", "posture": "full"}, Posture.FULL, 0),
        ({"watch": "matching"}, Posture.CLOSE, 1),
    ],
)
async def test_a_partner_leads_to_no_more_than_it_is_trusted_with(
    on: Bench, settings: dict[str, str], posture: Posture, told: int
) -> None:
    taking = Taking(on, **settings)
    await taking.send()
    assert (taking.posture, len(on.engine.open_incidents())) == (posture, told)
    elsewhere = taking.partners.floor(StreamRef("edge", "live", "other"))
    assert (elsewhere is Posture.CALM) == (settings.get("watch") == "matching" or posture is Posture.CALM)


async def test_what_is_less_grave_than_asked_for_is_shown_only(on: Bench) -> None:
    taking = Taking(on)
    said = await taking.send(severity=Severity.REVIEW)
    assert (said["acted"], taking.posture, on.engine.open_incidents()) == (["shown"], Posture.CALM, [])


async def test_a_raised_posture_ends_by_itself(on: Bench) -> None:
    taking = Taking(on, watch_for="60s")
    await taking.send()
    await on.clock.advance(61)
    assert taking.posture is Posture.CALM


async def test_a_withdrawal_ends_it_and_beats_whatever_is_delivered_after_it_also_after_a_restart(on: Bench) -> None:
    taking = Taking(on)
    await taking.send()
    said = await taking.send(AlertEvent.DISMISSED, "e2", sequence=4)
    assert (said["taken"], "watched" in said["acted"], taking.posture) == ("taken", False, Posture.CALM)
    assert on.notes.decisions[-1].reason is Reason.NO_TRANSITION
    for _ in range(2):
        late = await taking.send(AlertEvent.CONTAINED, f"late-{_}", sequence=9)
        assert (late["taken"], taking.posture) == ("withdrawn", Posture.CALM)
        taking = Taking(on)
        await taking.partners.load()


async def test_a_withdrawal_that_overtakes_its_alert_stays(on: Bench) -> None:
    taking = Taking(on)
    await taking.send(AlertEvent.DISMISSED, "e2", sequence=4)
    assert (await taking.send())["taken"] == "withdrawn"
    assert on.engine.open_incidents() == []


async def test_one_event_is_acted_upon_once_and_an_older_one_not_at_all(on: Bench) -> None:
    taking = Taking(on)
    first = await taking.send(event_id="e1")
    again = await taking.send(event_id="e1")
    assert again == first
    assert (await taking.send(AlertEvent.UPDATED, "e0", sequence=2))["taken"] == "stale"
    assert [entry.action for entry in await on.log()].count("partner_event") == 2


async def test_an_exercise_is_refused_and_answered_as_such_unless_it_is_taken(on: Bench) -> None:
    taking = Taking(on)
    said = await taking.send(drill=True)
    assert (said["taken"], said["drill"], taking.posture) == ("refused", True, Posture.CALM)
    assert list(taking.partners.alerts()) == []
    assert (await Taking(on, drills="take").send(drill=True, event_id="e2"))["taken"] == "taken"


async def test_what_is_forged_old_or_from_nobody_is_refused_before_it_is_parsed(on: Bench) -> None:
    taking = Taking(on)
    body = b"\x00 no JSON at all"
    now = on.clock.now().astimezone(UTC)
    headers = SIGNER.headers("e1", body, at=now)
    for partner, given in (
        ("south", headers),
        ("north", {}),
        ("north", {**headers, "webhook-id": "e2"}),
        ("north", {**headers, "webhook-timestamp": "1"}),
        ("north", {**headers, "webhook-signature": "v1a,AAAA v1,é"}),
    ):
        reply = await taking.partners.take(partner, given, body)
        assert (reply.status, reply.refused, reply.body) == (401, "unauthenticated", b"")
    old = datetime.fromtimestamp(now.timestamp() - 301, UTC)
    assert (await taking.post("e1", body, at=old)).status == 401
    assert (await taking.post("e1", body)).status == 400
    other_id = compose(AlertEvent.RAISED, EVENT, source="north", event_id="e9").body
    assert (await taking.post("e1", other_id)).status == 400


async def test_a_partner_may_send_so_many_a_minute(on: Bench) -> None:
    taking = Taking(on, per_minute=1)
    await taking.send()
    body = compose(AlertEvent.UPDATED, EVENT, source="north", event_id="e2").body
    assert (await taking.post("e2", body)).status == 429
    await on.clock.advance(61)
    assert (await taking.post("e2", body)).status == 200


async def test_a_partner_is_told_what_changes_what_it_was_told(on: Bench) -> None:
    taking = Taking(on, trust="watched")
    await taking.send(label="violence", stream_name=None)
    await on.engine.handle(context("immediate"), ACT)
    taking.blocked.add(CAM1)
    await taking.partners._follow_up()
    taking.blocked.clear()
    (incident,) = on.engine.open_incidents()
    await on.engine.review(incident.record.id, Reviewed(ReviewDecision.DISMISS, "ada", "a film"))
    await taking.partners._follow_up()
    await taking.partners._follow_up()
    async with on.database.reading() as connection:
        sent = [json.loads(one.body)["data"] for one in await due(connection, "north", at=on.now, limit=9)]
    told = [(one["sequence"], one["acted"][-1], one["matched"], one["disagree"]) for one in sent]
    assert told == [(1, "contained", 1, False), (2, "released", 1, True)]
    assert taking.enqueued == 2


async def test_a_partner_that_was_away_reads_what_it_missed_page_by_page_and_nobody_elses(
    on: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.daemon.feed.PAGE", 2)
    feed = Taking(on).partners.feed
    async with on.database.transaction() as connection:
        for number in range(5):
            event = compose(AlertEvent.UPDATED, replace(EVENT, sequence=number), source="here", event_id=f"e{number}")
            await enqueue(connection, event, ["north", "south"], at=on.now + number)
    read: list[str] = []
    after = ""
    while True:
        target = f"/api/v1/feed?partner=north&after={after}".encode()
        headers = SIGNER.headers("ask", target, at=on.clock.now().astimezone(UTC))
        reply = await feed.page("north", headers, target, after)
        assert (await feed.page("north", headers, target + b"x", after)).status == 401
        assert (await feed.page("south", headers, target, after)).status == 401
        lines = [json.loads(line) for line in reply.body.splitlines()]
        if not lines:
            break
        for line in lines:
            body = line["body"].encode()
            assert not isinstance(Verifier([SecretStr(SECRET)]).verify(line, body, now=on.now), Doubt)
            assert json.loads(body)["data"]["stream_name"] is None
            read.append(line["webhook-id"])
        after = lines[-1]["cursor"]
    assert read == [f"e{number}" for number in range(5)]


async def test_a_stream_that_appears_while_an_alert_stands_is_told_of_too(on: Bench) -> None:
    taking = Taking(on)
    taking.registry.remove(CAM1.stream_id)
    assert (await taking.send())["matched"] == 0
    taking.registry.add(taking.stream)
    await taking.partners._follow_up()
    assert len(on.engine.open_incidents()) == 1


async def test_a_receipt_for_our_own_alert_is_written_into_our_incidents_log(on: Bench) -> None:
    taking = Taking(on)
    theirs = Taking(on, name="north")
    body = (await theirs.post("e1", compose(AlertEvent.RAISED, EVENT, source="x", event_id="e1").body)).body
    reply = await taking.post(json.loads(body)["id"], body)
    assert receipt(reply)["taken"] == "taken"
    (noted,) = [entry for entry in await on.log() if entry.action == "partner_receipt"]
    assert (noted.incident_id, noted.detail["matched"]) == (EVENT.incident_id, 1)
