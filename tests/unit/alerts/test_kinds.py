"""What receivers of each kind are sent: against what their makers document, and over real connections where those can be had."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import SecretStr
from yarl import URL

from monitor.alerts.addresses import Reach
from monitor.alerts.alertmanager import Alertmanager
from monitor.alerts.gathering import Gathering
from monitor.alerts.links import Links
from monitor.alerts.mail import Mailbox, MailServer
from monitor.alerts.pagerduty import PagerDuty
from monitor.alerts.port import Attempt, FailureReason, Outcome
from monitor.alerts.receivers import build_receivers
from monitor.alerts.services import Services
from monitor.alerts.slack import Slack
from monitor.config.models import AlertsSection
from monitor.errors import ConfigError
from monitor.store.deliveries import DeliveryRecord, Priority
from monitor.vocabulary import AlertEvent, Severity
from tests.fakes.alerts import AT, SNAPSHOT, an_alert
from tests.fakes.authority import Authority
from tests.fakes.clock import ManualClock

LINKS = Links(b"k" * 32, "https://watch.example")
HTTP = {"name": "it", "url": URL("https://a.example/x"), "reach": Reach.PUBLIC, "timeout_s": 5.0}
PAGERDUTY = PagerDuty(**HTTP, routing_key=SecretStr("R" * 32), links=LINKS)  # type: ignore[arg-type] # told apart by name
SLACK = Slack(**HTTP, links=LINKS)  # type: ignore[arg-type] # as above
ALERTMANAGER = Alertmanager(**HTTP, stays_s=3600.0)  # type: ignore[arg-type] # as above


def text(longest: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": longest}


LINK = {"type": "string", "format": "uri", "pattern": "^https://"}

# From the fields that each maker documents; `additionalProperties: false`, because what is not documented may be refused.
PAGERDUTY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["routing_key", "event_action", "dedup_key", "payload"],
    "additionalProperties": False,
    "properties": {
        "routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
        "event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
        "dedup_key": text(255),
        "payload": {
            "type": "object",
            "required": ["summary", "source", "severity"],
            "additionalProperties": False,
            "properties": {
                "summary": text(1024),
                "source": text(255),
                "severity": {"enum": ["critical", "error", "warning", "info"]},
                "timestamp": {"type": "string", "format": "date-time"},
                "component": text(255),
                "group": text(255),
                "class": text(255),
                "custom_details": {"type": "object"},
            },
        },
        "images": {"type": "array"},
        "links": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["href"],
                "additionalProperties": False,
                "properties": {"href": LINK, "text": text(255)},
            },
        },
        "client": text(255),
        "client_url": LINK,
    },
}
PLAIN = {
    "type": "object",
    "required": ["type", "text"],
    "additionalProperties": False,
    "properties": {"type": {"const": "plain_text"}, "text": text(150), "emoji": {"type": "boolean"}},
}
SLACK_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["text", "blocks"],
    "additionalProperties": False,
    "properties": {
        "text": text(40_000),
        "blocks": {
            "type": "array",
            "maxItems": 50,
            "items": {
                "oneOf": [
                    {
                        "additionalProperties": False,
                        "required": ["text"],
                        "properties": {"type": {"const": "header"}, "text": PLAIN},
                    },
                    {
                        "additionalProperties": False,
                        "required": ["fields"],
                        "properties": {
                            "type": {"const": "section"},
                            "fields": {
                                "type": "array",
                                "minItems": 1,
                                "maxItems": 10,
                                "items": {
                                    "additionalProperties": False,
                                    "required": ["type", "text"],
                                    "properties": {"type": {"const": "mrkdwn"}, "text": text(2000)},
                                },
                            },
                        },
                    },
                    {
                        "additionalProperties": False,
                        "required": ["elements"],
                        "properties": {
                            "type": {"const": "actions"},
                            "elements": {
                                "type": "array",
                                "maxItems": 25,
                                "items": {
                                    "additionalProperties": False,
                                    "required": ["type", "text"],
                                    "properties": {
                                        "type": {"const": "button"},
                                        "text": {**PLAIN, "properties": {**PLAIN["properties"], "text": text(75)}},  # type: ignore[dict-item] # a schema
                                        "url": {**LINK, "maxLength": 3000},
                                        "action_id": text(255),
                                    },
                                },
                            },
                        },
                    },
                ]
            },
        },
    },
}
WORDS = {"type": "object", "additionalProperties": {"type": "string"}}
ALERTMANAGER_SCHEMA: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["labels"],
        "additionalProperties": False,
        "properties": {
            "labels": {**WORDS, "required": ["alertname"], "propertyNames": {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"}},
            "annotations": WORDS,
            "startsAt": {"type": "string", "format": "date-time"},
            "endsAt": {"type": "string", "format": "date-time"},
            "generatorURL": LINK,
        },
    },
}

EVERY = [
    an_alert(kind, severity=severity, drill=drill, priority=priority)
    for kind in AlertEvent
    for severity, drill, priority in (
        (Severity.ACT, False, Priority.CRISIS),
        (Severity.NONE, True, Priority.NORMAL),
        (Severity.REVIEW, False, Priority.NORMAL),
    )
] + [
    an_alert(label="", stream_name=None, page_link=None, review_due_at=None),
    an_alert(label="x" * 64, stream_name="y" * 400, state="z" * 64, changed_at=AT),
]


@pytest.mark.parametrize(
    ("receiver", "schema"),
    [(PAGERDUTY, PAGERDUTY_SCHEMA), (SLACK, SLACK_SCHEMA), (ALERTMANAGER, ALERTMANAGER_SCHEMA)],
    ids=["pagerduty", "slack", "alertmanager"],
)
def test_every_alert_is_what_its_maker_documents(
    receiver: PagerDuty | Slack | Alertmanager, schema: dict[str, Any]
) -> None:
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    for alert in EVERY:
        request = receiver.request(alert, at=AT)
        validator.validate(json.loads(request.body))
        assert request.headers["Content-Type"] == "application/json"
        assert request.body == receiver.request(alert, at=AT.replace(hour=13)).body, "the same at every attempt"


def pagerduty(alert: DeliveryRecord) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(PAGERDUTY.request(alert, at=AT).body)
    return event


def test_an_incident_triggers_is_acknowledged_and_resolved_under_its_own_id() -> None:
    actions = {kind.value: pagerduty(an_alert(kind))["event_action"] for kind in AlertEvent}
    assert actions == {
        "raised": "trigger",
        "updated": "trigger",
        "contained": "trigger",
        "review_overdue": "trigger",
        "acknowledged": "acknowledge",
        "released": "resolve",
        "dismissed": "resolve",
        "closed": "resolve",
    }
    assert {pagerduty(alert)["dedup_key"] for alert in EVERY} == {SNAPSHOT.incident_id}
    severities = [pagerduty(alert)["payload"]["severity"] for alert in EVERY[:3]]
    assert severities == ["critical", "info", "error"], "a crisis, a drill, a look"


def test_links_acknowledge_what_they_were_made_for_until_they_expire() -> None:
    (page, acknowledge) = pagerduty(an_alert(created_at=1000.0))["links"]
    assert page["href"] == SNAPSHOT.page_link
    token = acknowledge["href"].removeprefix("https://watch.example/acknowledge/")
    claim = LINKS.read(token, now=1000.0 + 86_399)
    assert claim is not None
    assert (claim.incident_id, claim.receiver) == (SNAPSHOT.incident_id, "it")
    assert LINKS.read(token, now=1000.0 + 86_400) is None
    assert Links(b"x" * 32, "https://watch.example").read(token, now=1000.0) is None
    assert len(pagerduty(an_alert(AlertEvent.CLOSED))["links"]) == 1, "what is over is not acknowledged"


def test_hostile_names_call_nobody_in_slack() -> None:
    body = SLACK.request(an_alert(), at=AT).body.decode()
    assert "<!channel>" not in body
    assert "&lt;!channel&gt;" in body
    assert "\\r" not in body


async def counted(tell: list[list[str]], clock: ManualClock, window_s: float | None) -> Gathering:
    async def told(deliveries: Sequence[DeliveryRecord]) -> Attempt:
        tell.append([one.event_id for one in deliveries])
        return Attempt(Outcome.DELIVERED)

    return Gathering(told, clock, window_s)


async def test_the_first_alert_goes_at_once_and_what_follows_together_but_no_crisis_waits() -> None:
    clock = ManualClock()
    told: list[list[str]] = []
    gathering = await counted(told, clock, 30.0)

    def alert(name: str, priority: Priority = Priority.NORMAL) -> DeliveryRecord:
        return replace(an_alert(priority=priority), event_id=name)

    assert (await gathering.attempt(alert("1"))).outcome is Outcome.DELIVERED
    waiting = [asyncio.create_task(gathering.attempt(alert(name))) for name in ("2", "3", "4")]
    await clock.wait_for_sleepers()
    await gathering.attempt(alert("crisis", Priority.CRISIS))
    assert told == [["1"], ["crisis"]]
    waiting[1].cancel()
    await asyncio.gather(waiting[1], return_exceptions=True)
    await clock.advance(30)
    assert [(await one).outcome for one in (waiting[0], waiting[2])] == [Outcome.DELIVERED] * 2
    assert told[2:] == [["2", "4"]], "and what was broken off is not sent"
    await clock.advance(31)
    await gathering.attempt(alert("5"))
    assert told[3:] == [["5"]]
    await gathering.aclose()


async def test_several_alerts_make_one_valid_message() -> None:
    body = json.loads(SLACK.request_for([an_alert(AlertEvent.RAISED)] * 30).body)
    Draft202012Validator(SLACK_SCHEMA).validate(body)
    assert "30 alerts" in body["text"]
    assert "10 more" in json.dumps(body)


class Inbox:
    def __init__(self) -> None:
        self.mails: list[tuple[bytes, list[str], bool]] = []
        self.refusal = ""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        if self.refusal:
            return self.refusal
        assert isinstance(envelope.content, bytes)
        self.mails.append((envelope.content, envelope.rcpt_tos, session.ssl is not None))
        return "250 OK"


@asynccontextmanager
async def mail_server(inbox: Inbox, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    def known(*given: Any) -> AuthResult:
        login = given[-1]
        assert isinstance(login, LoginPassword)
        return AuthResult(success=login == LoginPassword(b"livecordon", b"a password"), handled=False)

    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {}
    if tls is not None:
        options = {"tls_context": tls, "require_starttls": True, "auth_required": True, "authenticator": known}
    server = await loop.create_server(lambda: SMTP(inbox, loop=loop, **options), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def mailbox(port: int, **settings: Any) -> Mailbox:
    server = MailServer(
        **{"host": "127.0.0.1", "port": port, "encryption": "none", "reach": Reach.LOOPBACK, **settings}
    )
    return Mailbox(
        name="mail",
        server=server,
        sender="livecordon@watch.example",
        to=("ada@watch.example", "bob@watch.example"),
        timeout_s=10.0,
        links=LINKS,
    )


async def delivered(receiver: Mailbox | Services, alert: DeliveryRecord) -> Attempt:
    async with receiver.carrier(ManualClock()) as carrier:
        return await carrier.attempt(alert)


async def test_mail_goes_encrypted_to_everybody_and_no_name_makes_a_header(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    inbox = Inbox()
    trusted = ssl.create_default_context(cafile=authority.ca_file)
    secure = {"encryption": "starttls", "tls": trusted, "login": ("livecordon", SecretStr("a password"))}
    async with mail_server(inbox, authority.server_side("127.0.0.1")) as port:
        assert (
            await delivered(mailbox(port, **secure), an_alert(priority=Priority.CRISIS))
        ).outcome is Outcome.DELIVERED
        for wrong, reason in (
            ({**secure, "tls": None}, FailureReason.TLS),
            ({**secure, "login": ("livecordon", SecretStr("another"))}, FailureReason.REJECTED),
            ({**secure, "reach": Reach.PUBLIC}, FailureReason.BLOCKED_ADDRESS),
        ):
            assert (await delivered(mailbox(port, **wrong), an_alert())).reason is reason
    ((content, recipients, encrypted),) = inbox.mails
    mail = message_from_bytes(content)
    assert (encrypted, recipients) == (True, ["ada@watch.example", "bob@watch.example"])
    assert mail["Bcc"] is None
    assert mail["Subject"] == "[Livecordon] violence on edge-9f2b6c1d0e8a7354: raised"
    assert mail["Message-ID"] == "<event-raised.mail@watch.example>"
    assert mail["References"] == f"<{SNAPSHOT.incident_id}@watch.example>"
    assert mail["Importance"] == "high"
    assert "https://watch.example/acknowledge/" in content.decode().replace("=\r\n", "")


async def test_a_mail_server_that_is_busy_refuses_or_is_away_is_tried_again() -> None:
    inbox = Inbox()
    async with mail_server(inbox, None) as port:
        for reply, outcome in (("451 later", Outcome.THROTTLED), ("550 no", Outcome.FAILED), ("", Outcome.DELIVERED)):
            inbox.refusal = reply
            assert (await delivered(mailbox(port), an_alert())).outcome is outcome
    assert (await delivered(mailbox(port), an_alert())).reason is FailureReason.REFUSED


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # which Apprise reads mail with
async def test_what_apprise_knows_is_told_through_it() -> None:
    taken: list[dict[str, Any]] = []
    status = 200

    async def take(request: web.Request) -> web.Response:
        taken.append(await request.json())
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"json://127.0.0.1:{runner.addresses[0][1]}/hook"
        entry = {"name": "phones", "kind": "apprise", "urls": [{"env": "URL"}]}
        section = AlertsSection.model_validate({"receivers": [entry]})
        (receiver,) = build_receivers(section.receivers, {"URL": url}, links=LINKS)
        assert isinstance(receiver, Services)
        assert (await delivered(receiver, an_alert())).outcome is Outcome.DELIVERED
        assert taken[0]["title"] == "violence on edge-9f2b6c1d0e8a7354: raised"
        assert taken[0]["type"] == "failure"
        status = 500
        assert (await delivered(receiver, an_alert())).reason is FailureReason.REJECTED
        with pytest.raises(ConfigError, match=r"urls\[0\].*knows no service"):
            build_receivers(section.receivers, {"URL": "nonsense://token"})
    finally:
        await runner.cleanup()


def test_without_apprise_its_receivers_are_a_mistake_that_says_how_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.alerts.receivers.is_installed", lambda: False)
    entry = {"name": "phones", "kind": "apprise", "urls": [{"env": "URL"}]}
    section = AlertsSection.model_validate({"receivers": [entry]})
    with pytest.raises(ConfigError, match=r"receivers\[0\]\.kind: .*livecordon\[apprise\]"):
        build_receivers(section.receivers, {"URL": "ntfys://a.example/x"})


@pytest.mark.parametrize(
    ("entry", "where"),
    [
        ({"kind": "slack", "webhook": {"env": "PLAIN"}}, "webhook"),
        ({"kind": "pagerduty", "routing_key": {"env": "KEY"}, "url": "http://a.example/"}, "url"),
        ({"kind": "alertmanager", "url": "http://a.example:9093"}, "url"),
        ({"kind": "email", "host": "a.example", "tls": "none", "sender": "a@b.example", "to": ["c@d.example"]}, "tls"),
    ],
)
def test_nothing_leaves_this_machine_unencrypted(entry: dict[str, Any], where: str) -> None:
    section = AlertsSection.model_validate({"receivers": [{"name": "it", **entry}]})
    with pytest.raises(ConfigError, match=rf"receivers\[0\]\.{where}: .*without encryption") as caught:
        build_receivers(section.receivers, {"PLAIN": "http://a.example/s3cr3t", "KEY": "k"})
    assert "s3cr3t" not in str(caught.value)
