from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.alerts.routing import Route, Routing
from monitor.config.people import ResponderGroup
from monitor.daemon.alerting import Alerting
from monitor.protocol.decision import Reason
from monitor.store import audit
from monitor.store.effects import EffectRecord
from monitor.vocabulary import EffectKind, StreamRef
from tests.fakes.store import flaky_store, incident_record

SECRET = "key-c4n4ry"
EFFECT = EffectRecord(
    id="effect-1",
    incident_id="incident-0001",
    key="1.0.alert",
    position=0,
    kind=EffectKind.ALERT,
    parameters={"event": "raised", "priority": "crisis"},
    status="pending",
    attempts=0,
    requested_at=200.0,
    started_at=None,
    finished_at=None,
    detail=None,
)


@pytest.mark.parametrize("secret", [False, True])
async def test_every_receiver_gets_one_row_however_often_it_is_written(tmp_path: Path, secret: bool) -> None:
    alerting = Alerting("livecordon-test", ("on-call", "partner"), frozenset({"edge"} if secret else ()), "https://x/")
    incident = replace(incident_record(ref=StreamRef("edge", "live", SECRET)), review_due_at=260.0)
    async with flaky_store(tmp_path / "store.sqlite3") as database:
        async with database.transaction() as connection:
            await alerting.enqueue(connection, EFFECT, incident, Reason.DETECTION_RAISED)
            await alerting.enqueue(connection, EFFECT, incident, Reason.DETECTION_RAISED)
        async with database.reading() as connection:
            rows = (await connection.exec_driver_sql("SELECT receiver, event_id, priority, body FROM delivery")).all()
    assert sorted((row.receiver, row.event_id, row.priority) for row in rows) == [
        ("on-call", "effect-1", "crisis"),
        ("partner", "effect-1", "crisis"),
    ]
    body = rows[0].body.decode()
    assert (SECRET in body) is not secret
    event = json.loads(body)
    assert (event["id"], event["source"]) == ("effect-1", "livecordon-test")
    assert "https://x/incidents/incident-0001" in body


@pytest.mark.parametrize(
    ("gone", "told"),
    [("partner", {"pager", "archive"}), ("pager", {"archive"}), ("archive", {"pager"})],
)
async def test_a_receiver_that_wants_no_more_is_told_of_to_the_operators_people_only(
    tmp_path: Path, gone: str, told: set[str]
) -> None:
    alerting = Alerting(
        "livecordon-test",
        ("pager", "partner", "archive"),
        frozenset(),
        "https://x/",
        Routing(
            {"archive": Route(events=frozenset({"raised", "receiver_disabled"}))},
            (ResponderGroup(name="people", receivers=("pager",)),),
        ),
    )
    async with flaky_store(tmp_path / "store.sqlite3") as database:
        async with database.transaction() as connection:
            await alerting.tell_disabled(connection, gone, 7, 300.0)
        async with database.reading() as connection:
            rows = (await connection.exec_driver_sql("SELECT receiver, priority, body FROM delivery")).all()
            (noted,) = await audit.entries(connection)
    assert {row.receiver for row in rows} == told
    assert {row.priority for row in rows} == {"crisis"}
    data = json.loads(rows[0].body)["data"]
    assert (data["receiver"], data["cancelled"], data["page_link"]) == (gone, 7, "https://x/deliveries")
    assert (noted.action, noted.detail) == ("receiver_disabled", {"receiver": gone, "cancelled": 7})
