"""Alerts as messages that people read: in a chat, a mailbox, on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from monitor.alerts.facts import Facts, facts_of
from monitor.alerts.links import Links
from monitor.store.deliveries import DeliveryRecord

MOST_IN_ONE: Final = 20
"""Of so many alerts that came together, each gets a line; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Message:
    """What people are told. All texts but the links may hold a publisher's hostile words.

    Attributes:
        id: The same at every attempt.
        thread: The same for all messages about the same incident; None where they are about several.
        title: One line.
        details: What else there is to know, by name.
        page_link: Where they see more.
        acknowledge_link: Where they say that they are on it.
        is_urgent: It is worth waking people for.
    """

    id: str
    thread: str | None
    title: str
    details: tuple[tuple[str, str], ...]
    page_link: str | None
    acknowledge_link: str | None
    level: str
    is_urgent: bool

    @property
    def plain(self) -> str:
        """The whole message as plain text."""
        lines = [self.title, "", *(f"{name}: {value}" for name, value in self.details)]
        if self.page_link is not None:
            lines += ["", f"See: {self.page_link}"]
        if self.acknowledge_link is not None:
            lines += ["", f"Say that you are on it: {self.acknowledge_link}"]
        return "\n".join(lines) + "\n"


def message_of(deliveries: Sequence[DeliveryRecord], *, receiver: str, links: Links | None) -> Message:
    """Return what one alert says, or several that were kept back and go together."""
    if len(deliveries) == 1:
        return _about_one(facts_of(deliveries[0]), receiver, links)
    return _about_many(deliveries)


def _about_one(facts: Facts, receiver: str, links: Links | None) -> Message:
    acknowledge = None
    if links is not None and facts.incident_id is not None and not facts.is_over:
        acknowledge = links.link(facts.incident_id, receiver, at=facts.delivery_created_at)
    return Message(
        id=str(facts.event["id"]),
        thread=facts.key,
        title=facts.summary,
        details=tuple(facts.details.items()),
        page_link=facts.page_link,
        acknowledge_link=acknowledge,
        level=facts.level,
        is_urgent=facts.is_crisis and not facts.is_drill,
    )


def _about_many(deliveries: Sequence[DeliveryRecord]) -> Message:
    every = [facts_of(one) for one in deliveries]
    lines = [(facts.place, facts.summary) for facts in every[:MOST_IN_ONE]]
    if len(every) > MOST_IN_ONE:
        lines.append(("and", f"{len(every) - MOST_IN_ONE} more"))
    order = ("critical", "warning", "info")
    page = next((facts.page_link for facts in every if facts.page_link is not None), None)
    return Message(
        id=str(every[0].event["id"]),
        thread=None,
        title=f"{len(every)} alerts",
        details=tuple(lines),
        page_link=None if page is None else page.partition("/incidents/")[0],
        acknowledge_link=None,
        level=min((facts.level for facts in every), key=order.index),
        is_urgent=False,
    )
