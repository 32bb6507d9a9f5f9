"""Who is told and who decides: receivers of alerts, and groups of responders."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from monitor.config.fields import AnchoredPath, Duration, HttpAddress, Name
from monitor.config.section import Secret, Section

AlertWord = Literal[
    "raised", "updated", "contained", "released", "dismissed", "closed", "review_overdue", "receiver_disabled"
]


class WebhookReceiver(Section):
    """A receiver of signed alerts."""

    name: Name
    """Your name for it."""
    url: HttpAddress
    """Where alerts are sent; https unless the host is loopback."""
    secrets: tuple[Secret, ...] = Field(min_length=1)
    """Signing secrets (`whsec_…`); several while one is being replaced: alerts are signed with all of them."""
    allow_private_address: bool = False
    """Let this receiver's name resolve to any private or loopback address."""
    allow_networks: tuple[str, ...] = ()
    """Private networks in which it may be, such as `[10.20.0.0/16]`, instead of any; link-local addresses never."""
    ca_file: AnchoredPath | None = None
    """Certificates (PEM) of the authorities that may vouch for it, instead of the system's. Certificates are always verified."""
    events: tuple[AlertWord, ...] = ()
    """Only these alerts, such as `[contained, review_overdue]`; all but `review_overdue` and `receiver_disabled` by default. Whoever
    was told something is also told when it is taken back."""
    timeout: Duration = 15.0
    """How long one delivery attempt may take."""
    concurrency: int = Field(default=8, ge=1, le=64)
    """How many alerts it may be sent at once; of one incident always one after the other."""


class ResponderGroup(Section):
    """People who are told when a review waits."""

    name: Name
    """Your name for the group."""
    receivers: tuple[Name, ...] = ()
    """Entries of `alerts.receivers` that reach these people."""
    within: Duration = 120.0
    """How long they have to decide before the next group is told; less where the protocol gives less."""


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
    receivers: tuple[WebhookReceiver, ...] = ()
    """Each gets every alert, unless its `events` say less."""
    page_url: HttpAddress | None = None
    """Address under which people reach this daemon's page; put into alerts as a link."""
