"""Entries of `alerts.receivers`: one model for each kind of receiver. What they become is in `monitor.alerts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from monitor.config.fields import AnchoredPath, Duration, HttpAddress, Name
from monitor.config.hours import HoursText, TimeZone
from monitor.config.section import Secret, Section

AlertWord = Literal[
    "raised",
    "updated",
    "contained",
    "released",
    "dismissed",
    "closed",
    "acknowledged",
    "review_overdue",
    "receiver_disabled",
    "review_requested",
    "review_decided",
    "effect_failed",
    "watch_blind",
    "watch_restored",
]

DEFAULT_KIND: Final = "webhook"
"""The kind of an entry that names none."""


class ReceiverSection(Section):
    """What every receiver's entry may say. A kind of receiver adds its own settings, and narrows `kind`."""

    name: Name
    """Your name for it."""
    kind: str
    """Which kind of receiver."""
    events: tuple[AlertWord, ...] = ()
    """Only these alerts, such as `[contained, review_overdue]`; all from `raised` to `acknowledged` by default. Whoever
    was told something is also told when it is taken back."""
    severities: tuple[Literal["none", "review", "act"], ...] = ()
    """Only while the detection has one of these severities; any by default."""
    labels: tuple[str, ...] = ()
    """Only these labels, such as `["violence"]`; `*`, `?` and `[abc]` stand for any letters, one, or one of these."""
    servers: tuple[Name, ...] = ()
    """Only streams on these media servers."""
    hours: tuple[HoursText, ...] = ()
    """Only at these times, such as `["mon-fri 08:00-18:00", "sat 22:00-06:00"]`. An alert for which nobody would be left is sent
    to whoever only the time keeps out."""
    time_zone: TimeZone = "UTC"
    """Where `hours` are told, such as `Europe/Berlin`; summer time is minded."""
    repeat: Duration | None = None
    """Send an incident's alert again after so long, and again, until somebody acknowledges it or decides."""
    timeout: Duration = 15.0
    """How long one delivery attempt may take."""
    concurrency: int = Field(default=8, ge=1, le=64)
    """How many alerts it may be sent at once; of one incident always one after the other."""


class HttpReceiverSection(ReceiverSection):
    """What receivers that are reached over HTTP may say besides."""

    allow_private_address: bool = False
    """Let this receiver's name resolve to any private or loopback address."""
    allow_networks: tuple[str, ...] = ()
    """Private networks in which it may be, such as `[10.20.0.0/16]`, instead of any; link-local addresses never."""
    ca_file: AnchoredPath | None = None
    """Certificates (PEM) of the authorities that may vouch for it, instead of the system's. Certificates are always verified."""


class WebhookReceiver(HttpReceiverSection):
    """A receiver of signed alerts: another platform, or a program of your own."""

    kind: Literal["webhook"] = "webhook"
    """CloudEvents, signed by Standard Webhooks; the kind of an entry that names none."""
    url: HttpAddress
    """Where alerts are sent; https unless the host is loopback."""
    secrets: tuple[Secret, ...] = ()
    """Signing secrets (`whsec_…`); several while one is being replaced: alerts are signed with all of them."""
    signing_keys: tuple[Secret, ...] = ()
    """Private ed25519 keys (`whsk_…`), of `livecordon keys new`, for receivers that know only your public key; several while one
    is being replaced."""
    shows: Literal["public", "partner", "internal"] = "internal"
    """What alerts tell it. `internal`: everything. `partner`: no stream's name, which may be an account's, and nothing of your own
    people, such as links to your page and groups of responders. `public`: besides, nothing of your media servers."""

    @model_validator(mode="after")
    def _signs(self) -> WebhookReceiver:
        if not self.secrets and not self.signing_keys:
            message = "its alerts would not be signed: name secrets or signing_keys"
            raise ValueError(message)
        return self


