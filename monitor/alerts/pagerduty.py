"""PagerDuty, through its Events API v2: an incident triggers, is acknowledged and resolved under its own id."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic import SecretStr
from typing_extensions import override
from yarl import URL

from monitor.alerts.facts import ACKNOWLEDGED, Facts, facts_of
from monitor.alerts.links import Links
from monitor.alerts.sender import AlertRequest, HttpReceiver
from monitor.store.deliveries import DeliveryRecord

MAX_SUMMARY: Final = 1024
MAX_AGENT: Final = 100
_SEVERITIES: Final = {"critical": "critical", "warning": "error", "info": "info"}
"""What asks for a look is an `error`: on services whose urgency follows severity, a `warning` wakes nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PagerDuty(HttpReceiver):
    """One service of PagerDuty's.

    Attributes:
        url: Of the Events API.
        routing_key: The service's; shown nowhere.
        links: Makes links by which an incident is acknowledged; None where there are none.
        webhook_secrets: What proves that PagerDuty's own webhooks are PagerDuty's.
    """

    url: URL = field(repr=False)
    routing_key: SecretStr
    links: Links | None = None
    webhook_secrets: tuple[SecretStr, ...] = ()

    @override
    def request(self, delivery: DeliveryRecord, *, at: datetime) -> AlertRequest:
        facts = facts_of(delivery)
        event: dict[str, Any] = {
            "routing_key": self.routing_key.get_secret_value(),
            "event_action": _action(facts),
            "dedup_key": facts.key,
            "payload": self._payload(facts),
            "client": "Livecordon",
        }
        if facts.page_link is not None:
            event["client_url"] = facts.page_link
        if links := self._links(facts):
            event["links"] = links
        return AlertRequest(self.url, json.dumps(event).encode(), {"Content-Type": "application/json"})

    def _payload(self, facts: Facts) -> dict[str, Any]:
        payload = {
            "summary": facts.summary[:MAX_SUMMARY],
            "source": facts.place,
            "severity": _SEVERITIES[facts.level],
            "timestamp": facts.at.isoformat(),
            "component": str(facts.data.get("stream_id") or facts.place),
            "group": facts.place,
            "custom_details": dict(facts.details),
        }
        return {**payload, "class": facts.label} if facts.label else payload

    def _links(self, facts: Facts) -> list[dict[str, str]]:
        found = []
        if facts.page_link is not None:
            found.append({"href": facts.page_link, "text": "The incident in Livecordon"})
        if self.links is not None and facts.incident_id is not None and not facts.is_over:
            link = self.links.link(facts.incident_id, self.name, at=facts.delivery_created_at)
            if link is not None:
                found.append({"href": link, "text": "Acknowledge in Livecordon"})
        return found


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody acknowledged in PagerDuty: which incident, and who, in PagerDuty's words (a stranger's text)."""

    incident_id: str
    agent: str


def is_from_pagerduty(body: bytes, signatures: str, secrets: Sequence[SecretStr]) -> bool:
    """Whether one of the signatures in ``X-PagerDuty-Signature`` is made with one of the secrets."""
    given = [one.strip().removeprefix("v1=") for one in signatures.split(",") if one.strip().startswith("v1=")]
    wanted = [hmac.new(one.get_secret_value().encode(), body, hashlib.sha256).hexdigest() for one in secrets]
    # Bytes, because text that is not ASCII cannot be compared in constant time.
    return any(hmac.compare_digest(ours.encode(), theirs.encode()) for ours in wanted for theirs in given)


def acknowledgement_in(body: bytes) -> Acknowledgement | None:
    """Return what one of PagerDuty's webhooks (V3) acknowledges; None where it says something else.

    Raises:
        ValueError: it is none of PagerDuty's webhooks.
    """
    try:
        event = json.loads(body)["event"]
        if event["event_type"] != "incident.acknowledged":
            return None
        incident_id = event["data"].get("incident_key")
        agent = (event.get("agent") or {}).get("summary") or "somebody"
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        message = "this is no webhook of PagerDuty's"
        raise ValueError(message) from error
    if not isinstance(incident_id, str):
        return None
    return Acknowledgement(incident_id, "".join(one for one in str(agent) if one.isprintable())[:MAX_AGENT])


def _action(facts: Facts) -> str:
    if facts.is_over:
        return "resolve"
    return "acknowledge" if facts.word == ACKNOWLEDGED else "trigger"
