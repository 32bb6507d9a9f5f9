"""The receiver that other platforms run: CloudEvents, as they are kept but for what it is not to know, signed by Standard Webhooks."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from typing_extensions import override
from yarl import URL

from monitor.alerts.disclosure import Shows, disclosed
from monitor.alerts.events import CONTENT_TYPE
from monitor.alerts.sender import AlertRequest, HttpReceiver
from monitor.alerts.signing import Signer
from monitor.store.deliveries import DeliveryRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedWebhook(HttpReceiver):
    """Where alerts go and how they are signed.

    Attributes:
        url: May hold a token; shown nowhere.
        shows: How much of an alert it is told.
    """

    url: URL = field(repr=False)
    signer: Signer
    shows: Shows = "internal"

    @override
    def request(self, delivery: DeliveryRecord, *, at: datetime) -> AlertRequest:
        body = disclosed(delivery.body, self.shows)
        headers = {"Content-Type": CONTENT_TYPE, **self.signer.headers(delivery.event_id, body, at=at)}
        return AlertRequest(self.url, body, headers)
