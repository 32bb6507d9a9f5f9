"""What an alert says, in the words that tools which know nothing of incidents need: whom it is about, how grave, and whether it is over.

Reads events leniently: one of a type that this module does not know is told as what its attributes say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from monitor.store.deliveries import DeliveryRecord

OVER: Final = frozenset({"released", "dismissed", "closed", "concluded", "withdrawn", "restored"})
"""Last words of event types after which there is nothing left to do."""

ACKNOWLEDGED: Final = "acknowledged"
_SEVERITIES: Final = {"act": "critical", "review": "warning"}


@dataclass(frozen=True)
class Facts:
    """One alert. Texts may hold a publisher's hostile words: whoever shows them escapes them."""

    event: Mapping[str, Any]
    delivery_created_at: float = 0.0

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """What is reported."""
        data = self.event.get("data")
        return data if isinstance(data, Mapping) else {}

    @cached_property
    def word(self) -> str:
        """The last word of its type, such as ``contained``."""
        return str(self.event["type"]).rpartition(".")[2]

    @cached_property
    def kind(self) -> str:
        """What it is about, such as ``incident`` or ``receiver``."""
        return str(self.event["type"]).removeprefix("livecordon.").partition(".")[0]

    @cached_property
    def incident_id(self) -> str | None:
        """Which incident it is about, if any."""
        found = self.data.get("incident_id")
        return found if isinstance(found, str) else None

    @cached_property
    def key(self) -> str:
        """The same for all alerts about the same thing; at most 255 characters."""
        return (self.incident_id or f"{self.kind}/{self.event.get('subject', '')}")[:255]

    @cached_property
    def at(self) -> datetime:
        """When what it reports happened; aware."""
        return datetime.fromisoformat(str(self.event["time"]))

    @cached_property
    def since(self) -> datetime:
        """When what it is about began; aware."""
        opened = self.data.get("opened_at")
        return min(self.at, datetime.fromisoformat(opened)) if isinstance(opened, str) else self.at

    @property
    def is_over(self) -> bool:
        """Nothing is left to be done about it."""
        return self.word in OVER

    @property
    def is_crisis(self) -> bool:
        """It is worth waking people for."""
        return self.event.get("priority") == "crisis"

    @property
    def is_drill(self) -> bool:
        """It is an exercise."""
        return self.data.get("drill") is True

    @cached_property
    def level(self) -> str:
        """``critical``, ``warning`` or ``info``; of an exercise always ``info``."""
        if self.is_drill:
            return "info"
        if self.is_crisis:
            return "critical"
        return _SEVERITIES.get(str(self.data.get("severity")), "info")

    @cached_property
    def place(self) -> str:
        """Where it happened: a media server's name, or the installation's."""
        return str(self.data.get("server") or self.event.get("source") or "livecordon")

    @cached_property
    def label(self) -> str:
        """What was detected; may be empty."""
        return str(self.data.get("label") or "")

    @cached_property
    def page_link(self) -> str | None:
        """Where people see more."""
        link = self.data.get("page_link")
        return link if isinstance(link, str) else None

    @cached_property
    def summary(self) -> str:
        """One line for people, without the stream's name."""
        drill = "DRILL: " if self.is_drill else ""
        what = self.word.replace("_", " ")
        if self.incident_id is None:
            return f"{drill}{self.kind} {self.event.get('subject', '')}: {what}"
        seen = f"{self.label.replace('_', ' ') or 'something'} on {self.data.get('stream_id', '')}"
        dry = " (dry run)" if self.data.get("dry_run") is True else ""
        return f"{drill}{seen}: {what}{dry}"

    @cached_property
    def details(self) -> Mapping[str, str]:
        """What else people want to know, by name."""
        named = {
            "Stream": self.data.get("stream_name") or self.data.get("stream_id"),
            "Server": self.data.get("server"),
            "Severity": self.data.get("severity"),
            "Detected": self.label.replace("_", " "),
            "State": str(self.data.get("state") or "").replace("_", " "),
            "Protocol": self.data.get("protocol"),
            "Reason": str(self.data.get("reason") or "").replace("_", " "),
            "Decide before": self.data.get("review_due_at"),
            "Asked": self.data.get("responder_group"),
            "Acknowledged": self.data.get("acknowledged_at"),
            "Cancelled alerts": self.data.get("cancelled"),
        }
        return {name: _one_line(str(value)) for name, value in named.items() if value not in (None, "")}


def facts_of(delivery: DeliveryRecord) -> Facts:
    """Return what an alert says.

    Raises:
        ValueError: its body is no event; this installation has written it, so that this is a defect.
    """
    event = json.loads(delivery.body)
    if not isinstance(event, dict):
        message = "the alert is no event"
        raise ValueError(message)  # noqa: TRY004 - one kind of error for a body that is none
    return Facts(event, delivery.created_at)


def _one_line(text: str, longest: int = 300) -> str:
    """Return a text that no control character breaks out of its line."""
    return "".join(one if one.isprintable() else " " for one in text)[:longest]
