"""A channel of Slack's, through an incoming webhook. It tells people and wakes nobody: no acknowledgement, no repeats, no order."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from typing_extensions import override
from yarl import URL

from monitor.alerts.gathering import Gathering
from monitor.alerts.links import Links
from monitor.alerts.port import Attempt, Carrier
from monitor.alerts.sender import AlertRequest, HttpReceiver, Sender
from monitor.alerts.wording import Message, message_of
from monitor.clock import Clock
from monitor.store.deliveries import DeliveryRecord

MAX_HEADER: Final = 150
MAX_FIELD: Final = 2000
MAX_FIELDS: Final = 10
_MARKS: Final = {"critical": "🔴", "warning": "🟠", "info": "⚪"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slack(HttpReceiver):
    """One channel.

    Attributes:
        url: The webhook's address, which is a secret.
        links: Makes links by which an incident is acknowledged; None where there are none.
        gather_s: For how long what comes after a message is kept back; None sends each alert by itself.
    """

    url: URL = field(repr=False)
    links: Links | None = None
    gather_s: float | None = None

    @override
    def request(self, delivery: DeliveryRecord, *, at: datetime) -> AlertRequest:
        return self.request_for([delivery])

    def request_for(self, deliveries: Sequence[DeliveryRecord]) -> AlertRequest:
        """Return the request that tells one alert, or several together."""
        body = _blocks(message_of(deliveries, receiver=self.name, links=self.links))
        return AlertRequest(self.url, json.dumps(body).encode(), {"Content-Type": "application/json"})

    @override
    def carrier(self, clock: Clock) -> AbstractAsyncContextManager[Carrier]:
        """Return the way to it; see `monitor.alerts.port.Receiver`."""
        return self._opened(clock)

    @asynccontextmanager
    async def _opened(self, clock: Clock) -> AsyncIterator[Carrier]:
        async with Sender(self, clock) as sender:

            async def tell(deliveries: Sequence[DeliveryRecord]) -> Attempt:
                return await sender.send(lambda _: self.request_for(deliveries))

            gathering = Gathering(tell, clock, self.gather_s)
            try:
                yield gathering
            finally:
                await gathering.aclose()


def _blocks(message: Message) -> dict[str, Any]:
    title = f"{_MARKS[message.level]} {message.title}"
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": title[:MAX_HEADER], "emoji": True}}
    ]
    for begin in range(0, len(message.details), MAX_FIELDS):
        fields = [
            {"type": "mrkdwn", "text": f"*{_escaped(name)}*\n{_escaped(value)}"[:MAX_FIELD]}
            for name, value in message.details[begin : begin + MAX_FIELDS]
        ]
        blocks.append({"type": "section", "fields": fields})
    buttons = [
        {"type": "button", "text": {"type": "plain_text", "text": text}, "url": link, "action_id": action}
        for text, link, action in (
            ("See the incident", message.page_link, "see"),
            ("I am on it", message.acknowledge_link, "acknowledge"),
        )
        if link is not None
    ]
    if buttons:
        blocks.append({"type": "actions", "elements": buttons})
    # Shown where blocks are not, such as in notifications.
    return {"text": _escaped(title), "blocks": blocks}


def _escaped(text: str) -> str:
    """Return a text in which nothing calls people or makes a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
