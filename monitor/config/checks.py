"""Rules that look at several settings at once, or at what they point to."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from monitor.config.alert_checks import alert_mistakes, alert_warnings, receiver_secrets
from monitor.config.clusters import cluster_mistakes
from monitor.config.control_addresses import control_addresses, is_loopback, is_plain_text, open_control_addresses
from monitor.config.models import Config
from monitor.config.partners import partner_mistakes, partner_secrets
from monitor.config.secrets import (
    missing_variables,
    readable_by_others,
    resolve_secret,
    shown_variable,
    token_weakness,
)
from monitor.config.section import Secret
from monitor.config.server_secrets import missing_secrets, secrets_within
from monitor.config.servers import EmbeddedServer, StaticServer
from monitor.errors import ConfigError
from monitor.yaml_source import Path

MIN_IDENTITY_KEY_CHARACTERS = 32

Finding = tuple[Path, str, str]
"""Where, what, and how to mend it."""

_SCHEMES = frozenset({"rtmp", "rtmps", "rtsp", "rtsps", "http", "https", "file"})


def find_mistakes(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield everything that must not stay as it is; reads secret files."""
    yield from _same_names(config)
    yield from _open_doors(config)
    yield from _secrets(config, environ)
    yield from alert_mistakes(config, environ)
    yield from partner_mistakes(config.partners, tuple(one.name for one in config.alerts.receivers), environ)
    yield from _responders(config)
    yield from _remote(config, environ)
    yield from _static_streams(config, environ)
    yield from _control(config, environ)
    yield from cluster_mistakes(config.servers)
    yield from _thresholds(config)
    yield from _watchers(config)
    yield from _policies(config, environ)


def find_warnings(config: Config) -> Iterator[Finding]:
    """Yield what works but deserves a second look."""
    yield from alert_warnings(config)
    for place, secret in (*_all_secrets(config), *receiver_secrets(config), *partner_secrets(config.partners)):
        if readable_by_others(secret):
            yield (*place, "file"), "every user of this machine may read this secret", "chmod 600"
    remote = config.watch.remote
    if remote is not None and remote.token is not None and readable_by_others(remote.token):
        place = ("watch", "remote", "token", "file")
        yield place, "every user of this machine may read this secret", "chmod 600"
    for index, server in enumerate(config.servers):
        path: Path = ("servers", index)
        if isinstance(server, EmbeddedServer) and not is_loopback(urlsplit(server.url).hostname or ""):
            what = "the embedded relay is for demo and tests, and has no protection on a network"
            yield (*path, "url"), what, "keep it on 127.0.0.1"
        for inner, secret in secrets_within(server):
            if readable_by_others(secret):
                yield (*path, *inner, "file"), "every user of this machine may read this secret", "chmod 600"
        for inner, url in control_addresses(server):
            if is_plain_text(url):
                yield (*path, *inner), "streams are controlled unencrypted here", "use https"


def _same_names(config: Config) -> Iterator[Finding]:
    lists: tuple[tuple[Path, Sequence[str]], ...] = (
        (("servers",), [server.name for server in config.servers]),
        (("web", "tokens"), [token.name for token in config.web.tokens]),
        (("responders", "groups"), [group.name for group in config.responders.groups]),
        (("alerts", "receivers"), [receiver.name for receiver in config.alerts.receivers]),
        *(
            (("servers", index, "streams"), [stream.name for stream in server.streams])
            for index, server in enumerate(config.servers)
            if isinstance(server, StaticServer)
        ),
    )
    for path, names in lists:
        for index, name in enumerate(names):
            if name in names[:index]:
                what = f"entry {names.index(name)} (counted from 0) has the same name"
                yield (*path, index, "name"), what, "give each its own"


def _open_doors(config: Config) -> Iterator[Finding]:
    web = config.web
    listens_wide = not is_loopback(web.listen.rpartition(":")[0])
    if listens_wide and not web.tokens:
        what = "others than this machine could reach page and API, and there are no tokens"
        yield ("web", "listen"), what, "listen on 127.0.0.1, or add web.tokens"
    gate_wide = listens_wide if web.gate_listen is None else not is_loopback(web.gate_listen.rpartition(":")[0])
    if gate_wide and web.gate_token is None and not web.gate_peers:
        key = "listen" if web.gate_listen is None else "gate_listen"
        what = "others than this machine could reach the publish gate, and there is no gate_token"
        mend = "set web.gate_token or web.gate_peers, or let the gate listen on 127.0.0.1 (web.gate_listen)"
        yield ("web", key), what, mend
    if web.gate_listen == web.listen and not web.listen.endswith(":0"):
        yield ("web", "gate_listen"), "this is the same address as web.listen", "remove it: the gate shares listen"


def _all_secrets(config: Config) -> Iterator[tuple[Path, Secret]]:
    if config.web.gate_token is not None:
        yield ("web", "gate_token"), config.web.gate_token
    for index, token in enumerate(config.web.tokens):
        yield ("web", "tokens", index, "secret"), token.secret


