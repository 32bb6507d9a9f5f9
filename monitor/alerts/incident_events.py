"""Events about incidents."""

from __future__ import annotations

from typing import Literal

from monitor.alerts.envelope import IncidentEvent


class RaisedEvent(IncidentEvent):
    """Something was detected, and an incident began."""

    type: Literal["livecordon.incident.raised"]
    """What happened."""


class UpdatedEvent(IncidentEvent):
    """Something that matters has changed: a higher severity, a reminder, a cut that failed."""

    type: Literal["livecordon.incident.updated"]
    """What happened."""


class ContainedEvent(IncidentEvent):
    """The stream is off the air: it was cut, and the media server no longer lists it. With `dry_run` only recorded."""

    type: Literal["livecordon.incident.contained"]
    """What happened."""


class ReleasedEvent(IncidentEvent):
    """The block is lifted: the publisher may stream again."""

    type: Literal["livecordon.incident.released"]
    """What happened."""


class DismissedEvent(IncidentEvent):
    """It was a mistake, and what was said before is withdrawn: undo whatever you did because of this incident."""

    type: Literal["livecordon.incident.dismissed"]
    """What happened."""


class ClosedEvent(IncidentEvent):
    """The incident is over; its state says how."""

    type: Literal["livecordon.incident.closed"]
    """What happened."""


class AcknowledgedEvent(IncidentEvent):
    """Somebody at the sender is on it: there is no need to wake anybody else."""

    type: Literal["livecordon.incident.acknowledged"]
    """What happened."""


class ReviewOverdueEvent(IncidentEvent):
    """Nobody decided in time, or a responder passed it on: `data.responder_group` is asked to decide now."""

    type: Literal["livecordon.incident.review_overdue"]
    """What happened."""
