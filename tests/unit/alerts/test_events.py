from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.alerts.envelope import IncidentData
from monitor.alerts.event_models import EVENT_MODELS, EVENT_TYPES, parse, schema_json
from monitor.alerts.events import RECEIVER_DISABLED_TYPE, IncidentSnapshot, compose, compose_receiver_disabled
from monitor.alerts.work_events import ReceiverData, ReceiverDisabledEvent
from monitor.policies import Policy
from monitor.protocol.decision import Reason
from monitor.store.deliveries import Priority
from monitor.vocabulary import AlertEvent, Category, PolicyTier, Severity

DOCS = Path(__file__).parents[3] / "docs"
POLICY = Policy("live-violence", "No violence", Category.VIOLENCE, PolicyTier.MOST_SERIOUS)
SNAPSHOT = IncidentSnapshot(
    incident_id="0190c1d2-0000-7000-8000-000000000001",
    sequence=3,
    stream_id="main-0123456789abcdef",
    server="main",
    stream_name="live/show",
    protocol="assisted",
    state="under_review",
    severity=Severity.REVIEW,
    label="violence",
    score=0.83,
    opened_at=datetime(2026, 3, 15, 12, 0, tzinfo=UTC),
    changed_at=datetime(2026, 3, 15, 12, 0, 2, 500_000, tzinfo=UTC),
    reason=Reason.DETECTION_RAISED,
    dry_run=False,
    drill=False,
    review_due_at=datetime(2026, 3, 15, 12, 10, 2, tzinfo=UTC),
    page_link="https://watch.example/incidents/1",
    policy=POLICY,
)

AWARE = st.datetimes(
    min_value=datetime(2020, 1, 1),  # noqa: DTZ001  # hypothesis adds the zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001  # hypothesis adds the zone
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9)), timezone(timedelta(hours=5, minutes=45))]),
)
SNAPSHOTS = st.builds(
    IncidentSnapshot,
    incident_id=st.uuids().map(str),
    sequence=st.integers(0, 10**9),
    stream_id=st.just("main-0123456789abcdef"),
    server=st.just("main"),
    # Every code point, also lone surrogates, as bytes from a publisher may decode to.
    stream_name=st.none() | st.text(alphabet=st.characters(), max_size=400),
    protocol=st.just("assisted"),
    state=st.just("urgent"),
    severity=st.sampled_from(Severity),
    label=st.text(max_size=64).filter(lambda text: text.isprintable()),
    score=st.floats(),
    opened_at=AWARE,
    changed_at=AWARE,
    reason=st.sampled_from(Reason),
    dry_run=st.booleans(),
    drill=st.booleans(),
    review_due_at=st.none() | AWARE,
    page_link=st.none() | st.just("https://watch.example/incidents/1"),
    policy=st.none() | st.just(POLICY),
    acknowledged_at=st.none() | AWARE,
)


def composed(kind: AlertEvent = AlertEvent.RAISED, snapshot: IncidentSnapshot = SNAPSHOT) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(compose(kind, snapshot, source="site").body)
    return event


def test_the_whole_event() -> None:
    event = compose(AlertEvent.RAISED, SNAPSHOT, source="site", priority=Priority.CRISIS, event_id="effect-1")
    assert json.loads(event.body) == {
        "specversion": "1.0",
        "id": "effect-1",
        "source": "site",
        "type": "livecordon.incident.raised",
        "subject": "main-0123456789abcdef",
        "time": "2026-03-15T12:00:02.500000Z",
        "timestamp": "2026-03-15T12:00:02.500000Z",
        "priority": "crisis",
        "sequence": "0000000003",
        "datacontenttype": "application/json",
        "data": {
            "incident_id": "0190c1d2-0000-7000-8000-000000000001",
            "sequence": 3,
            "stream_id": "main-0123456789abcdef",
            "server": "main",
            "stream_name": "live/show",
            "protocol": "assisted",
            "state": "under_review",
            "severity": "review",
            "label": "violence",
            "score": 0.83,
            "opened_at": "2026-03-15T12:00:00Z",
            "changed_at": "2026-03-15T12:00:02.500000Z",
            "reason": "detection_raised",
            "dry_run": False,
            "drill": False,
            "review_due_at": "2026-03-15T12:10:02Z",
            "page_link": "https://watch.example/incidents/1",
            "paused_until": None,
            "responder_group": None,
            "acknowledged_at": None,
            "policy": {
                "code": "live-violence",
                "title": "No violence",
                "url": None,
                "category": "violence",
                "tier": "most_serious",
            },
        },
    }
    assert (event.id, event.type, event.sequence) == ("effect-1", "livecordon.incident.raised", 3)
    assert (event.incident_id, event.priority) == (SNAPSHOT.incident_id, Priority.CRISIS)


