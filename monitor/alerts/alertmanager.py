"""A Prometheus Alertmanager, through its API v2: an incident is an alert of its own, and resolved with it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import SecretStr
from typing_extensions import override
from yarl import URL

from monitor.alerts.facts import Facts, facts_of
from monitor.alerts.sender import AlertRequest, HttpReceiver
from monitor.store.deliveries import DeliveryRecord

LEVELS: Final = ("critical", "warning", "info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alertmanager(HttpReceiver):
    """One Alertmanager.

    Attributes:
        url: Where alerts are posted.
        token: Bearer token, if one is asked for.
        stays_s: For how long it keeps an alert of which nothing more is heard.
    """

    url: URL = field(repr=False)
    token: SecretStr | None = None
    stays_s: float

    @override
    def request(self, delivery: DeliveryRecord, *, at: datetime) -> AlertRequest:
        headers = {"Content-Type": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token.get_secret_value()}"
        return AlertRequest(self.url, json.dumps(self._alerts(facts_of(delivery))).encode(), headers)

    def _alerts(self, facts: Facts) -> list[dict[str, Any]]:
        """Return one alert for each level: labels are an alert's identity, so that another level is another alert.

        All but the present level's are over; Alertmanager tells nobody of the end of what it was never told the beginning of.
        """
        stays_until = facts.at + timedelta(seconds=self.stays_s)
        return [
            {
                "labels": {**_labels(facts), "severity": level},
                "annotations": _annotations(facts),
                "startsAt": facts.since.isoformat(),
                "endsAt": (facts.at if facts.is_over or level != facts.level else stays_until).isoformat(),
                **({} if facts.page_link is None else {"generatorURL": facts.page_link}),
            }
            for level in LEVELS
        ]


def _labels(facts: Facts) -> dict[str, str]:
    labels = {"alertname": f"Livecordon{facts.kind.capitalize()}", "source": str(facts.event.get("source", ""))}
    if facts.incident_id is None:
        return {**labels, "subject": facts.key}
    return {
        **labels,
        "incident_id": facts.incident_id,
        "stream_id": str(facts.data.get("stream_id", "")),
        "server": facts.place,
        "protocol": str(facts.data.get("protocol", "")),
        "drill": "true" if facts.is_drill else "false",
    }


def _annotations(facts: Facts) -> dict[str, str]:
    lines = [f"{name}: {value}" for name, value in facts.details.items()]
    return {"summary": facts.summary, "description": "\n".join(lines)}