def _secrets(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    seen: dict[str, Path] = {}
    for path, secret in _all_secrets(config):
        try:
            value = resolve_secret(secret, environ)
        except ConfigError as failure:
            yield from ((path, problem.what, problem.mend) for problem in failure.problems)
            continue
        if message := token_weakness(value):
            what, _, mend = message.partition(": ")
            yield path, what, mend
        elif (first := seen.setdefault(value.get_secret_value(), path)) is not path:
            yield path, f"this token is also that of {_where(first)}", "give each its own"


def _where(path: Path) -> str:
    return "web.gate_token" if path[1] == "gate_token" else f"web.tokens[{path[2]}]"


def _responders(config: Config) -> Iterator[Finding]:
    known = [receiver.name for receiver in config.alerts.receivers]
    for index, group in enumerate(config.responders.groups):
        path: Path = ("responders", "groups", index)
        for position, name in enumerate(group.receivers):
            if name not in known:
                mend = f"use one of {', '.join(known)}" if known else "add it to alerts.receivers"
                yield (*path, "receivers", position), "there is no such receiver", mend
        if index and not group.receivers:
            yield (*path, "receivers"), "nobody in this group would be told", "name receivers, or remove the group"


def _remote(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    remote = config.watch.remote
    if remote is None:
        return
    path: Path = ("watch", "remote")
    if is_plain_text(remote.url) and not remote.plain_text:
        what = "pictures of people would travel unencrypted to another host"
        yield (*path, "url"), what, "use https, or set plain_text: true on a network of your own"
    if urlsplit(remote.url).username is not None:
        yield (*path, "url"), "there is a user or password in the address", "remove it: use token"
    if urlsplit(remote.url).query or urlsplit(remote.url).fragment:
        yield (*path, "url"), "there is a query in the address", "remove it: paths below /v2 are added to the address"
    if remote.token is not None:
        try:
            value = resolve_secret(remote.token, environ).get_secret_value()
        except ConfigError as failure:
            yield from (((*path, "token"), problem.what, problem.mend) for problem in failure.problems)
        else:
            if not (value.isascii() and value.isprintable()):
                yield (*path, "token"), "the token holds characters that no HTTP header carries", "is it the right one?"


def _static_streams(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    for index, server in enumerate(config.servers):
        if not isinstance(server, StaticServer):
            continue
        for position, stream in enumerate(server.streams):
            path: Path = ("servers", index, "streams", position, "url")
            for name in missing_variables(stream.url, environ):
                yield path, f"{shown_variable(name)} is not set", "set it"
            scheme, separator, _ = stream.url.partition("://")
            if separator and "$" not in scheme and scheme.lower() not in _SCHEMES:
                yield path, "this kind of address cannot be watched", f"use {', '.join(sorted(_SCHEMES))} or a path"


def _control(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    for index, server in enumerate(config.servers):
        for path, what, mend in (*open_control_addresses(server), *missing_secrets(server, environ)):
            yield ("servers", index, *path), what, mend


def _thresholds(config: Config) -> Iterator[Finding]:
    review, act = config.detection.review.threshold, config.detection.act.threshold
    if review is not None and act is not None and act < review:
        yield ("detection", "act", "threshold"), "this is below detection.review.threshold", "raise it"
    if config.watch.blind_after <= config.watch.late_after:
        yield ("watch", "blind_after"), "a stream is late before it is blind", "make it longer than late_after"


def _policies(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    codes = [policy.code for policy in config.policies]
    covered: dict[str, str] = {}
    for index, policy in enumerate(config.policies):
        if policy.code in codes[:index]:
            what = f"entry {codes.index(policy.code)} (counted from 0) has the same code"
            yield ("policies", index, "code"), what, "give each its own"
        for position, label in enumerate(policy.labels):
            if (first := covered.setdefault(label, policy.code)) != policy.code:
                what = f"policy {first} covers this label already"
                yield ("policies", index, "labels", position), what, "name it once"
    if (key := config.strikes.key) is not None:
        try:
            weak = len(resolve_secret(key, environ).get_secret_value()) < MIN_IDENTITY_KEY_CHARACTERS
        except ConfigError as failure:
            yield from ((("strikes", "key"), problem.what, problem.mend) for problem in failure.problems)
        else:
            if weak:
                mend = f"use at least {MIN_IDENTITY_KEY_CHARACTERS} random characters"
                yield ("strikes", "key"), "the key is too short to hide anything", mend


def _watchers(config: Config) -> Iterator[Finding]:
    if (name := config.watch.run_as_user) is None:
        return
    path: Path = ("watch", "run_as_user")
    try:
        user_id = pwd.getpwnam(name).pw_uid
    except KeyError:
        yield path, "there is no user of this name on this machine", "make one that owns nothing, or leave it out"
        return
    if user_id == 0:
        yield path, "watchers as root are what this is to prevent", "name a user that owns nothing"
    elif os.geteuid() != 0:
        yield path, "only root can have watchers run as somebody else", "run the daemon as root, or leave it out"
