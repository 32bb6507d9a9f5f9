"""Which receivers are told of what, and when. Pure.

Filters say of what a receiver begins to hear. Whoever has been told of an incident hears how it goes on, as far as the
receiver's `events` go, and is always told when it is taken back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Final

from monitor.config.hours import within
from monitor.config.people import ResponderGroup
from monitor.config.receivers import ReceiverSection
from monitor.vocabulary import AlertEvent, Severity

USUAL: Final = frozenset(AlertEvent) - {AlertEvent.REVIEW_OVERDUE}
"""What a receiver is told that names no events."""

FOLLOWING_KINDS: Final = frozenset({"pagerduty", "alertmanager"})
"""Kinds that keep an incident of their own: whoever was told of its beginning must be told of its end."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What an alert is about, as far as routing looks at it."""

    server: str
    severity: Severity
    label: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Route:
    """What one receiver wants to be told; empty means anything.

    Attributes:
        events: Last words of event types; the usual ones if empty.
        follows: It hears everything of an incident once it has been told of it, whatever `events` say.
        repeat_s: After how long without an acknowledgement it is told again; None never.
    """

    events: frozenset[str] = frozenset()
    severities: frozenset[str] = frozenset()
    labels: tuple[str, ...] = ()
    servers: frozenset[str] = frozenset()
    hours: tuple[str, ...] = ()
    time_zone: str = "UTC"
    follows: bool = False
    repeat_s: float | None = None

    def takes(self, event: AlertEvent) -> bool:
        """Whether it is told of such events."""
        return event.value in (self.events or USUAL)

    def is_about(self, subject: Subject) -> bool:
        """Whether it wants to hear of this, at whatever time."""
        return (
            (not self.severities or subject.severity.word in self.severities)
            and (not self.servers or subject.server in self.servers)
            and (not self.labels or any(fnmatchcase(subject.label, pattern) for pattern in self.labels))
        )


_ANYTHING: Final = Route()


@dataclass(frozen=True, slots=True)
class Routing:
    """All routes.

    Attributes:
        routes: By receiver; one that is absent wants anything.
        groups: Groups of responders.
    """

    routes: Mapping[str, Route]
    groups: Sequence[ResponderGroup] = ()

    @classmethod
    def of(cls, entries: Sequence[ReceiverSection], groups: Sequence[ResponderGroup]) -> Routing:
        """Return the routing that the configuration says."""
        return cls({entry.name: _route(entry) for entry in entries}, groups)

    def route(self, receiver: str) -> Route:
        """Return what one receiver wants."""
        return self.routes.get(receiver, _ANYTHING)

    @property
    def responders(self) -> frozenset[str]:
        """Receivers that reach the operator's own people, in any group of responders."""
        return frozenset(name for group in self.groups for name in group.receivers)

    def asking_for(self, event: str) -> set[str]:
        """Return the receivers whose `events` name this."""
        return {name for name, route in self.routes.items() if event in route.events}

    def chosen(
        self, event: AlertEvent, subject: Subject, receivers: Sequence[str], told_earlier: Collection[str]
    ) -> list[str]:
        """Return who is told of this, in the order of `receivers`.

        Where nobody would be left because of the time, everybody is told whom only the time keeps out.
        """
        chosen: set[str] = set()
        asleep: set[str] = set()
        for name in receivers:
            route = self.route(name)
            known = name in told_earlier
            if not (route.takes(event) or (known and route.follows)):
                continue
            if known:
                chosen.add(name)
            elif route.is_about(subject):
                (chosen if self._is_awake(name, route, subject.at) else asleep).add(name)
        wanted = chosen or asleep
        return [name for name in receivers if name in wanted]

    def on_call(self, group: ResponderGroup, at: datetime) -> bool:
        """Whether a group is on call."""
        return within(group.hours, group.time_zone, at)

    def _is_awake(self, name: str, route: Route, at: datetime) -> bool:
        groups = [group for group in self.groups if name in group.receivers]
        if groups and not any(self.on_call(group, at) for group in groups):
            return False
        return within(route.hours, route.time_zone, at)


def _route(entry: ReceiverSection) -> Route:
    return Route(
        events=frozenset(entry.events),
        severities=frozenset(entry.severities),
        labels=entry.labels,
        servers=frozenset(entry.servers),
        hours=entry.hours,
        time_zone=entry.time_zone,
        follows=entry.kind in FOLLOWING_KINDS,
        repeat_s=entry.repeat,
    )