class PagerDutyReceiver(HttpReceiverSection):
    """A service of PagerDuty's, through its Events API v2: pages people, and hears when they acknowledge."""

    kind: Literal["pagerduty"]
    """PagerDuty."""
    routing_key: Secret
    """Integration key of the service, for Events API v2."""
    url: HttpAddress = "https://events.pagerduty.com/v2/enqueue"
    """Where events are sent; the EU's service regions have an address of their own."""
    webhook_secrets: tuple[Secret, ...] = ()
    """Secrets of the webhook subscription through which PagerDuty says who acknowledged; several while one is being replaced."""


class SlackReceiver(HttpReceiverSection):
    """A channel of Slack's, through an incoming webhook. It tells people; it wakes nobody, and is not for paging."""

    kind: Literal["slack"]
    """Slack."""
    webhook: Secret
    """Address of the incoming webhook (`https://hooks.slack.com/…`), which is a secret."""
    gather: Duration | None = None
    """After one message, keep what is no crisis back for so long and send it as one; the first is never delayed."""


class AlertmanagerReceiver(HttpReceiverSection):
    """A Prometheus Alertmanager, through its API v2: one alert per incident, resolved with it."""

    kind: Literal["alertmanager"]
    """Alertmanager."""
    url: HttpAddress
    """Its address, such as `http://127.0.0.1:9093`; https unless the host is loopback."""
    token: Secret | None = None
    """Bearer token, where something before it asks for one."""
    stays: Duration = 86_400.0
    """For how long it keeps an alert of which nothing more is heard."""


class EmailReceiver(ReceiverSection):
    """People with a mailbox. Mail is always encrypted on its way to the server, unless that is on this machine."""

    kind: Literal["email"]
    """E-mail."""
    host: str = Field(min_length=1, max_length=253)
    """Host of your mail server."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Its port; 587 by default, 465 with `tls: implicit`, 25 with `tls: none`."""
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    """How the connection is encrypted: after a word in the clear, or from its beginning; `none` only for a host on loopback."""
    user: str | None = None
    """Who signs in at the mail server."""
    password: Secret | None = None
    """With which password."""
    sender: str = Field(pattern=r"^[^@\s<>\"]+@[^@\s<>\"]+$")
    """Address that alerts come from."""
    to: tuple[Annotated[str, Field(pattern=r"^[^@\s<>\",]+@[^@\s<>\",]+$")], ...] = Field(min_length=1, max_length=50)
    """Addresses that they go to."""
    gather: Duration | None = None
    """After one mail, keep what is no crisis back for so long and send it as one; the first is never delayed."""
    allow_private_address: bool = False
    """Let the mail server's name resolve to any private or loopback address."""
    allow_networks: tuple[str, ...] = ()
    """Private networks in which it may be, such as `[10.20.0.0/16]`, instead of any; link-local addresses never."""
    ca_file: AnchoredPath | None = None
    """Certificates (PEM) of the authorities that may vouch for it, instead of the system's. Certificates are always verified."""

    @model_validator(mode="after")
    def _both(self) -> EmailReceiver:
        if (self.user is None) != (self.password is None):
            message = "signing in takes both: set user and password, or neither"
            raise ValueError(message)
        return self


class AppriseReceiver(ReceiverSection):
    """Any service that the library Apprise knows (ntfy, Teams, Telegram, Matrix …); needs `livecordon[apprise]`."""

    kind: Literal["apprise"]
    """Apprise."""
    urls: tuple[Secret, ...] = Field(min_length=1)
    """Apprise's address of each service, such as `ntfys://host/topic`: secrets, because tokens stand in them."""
    gather: Duration | None = None
    """After one message, keep what is no crisis back for so long and send it as one; the first is never delayed."""


def _with_kind(value: Any) -> Any:
    if isinstance(value, Mapping) and "kind" not in value:
        return {**value, "kind": DEFAULT_KIND}
    return value


BuiltInReceiver = Annotated[
    WebhookReceiver | PagerDutyReceiver | SlackReceiver | AlertmanagerReceiver | EmailReceiver | AppriseReceiver,
    Field(discriminator="kind"),
]

AnyReceiver = Annotated[BuiltInReceiver, BeforeValidator(_with_kind)]
"""An entry of `alerts.receivers`; without a `kind` it is a webhook."""

RECEIVER_KINDS: Final = ("webhook", "pagerduty", "slack", "alertmanager", "email", "apprise")
