"""The receiver that other platforms run: CloudEvents, exactly as they are kept, signed by Standard Webhooks."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from typing_extensions import override
from yarl import URL

from monitor.alerts.events import CONTENT_TYPE
from monitor.alerts.sender import AlertRequest, HttpReceiver
from monitor.alerts.signing import Signer
from monitor.store.deliveries import DeliveryRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedWebhook(HttpReceiver):
    """Where alerts go and how they are signed.

    Attributes:
        url: May hold a token; shown nowhere.
    """

    url: URL = field(repr=False)
    signer: Signer

    @override
    def request(self, delivery: DeliveryRecord, *, at: datetime) -> AlertRequest:
        headers = {"Content-Type": CONTENT_TYPE, **self.signer.headers(delivery.event_id, delivery.body, at=at)}
        return AlertRequest(self.url, delivery.body, headers)
