"""Other platforms: what they may tell this installation, what that leads to here, and what they are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from monitor.config.fields import AnchoredPath, Duration, HttpAddress, Name
from monitor.config.receivers import AlertWord, WebhookReceiver
from monitor.config.secrets import (
    public_key_weakness,
    resolve_secret,
    signing_key_weakness,
    signing_secret_weakness,
)
from monitor.config.section import Secret, Section
from monitor.errors import ConfigError
from monitor.yaml_source import Path

_SHORTEST_WATCH_S: Final = 10.0


class PartnerSection(Section):
    """Another platform. Its alerts are advice: they cut nothing, unless a protocol of yours says so."""

    name: Name
    """Your name for it; it sends to `/api/v1/partners/{partner}/events`, with this name. No entry of `alerts.receivers` may have the same."""
    url: HttpAddress | None = None
    """Where it takes your alerts and your receipts; https unless the host is loopback. Without it, it is told nothing but the receipt
    in each answer."""
    secrets: tuple[Secret, ...] = ()
    """Signing secrets (`whsec_…`) that you share with it, for both directions; several while one is being replaced."""
    public_keys: tuple[str, ...] = ()
    """Its public ed25519 keys (`whpk_…`); several while one is being replaced. They are no secrets."""
    signing_keys: tuple[Secret, ...] = ()
    """Your private ed25519 keys (`whsk_…`), with which your alerts and receipts are signed besides."""
    trust: Literal["shown", "watched", "protocol"] = "protocol"
    """What its alerts may lead to: responders see them; besides, streams are watched more closely; besides, the protocols of streams
    of the same name are told, as `partner: raised` and `partner: withdrawn`."""
    watch: Literal["matching", "all"] = "all"
    """Which streams are watched more closely: those of the same name, or all of them, because a copy may have any name."""
    posture: Literal["close", "full"] = "close"
    """How closely."""
    watch_for: Duration = 900.0
    """For how long after its last word about an incident."""
    from_severity: Literal["review", "act"] = "act"
    """From which severity on its alerts lead to anything but being shown."""
    drills: Literal["refuse", "take"] = "refuse"
    """Whether its exercises are refused, and answered as such, or taken like alerts."""
    per_minute: int = Field(default=120, ge=1, le=6000)
    """How many of its events are taken in a minute; more are answered with 429, and sent again later."""
    shows: Literal["public", "partner", "internal"] = "partner"
    """What your alerts tell it: see `shows` of a webhook in `alerts.receivers`."""
    events: tuple[AlertWord, ...] = ()
    """Only these alerts of yours; all from `raised` to `acknowledged` by default."""
    allow_private_address: bool = False
    """Let its name resolve to any private or loopback address."""
    allow_networks: tuple[str, ...] = ()
    """Private networks in which it may be, such as `[10.20.0.0/16]`, instead of any."""
    ca_file: AnchoredPath | None = None
    """Certificates (PEM) of the authorities that may vouch for it, instead of the system's."""

    @model_validator(mode="after")
    def _proves_who_it_is(self) -> PartnerSection:
        if not self.secrets and not self.public_keys:
            message = "nothing would prove that an alert is its: name secrets or public_keys"
            raise ValueError(message)
        if not self.secrets and not self.signing_keys:
            message = "receipts would not be signed: name signing_keys, or secrets"
            raise ValueError(message)
        return self

    @property
    def receiver(self) -> WebhookReceiver | None:
        """The receiver of alerts that it is besides; None where it has no address."""
        if self.url is None:
            return None
        return WebhookReceiver(
            name=self.name,
            url=self.url,
            secrets=self.secrets,
            signing_keys=self.signing_keys,
            events=self.events,
            shows=self.shows,
            allow_private_address=self.allow_private_address,
            allow_networks=self.allow_networks,
            ca_file=self.ca_file,
        )


def partner_mistakes(
    partners: tuple[PartnerSection, ...], receivers: tuple[str, ...], environ: Mapping[str, str]
) -> Iterator[tuple[Path, str, str]]:
    """Yield what must not stay as it is, where, and how to mend it; reads secret files.

    Args:
        partners: The section.
        receivers: Names of `alerts.receivers`.
        environ: Where secrets may be.
    """
    names = [partner.name for partner in partners]
    for index, partner in enumerate(partners):
        place: Path = ("partners", index)
        if partner.name in names[:index]:
            what = f"entry {names.index(partner.name)} (counted from 0) has the same name"
            yield (*place, "name"), what, "give each its own"
        if partner.name in receivers:
            yield (*place, "name"), "an entry of alerts.receivers has the same name", "give each its own"
        yield from _weaknesses(place, partner, environ)
        if partner.url is not None and urlsplit(partner.url).username is not None:
            yield (*place, "url"), "there is a user or password in the address", "remove it: alerts are signed"
        if partner.watch_for < _SHORTEST_WATCH_S:
            yield (*place, "watch_for"), "nothing would be seen in so short a time", "make it 10s or more"


def _weaknesses(place: Path, partner: PartnerSection, environ: Mapping[str, str]) -> Iterator[tuple[Path, str, str]]:
    for path, secret, is_key in _secrets(place, partner):
        try:
            value = resolve_secret(secret, environ)
        except ConfigError as failure:
            yield from ((path, problem.what, problem.mend) for problem in failure.problems)
            continue
        if weak := signing_key_weakness(value) if is_key else signing_secret_weakness(value):
            what, _, mend = weak.partition(": ")
            yield path, what, mend
    for position, key in enumerate(partner.public_keys):
        if weak := public_key_weakness(SecretStr(key)):
            what, _, mend = weak.partition(": ")
            yield (*place, "public_keys", position), what, mend


def partner_secrets(partners: tuple[PartnerSection, ...]) -> Iterator[tuple[Path, Secret]]:
    """Yield every secret of a partner, and where it is named."""
    for index, partner in enumerate(partners):
        yield from ((path, secret) for path, secret, _ in _secrets(("partners", index), partner))


def _secrets(place: Path, partner: PartnerSection) -> Iterator[tuple[Path, Secret, bool]]:
    for position, secret in enumerate(partner.secrets):
        yield (*place, "secrets", position), secret, False
    for position, key in enumerate(partner.signing_keys):
        yield (*place, "signing_keys", position), key, True
