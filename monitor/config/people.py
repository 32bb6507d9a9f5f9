"""Who is told and who decides: receivers of alerts, and groups of responders."""

from __future__ import annotations

from pydantic import Field

from monitor.config.fields import Duration, HttpAddress, Name
from monitor.config.hours import HoursText, TimeZone
from monitor.config.receivers import AnyReceiver
from monitor.config.section import Section


class ResponderGroup(Section):
    """People who are told when a review waits."""

    name: Name
    """Your name for the group."""
    receivers: tuple[Name, ...] = ()
    """Entries of `alerts.receivers` that reach these people."""
    within: Duration = 120.0
    """How long they have to decide before the next group is told; less where the protocol gives less."""
    acknowledge_within: Duration | None = None
    """How long they have to say that somebody is on it; the next group is told when nobody does, even where the protocol asks for
    no decision."""
    hours: tuple[HoursText, ...] = ()
    """When this group is on call, such as `["mon-fri 08:00-18:00"]`; always by default. At other times it is passed over, and
    receivers that only groups off call name are told nothing, unless nobody would be left."""
    time_zone: TimeZone = "UTC"
    """Where `hours` are told, such as `Europe/Berlin`; summer time is minded."""


class RespondersSection(Section):
    """Who decides, and who is told when nobody does."""

    groups: tuple[ResponderGroup, ...] = ()
    """First the people who get the usual alerts, then whom to tell when they do not decide, and so on."""
    longest_silence: Duration = 86_400.0
    """How long a pause of containment, or a silence of alerts, may last at most."""


class AlertsSection(Section):
    """Who is told, and how."""

    source: str = Field(default="livecordon", min_length=1, max_length=200)
    """CloudEvents `source`: names this installation to its receivers."""
    receivers: tuple[AnyReceiver, ...] = ()
    """Each gets every alert, unless its entry says less."""
    page_url: HttpAddress | None = None
    """Address under which people reach this daemon's page; put into alerts as a link. Without it alerts carry no link by which they are
    acknowledged."""
