"""Receivers of alerts, built from the configuration."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network

from yarl import URL

from monitor.alerts.addresses import Network, is_loopback_host, reach_of
from monitor.alerts.port import Receiver
from monitor.alerts.signing import Signer
from monitor.alerts.webhook import SignedWebhook
from monitor.config.people import WebhookReceiver
from monitor.config.secrets import resolve_secret, signing_secret_weakness
from monitor.errors import ConfigError, Problem


def build_receivers(
    entries: Sequence[WebhookReceiver], environ: Mapping[str, str], *, config_file: str = "config.yaml"
) -> tuple[Receiver, ...]:
    """Build every receiver of ``alerts.receivers``.

    Raises:
        ConfigError: a secret is missing or malformed, or an address is not https; all problems at once, none of them
            quoting a secret or an address.
    """
    receivers: list[Receiver] = []
    problems: list[Problem] = []
    for index, entry in enumerate(entries):
        where = f"alerts.receivers[{index}]"
        url = _url(entry.url)
        if url is None:
            problems.append(Problem(config_file, f"{where}.url", "is no usable address", "write https://host/path"))
            continue
        if url.scheme != "https" and not is_loopback_host(url.host or ""):
            what = "alerts leave this machine without encryption"
            problems.append(Problem(config_file, f"{where}.url", what, "use https"))
        secrets = []
        for position, secret in enumerate(entry.secrets):
            try:
                value = resolve_secret(secret, environ)
            except ConfigError as error:
                problems.extend(error.problems)
                continue
            secrets.append(value)
            if (weakness := signing_secret_weakness(value)) is not None:
                what, _, mend = weakness.partition(": ")
                problems.append(Problem(config_file, f"{where}.secrets[{position}]", what, mend))
        networks = tuple(_networks(entry, where, config_file, problems))
        tls = _tls(entry, where, config_file, problems)
        if not problems:
            receivers.append(
                SignedWebhook(
                    name=entry.name,
                    url=url,
                    signer=Signer(secrets),
                    reach=reach_of(url, allow_private_address=entry.allow_private_address),
                    networks=networks,
                    tls=tls,
                    timeout_s=entry.timeout,
                    events=frozenset(entry.events),
                    concurrency=entry.concurrency,
                )
            )
    if problems:
        raise ConfigError(problems)
    return tuple(receivers)


def _networks(entry: WebhookReceiver, where: str, config_file: str, problems: list[Problem]) -> Iterator[Network]:
    for position, text in enumerate(entry.allow_networks):
        try:
            yield ip_network(text)
        except ValueError:
            mend = "write an address and its prefix, such as 10.20.0.0/16"
            problems.append(Problem(config_file, f"{where}.allow_networks[{position}]", "is no network", mend))


def _tls(entry: WebhookReceiver, where: str, config_file: str, problems: list[Problem]) -> ssl.SSLContext | None:
    if entry.ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=entry.ca_file)
    except (OSError, ssl.SSLError):
        mend = "name a file with certificates as PEM that the daemon may read"
        problems.append(Problem(config_file, f"{where}.ca_file", "holds no certificates", mend))
        return None


def _url(text: str) -> URL | None:
    try:
        url = URL(text)
    except ValueError:
        return None
    return url if url.scheme in ("http", "https") and url.host else None
