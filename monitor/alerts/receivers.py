"""Receivers of alerts, built from the configuration."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Final

from pydantic import SecretStr
from yarl import URL

from monitor.alerts.addresses import Network, is_loopback_host, reach_of, reach_of_host
from monitor.alerts.alertmanager import Alertmanager
from monitor.alerts.gathering import GATHERED_AT_ONCE
from monitor.alerts.links import Links
from monitor.alerts.mail import Mailbox, MailServer
from monitor.alerts.pagerduty import PagerDuty
from monitor.alerts.port import Receiver
from monitor.alerts.services import Services, is_installed, services_at
from monitor.alerts.signing import Signer
from monitor.alerts.slack import Slack
from monitor.alerts.webhook import SignedWebhook
from monitor.config.receivers import (
    AlertmanagerReceiver,
    AppriseReceiver,
    EmailReceiver,
    HttpReceiverSection,
    PagerDutyReceiver,
    ReceiverSection,
    SlackReceiver,
    WebhookReceiver,
)
from monitor.config.secrets import resolve_secret, signing_key_weakness, signing_secret_weakness
from monitor.config.section import Secret
from monitor.errors import ConfigError, Problem

_SUBMISSION_PORTS: Final = {"starttls": 587, "implicit": 465, "none": 25}


def build_receivers(
    entries: Sequence[ReceiverSection],
    environ: Mapping[str, str],
    *,
    config_file: str = "config.yaml",
    links: Links | None = None,
    where: str = "alerts.receivers",
) -> tuple[Receiver, ...]:
    """Build every receiver of ``alerts.receivers``.

    Args:
        entries: What the configuration says of them.
        environ: Where secrets may be.
        config_file: As problems name it.
        links: Makes the links by which people acknowledge; None where there are none.
        where: In which setting the entries stand.

    Raises:
        ConfigError: a secret is missing or malformed, an address is not https, or a library is missing; all problems at
            once, none of them quoting a secret or an address.
    """
    receivers: list[Receiver] = []
    problems: list[Problem] = []
    for index, entry in enumerate(entries):
        building = _Building(f"{where}[{index}]", config_file, environ, links)
        receiver = building.receiver(entry)
        problems += building.problems
        if receiver is not None:
            receivers.append(receiver)
    if problems:
        raise ConfigError(problems)
    return tuple(receivers)


@dataclass(slots=True)
class _Building:
    """One entry on its way to a receiver; collects what is wrong with it."""

    where: str
    config_file: str
    environ: Mapping[str, str]
    links: Links | None
    problems: list[Problem] = field(default_factory=list)

    def receiver(self, entry: ReceiverSection) -> Receiver | None:
        """Return what the entry describes; None where there are problems."""
        match entry:
            case WebhookReceiver():
                make = self._webhook(entry)
            case PagerDutyReceiver():
                make = self._pagerduty(entry)
            case SlackReceiver():
                make = self._slack(entry)
            case AlertmanagerReceiver():
                make = self._alertmanager(entry)
            case EmailReceiver():
                make = self._mailbox(entry)
            case AppriseReceiver():
                make = self._services(entry)
            case _:
                message = f"no receiver is of the kind {entry.kind}"
                raise AssertionError(message)
        return None if self.problems else make()

    def _webhook(self, entry: WebhookReceiver) -> Callable[[], Receiver]:
        url = self._url(entry.url)
        secrets = self._secrets("secrets", entry.secrets, signing_secret_weakness)
        keys = self._secrets("signing_keys", entry.signing_keys, signing_key_weakness)
        http = {**self._http(entry, url), "newest_only": False}
        return lambda: SignedWebhook(**http, url=url, signer=Signer(secrets, keys), shows=entry.shows)

    def _pagerduty(self, entry: PagerDutyReceiver) -> Callable[[], Receiver]:
        url = self._url(entry.url)
        (key,) = self._secrets("routing_key", (entry.routing_key,)) or (SecretStr(""),)
        hooks = tuple(self._secrets("webhook_secrets", entry.webhook_secrets))
        http = self._http(entry, url)
        return lambda: PagerDuty(**http, url=url, routing_key=key, links=self.links, webhook_secrets=hooks)

    def _slack(self, entry: SlackReceiver) -> Callable[[], Receiver]:
        found = self._secrets("webhook", (entry.webhook,))
        url = self._url(found[0].get_secret_value(), key="webhook") if found else URL()
        http = {**self._http(entry, url), "concurrency": _concurrency(entry)}
        return lambda: Slack(**http, url=url, links=self.links, gather_s=entry.gather)

    def _alertmanager(self, entry: AlertmanagerReceiver) -> Callable[[], Receiver]:
        url = self._url(entry.url)
        token = None if entry.token is None else next(iter(self._secrets("token", (entry.token,))), None)
        http = self._http(entry, url)
        return lambda: Alertmanager(**http, url=url / "api/v2/alerts", token=token, stays_s=entry.stays)

    def _mailbox(self, entry: EmailReceiver) -> Callable[[], Receiver]:
        if entry.tls == "none" and not is_loopback_host(entry.host):
            self._problem("tls", "mail leaves this machine without encryption", "use starttls or implicit")
        passwords = [] if entry.password is None else self._secrets("password", (entry.password,))
        server = MailServer(
            host=entry.host,
            port=entry.port or _SUBMISSION_PORTS[entry.tls],
            encryption=entry.tls,
            login=(entry.user, passwords[0]) if entry.user is not None and passwords else None,
            reach=reach_of_host(entry.host, allow_private_address=entry.allow_private_address),
            networks=tuple(self._networks(entry)),
            tls=self._tls(entry),
        )
        return lambda: Mailbox(
            **self._common(entry),
            server=server,
            sender=entry.sender,
            to=entry.to,
            timeout_s=entry.timeout,
            links=self.links,
            gather_s=entry.gather,
        )

    def _services(self, entry: AppriseReceiver) -> Callable[[], Receiver]:
        urls = self._secrets("urls", entry.urls)
        if not is_installed():
            mend = "install it with `pip install 'livecordon[apprise]'`"
            self._problem("kind", "this needs Apprise, which is not installed", mend)
        elif len(urls) == len(entry.urls):
            try:
                services = services_at(urls)
            except ValueError as failure:
                what = "Apprise knows no service at this address"
                self._problem(f"urls[{failure}]", what, "see its list of services")
            else:
                return lambda: Services(
                    **self._common(entry),
                    services=services,
                    timeout_s=entry.timeout,
                    links=self.links,
                    gather_s=entry.gather,
                )
        return _nothing

    def _common(self, entry: ReceiverSection) -> dict[str, Any]:
        return {"name": entry.name, "events": frozenset(entry.events), "concurrency": _concurrency(entry)}

    def _http(self, entry: HttpReceiverSection, url: URL) -> dict[str, Any]:
        return {
            **self._common(entry),
            "reach": reach_of(url, allow_private_address=entry.allow_private_address),
            "networks": tuple(self._networks(entry)),
            "tls": self._tls(entry),
            "timeout_s": entry.timeout,
            "newest_only": True,
        }

    def _url(self, text: str, *, key: str = "url") -> URL:
        try:
            url = URL(text)
        except ValueError:
            url = URL()
        if url.scheme not in ("http", "https") or not url.host:
            self._problem(key, "is no usable address", "write https://host/path")
        elif url.scheme != "https" and not is_loopback_host(url.host):
            self._problem(key, "alerts leave this machine without encryption", "use https")
        return url

    def _secrets(
        self,
        key: str,
        secrets: Sequence[Secret],
        weakness: Callable[[SecretStr], str | None] = lambda _: None,
    ) -> list[SecretStr]:
        values = []
        for position, secret in enumerate(secrets):
            try:
                value = resolve_secret(secret, self.environ)
            except ConfigError as error:
                self.problems.extend(error.problems)
                continue
            values.append(value)
            if (weak := weakness(value)) is not None:
                what, _, mend = weak.partition(": ")
                self._problem(f"{key}[{position}]", what, mend)
        return values

    def _networks(self, entry: HttpReceiverSection | EmailReceiver) -> Iterator[Network]:
        for position, text in enumerate(entry.allow_networks):
            try:
                yield ip_network(text)
            except ValueError:
                mend = "write an address and its prefix, such as 10.20.0.0/16"
                self._problem(f"allow_networks[{position}]", "is no network", mend)

    def _tls(self, entry: HttpReceiverSection | EmailReceiver) -> ssl.SSLContext | None:
        if entry.ca_file is None:
            return None
        try:
            return ssl.create_default_context(cafile=entry.ca_file)
        except (OSError, ssl.SSLError):
            mend = "name a file with certificates as PEM that the daemon may read"
            self._problem("ca_file", "holds no certificates", mend)
            return None

    def _problem(self, key: str, what: str, mend: str) -> None:
        self.problems.append(Problem(self.config_file, f"{self.where}.{key}", what, mend))


def _concurrency(entry: ReceiverSection) -> int:
    gathers = isinstance(entry, SlackReceiver | EmailReceiver | AppriseReceiver) and entry.gather is not None
    # What is kept back to go together counts as under way.
    return GATHERED_AT_ONCE if gathers else entry.concurrency


def _nothing() -> Receiver:
    message = "a receiver with problems is not made"
    raise AssertionError(message)