@settings(deadline=None)  # machines that test are busy
@given(kind=st.sampled_from(AlertEvent), snapshot=SNAPSHOTS, priority=st.sampled_from(Priority))
def test_every_composed_event_is_a_documented_one_in_strict_json(
    kind: AlertEvent, snapshot: IncidentSnapshot, priority: Priority
) -> None:
    event = compose(kind, snapshot, source="our site/ä", priority=priority)
    parsed = parse(event.body)
    assert isinstance(parsed.data, IncidentData)
    assert parsed.type == event.type == f"livecordon.incident.{kind.value}"
    assert parsed.time == snapshot.changed_at
    assert parsed.data.sequence == int(parsed.sequence) == snapshot.sequence
    assert parsed.subject == parsed.data.stream_id
    # Strict parsers refuse NaN and Infinity, and lone surrogates, also escaped ones.
    strict = json.loads(event.body, parse_constant=pytest.fail)
    json.dumps(strict, ensure_ascii=False).encode("utf-8")
    assert len(event.body) < 20_000


@settings(deadline=None)  # machines that test are busy
@given(snapshots=st.tuples(SNAPSHOTS, SNAPSHOTS))
def test_sequences_compare_as_text_as_they_do_as_numbers(snapshots: tuple[IncidentSnapshot, IncidentSnapshot]) -> None:
    one, two = (composed(snapshot=snapshot) for snapshot in snapshots)
    assert (one["sequence"] < two["sequence"]) == (one["data"]["sequence"] < two["data"]["sequence"])


def test_ids_are_unique_and_free_of_dots() -> None:
    ids = {compose(AlertEvent.RAISED, SNAPSHOT, source="site").id for _ in range(100)}
    assert len(ids) == 100
    assert not any("." in one for one in ids)


def test_a_secret_name_is_nowhere_in_the_event() -> None:
    event = composed(snapshot=replace(SNAPSHOT, stream_name=None))
    assert event["data"]["stream_name"] is None
    assert "show" not in json.dumps(event)


def test_the_snapshot_and_the_documented_data_have_the_same_fields() -> None:
    assert [field.name for field in fields(IncidentSnapshot)] == list(IncidentData.model_fields)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "livecordon.incident.exploded"},
        {"specversion": "0.3"},
        {"id": "with.dot"},
        {"sequence": "3"},
        {"time": "2026-03-15T12:00:02"},
        {"priority": "high"},
    ],
)
def test_other_events_are_not_valid(change: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        parse(json.dumps(composed() | change).encode())


def test_the_schema_in_the_documentation_is_that_of_the_code() -> None:
    committed = (DOCS / "events.schema.json").read_text(encoding="utf-8")
    assert committed == schema_json(), "run: python -m monitor.alerts.events > docs/events.schema.json"


def test_every_type_and_field_is_documented_and_every_example_is_valid() -> None:
    page = (DOCS / "events.md").read_text(encoding="utf-8")
    examples = [parse(block.encode()) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    headings = re.findall(r"^### `(livecordon\.\w+\.\w+)`$", page, re.MULTILINE)
    assert sorted(headings) == sorted(EVENT_TYPES)
    assert {f"livecordon.incident.{kind.value}" for kind in AlertEvent} <= set(headings)
    assert [example.type for example in examples] == headings
    for model, kind in zip(EVENT_MODELS, EVENT_TYPES, strict=True):
        data: Any = model.model_fields["data"].annotation
        family = kind.rpartition(".")[0]
        tables = page.partition("## Types")[0] if issubclass(data, IncidentData) else ""
        tables += page.partition(f"### `{family}.")[2].partition("## Why")[0]
        assert set(data.model_fields) <= set(re.findall(r"^\| `data\.([\w.]+)` \|", tables, re.MULTILINE)), kind
    rows = re.findall(r"^\| `([\w.]+)` \|", page.partition("## Types")[0], re.MULTILINE)
    wanted = [name for name in type(examples[0]).model_fields if name != "data"]
    assert sorted(rows) == sorted(wanted + [f"data.{name}" for name in IncidentData.model_fields])


def test_every_reason_is_documented() -> None:
    page = (DOCS / "events.md").read_text(encoding="utf-8")
    section = page.partition("## Why an incident is in its state")[2]
    assert re.findall(r"^\| (\w+) \|", section, re.MULTILINE)[1:] == [reason.value for reason in Reason]


def test_a_disabled_receiver_is_told_of_in_a_documented_event_without_an_incident() -> None:
    event = compose_receiver_disabled(
        "partner", cancelled=3, at=SNAPSHOT.changed_at, source="site", event_id="e-1", page_link=None
    )
    parsed = parse(event.body)
    assert isinstance(parsed, ReceiverDisabledEvent)
    assert (parsed.subject, parsed.data.receiver, parsed.data.cancelled) == ("partner", "partner", 3)
    assert (event.incident_id, event.priority, parsed.sequence) == (None, Priority.CRISIS, "0000000000")
    page = (DOCS / "events.md").read_text(encoding="utf-8")
    section = page.partition(f"### `{RECEIVER_DISABLED_TYPE}`")[2].partition("### ")[0]
    assert sorted(re.findall(r"^\| `data\.([\w.]+)` \|", section, re.MULTILINE)) == sorted(ReceiverData.model_fields)
