"""Rules about receivers of alerts: their secrets, their addresses, and whether anybody would wake up."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from monitor.config.control_addresses import is_plain_text
from monitor.config.models import Config
from monitor.config.receivers import (
    AlertmanagerReceiver,
    AppriseReceiver,
    EmailReceiver,
    PagerDutyReceiver,
    ReceiverSection,
    SlackReceiver,
    WebhookReceiver,
)
from monitor.config.secrets import resolve_secret, signing_key_weakness, signing_secret_weakness
from monitor.config.section import Secret
from monitor.errors import ConfigError
from monitor.yaml_source import Path

Finding = tuple[Path, str, str]
"""Where, what, and how to mend it."""

_Weakness = Callable[[SecretStr], str | None]

_PAGING: Final = frozenset({"webhook", "pagerduty", "alertmanager", "apprise"})
"""Kinds behind which something may be that wakes people; a chat and a mailbox do not."""

_SHORTEST_REPEAT_S: Final = 30.0
_SHORTEST_WEBHOOK_SECRET: Final = 16


def alert_mistakes(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what must not stay as it is; reads secret files."""
    for path, secret, weakness in _secrets(config):
        try:
            value = resolve_secret(secret, environ)
        except ConfigError as failure:
            yield from ((path, problem.what, problem.mend) for problem in failure.problems)
            continue
        if message := weakness(value):
            what, _, mend = message.partition(": ")
            yield path, what, mend
    for index, receiver in enumerate(config.alerts.receivers):
        place: Path = ("alerts", "receivers", index)
        yield from _addresses(place, receiver)
        known = {server.name for server in config.servers}
        for position, server in enumerate(receiver.servers):
            if server not in known:
                mend = f"use one of {', '.join(sorted(known))}" if known else "add it to servers"
                yield (*place, "servers", position), "there is no such media server", mend
        if isinstance(receiver, AppriseReceiver) and importlib.util.find_spec("apprise") is None:
            mend = "install it with `pip install 'livecordon[apprise]'`"
            yield (*place, "kind"), "this needs Apprise, which is not installed", mend
        if receiver.repeat is not None and receiver.repeat < _SHORTEST_REPEAT_S:
            yield (*place, "repeat"), "nobody can answer that fast", "repeat after 30s or more"


def alert_warnings(config: Config) -> Iterator[Finding]:
    """Yield what works but deserves a second look."""
    for index, receiver in enumerate(config.alerts.receivers):
        place: Path = ("alerts", "receivers", index)
        if isinstance(receiver, SlackReceiver):
            yield place, "Slack tells people and wakes nobody", "page them through another receiver, too"
        if isinstance(receiver, PagerDutyReceiver | SlackReceiver | EmailReceiver | AppriseReceiver) and (
            receiver.repeat is not None and config.alerts.page_url is None
        ):
            what = "it is told again and again, and its alerts carry no link by which they are acknowledged"
            yield (*place, "repeat"), what, "set alerts.page_url"
    for index, group in enumerate(config.responders.groups):
        told = [receiver for receiver in config.alerts.receivers if receiver.name in group.receivers]
        if told and not any(receiver.kind in _PAGING for receiver in told):
            what = "nothing that may wake people reaches this group"
            yield ("responders", "groups", index, "receivers"), what, "add a receiver that pages"


def receiver_secrets(config: Config) -> Iterator[tuple[Path, Secret]]:
    """Yield every secret of a receiver, and where it is named."""
    return ((path, secret) for path, secret, _ in _secrets(config))


def _secrets(config: Config) -> Iterator[tuple[Path, Secret, _Weakness]]:
    for index, receiver in enumerate(config.alerts.receivers):
        place: Path = ("alerts", "receivers", index)
        for key, value, weakness in _named(receiver):
            if isinstance(value, tuple):
                yield from (((*place, key, position), secret, weakness) for position, secret in enumerate(value))
            elif value is not None:
                yield (*place, key), value, weakness


def _named(receiver: ReceiverSection) -> Sequence[tuple[str, Secret | tuple[Secret, ...] | None, _Weakness]]:
    found: Sequence[tuple[str, Secret | tuple[Secret, ...] | None, _Weakness]] = ()
    match receiver:
        case WebhookReceiver():
            found = (
                ("secrets", receiver.secrets, signing_secret_weakness),
                ("signing_keys", receiver.signing_keys, signing_key_weakness),
            )
        case PagerDutyReceiver():
            found = (
                ("routing_key", receiver.routing_key, _no_key),
                ("webhook_secrets", receiver.webhook_secrets, _short),
            )
        case SlackReceiver():
            found = (("webhook", receiver.webhook, _no_https),)
        case AlertmanagerReceiver():
            found = (("token", receiver.token, _no_key),)
        case EmailReceiver():
            found = (("password", receiver.password, lambda _: None),)
        case AppriseReceiver():
            found = (("urls", receiver.urls, _no_service),)
        case _:
            pass
    return found


def _no_key(secret: SecretStr) -> str | None:
    value = secret.get_secret_value()
    return (
        None if value.isascii() and value.isprintable() else "it holds characters that no key has: is it the right one?"
    )


def _short(secret: SecretStr) -> str | None:
    enough = len(secret.get_secret_value()) >= _SHORTEST_WEBHOOK_SECRET
    return None if enough else "the secret is too short to prove anything: copy it from the webhook subscription"


def _no_https(secret: SecretStr) -> str | None:
    url = secret.get_secret_value()
    if not url.startswith(("https://", "http://")):
        return "this is no address: copy the one of the incoming webhook, with https://"
    return "alerts about people must not travel unencrypted: use https" if is_plain_text(url) else None


def _no_service(secret: SecretStr) -> str | None:
    return None if "://" in secret.get_secret_value() else "this is no address of Apprise's: write service://…"


def _addresses(place: Path, receiver: ReceiverSection) -> Iterator[Finding]:
    if not isinstance(receiver, WebhookReceiver | PagerDutyReceiver | AlertmanagerReceiver):
        return
    path = (*place, "url")
    if is_plain_text(receiver.url):
        yield path, "alerts about people must not travel unencrypted", "use https"
    if urlsplit(receiver.url).username is not None:
        yield path, "there is a user or password in the address", "remove it: secrets are named and not written here"
