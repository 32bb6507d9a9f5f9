"""The addresses through which media servers are controlled, which must not lie open."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any, get_args
from urllib.parse import urlsplit

from monitor.config.fields import CONTROL
from monitor.config.section import Section, ServerSection
from monitor.yaml_source import Path

_NO_CONTROL_OF_THEIR_OWN = frozenset({"static", "custom"})


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address with or without brackets, can only be this machine."""
    if host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_plain_text(url: str) -> bool:
    """Whether what is sent there travels unencrypted over a network."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def control_addresses(section: Section) -> Iterator[tuple[Path, str]]:
    """Yield every address in an entry that is marked as `ControlAddress`, however deep, with its place in the entry."""
    for name, field in type(section).model_fields.items():
        marked = CONTROL in field.metadata or _mentions(field.annotation)
        yield from _within((name,), getattr(section, name), marked=marked)


def open_control_addresses(server: ServerSection) -> Iterator[tuple[Path, str, str]]:
    """Yield each control address that must not stay as it is: where in the entry, what is wrong, how to mend it."""
    if server.second_control is not None and server.kind in _NO_CONTROL_OF_THEIR_OWN:
        what = "this kind of server has no control interface of its own, so a second address would never be used"
        yield ("second_control",), what, "remove it, and let your own programs try both"
    for path, url in control_addresses(server):
        if is_plain_text(url) and not server.insecure_control:
            what = "whoever is on the way to this control interface could cut every stream"
            yield path, what, "use https or loopback, or set insecure_control: true on a network of your own"
        if urlsplit(url).username is not None:
            yield path, "there is a user or password in the address", "remove it: secrets are named, not written here"


def _within(path: Path, value: object, *, marked: bool) -> Iterator[tuple[Path, str]]:
    if isinstance(value, Section):
        yield from (((*path, *inner), url) for inner, url in control_addresses(value))
    elif isinstance(value, (tuple, list)):
        for index, one in enumerate(value):
            yield from _within((*path, index), one, marked=marked)
    elif marked and isinstance(value, str):
        yield path, value


def _mentions(annotation: Any) -> bool:
    return CONTROL in getattr(annotation, "__metadata__", ()) or any(_mentions(one) for one in get_args(annotation))
