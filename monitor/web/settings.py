"""The web section of the configuration, with its secrets found."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

from monitor.config.models import WebSection
from monitor.config.section import Secret
from monitor.errors import ConfigError, Problem

MIN_TOKEN_CHARACTERS = 16

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Role(IntEnum):
    """What somebody may do; each role may also do what lower ones may."""

    REPORTER = 0
    VIEWER = 1
    RESPONDER = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """The lower-case word used in configuration, JSON and on the page."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class AccessToken:
    """One bearer token: whom it stands for and what it lets them do; `person` is its holder, `name` by default."""

    name: str
    role: Role
    secret: str = field(repr=False)
    person: str = ""


@dataclass(frozen=True, slots=True)
class Listen:
    """A host (name or IP address, IPv6 without brackets) and a TCP port; 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``host:port`` or ``[v6]:port``, as checked by the configuration's pattern.

        Raises:
            ValueError: no port, or one above 65535.
        """
        host, _, port = text.rpartition(":")
        if not host or int(port) > 65535:
            message = "write host:port with a port of at most 65535"
            raise ValueError(message)
        return cls(host.strip("[]"), int(port))

    @property
    def is_loopback(self) -> bool:
        """Only this machine can reach it."""
        return is_loopback_host(self.host)


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What the web layer needs to know; see `WebSection` for the meaning of each field."""

    listen: Listen = Listen("127.0.0.1", 0)
    gate_listen: Listen | None = None
    gate_token: str | None = field(default=None, repr=False)
    gate_peers: tuple[IpNetwork, ...] = ()
    tokens: tuple[AccessToken, ...] = ()
    max_body_bytes: int = 64 * 1024
    gate_fails_closed: bool = False

    @classmethod
    def from_config(cls, section: WebSection, resolve: Callable[[Secret], str]) -> Self:
        """Build the settings, finding each secret with `resolve`.

        Raises:
            ConfigError: an address that others reach without tokens, a short token, one secret for two names.
        """
        settings = cls(
            listen=Listen.parse(section.listen),
            gate_listen=None if section.gate_listen is None else Listen.parse(section.gate_listen),
            gate_token=None if section.gate_token is None else resolve(section.gate_token),
            gate_peers=tuple(ipaddress.ip_network(text) for text in section.gate_peers),
            tokens=tuple(
                AccessToken(entry.name, Role[entry.role.upper()], resolve(entry.secret), entry.person or "")
                for entry in section.tokens
            ),
            max_body_bytes=section.max_body,
            gate_fails_closed=section.gate_when_unsure == "fail_closed",
        )
        problems = settings.problems()
        if problems:
            raise ConfigError(problems)
        return settings

    def is_gate_peer(self, address: str | None) -> bool:
        """Whether the gate may be asked from this IP address without a token."""
        try:
            peer = ipaddress.ip_address((address or "").partition("%")[0])
        except ValueError:
            return False
        # A socket that listens on IPv6 sees IPv4 peers under such addresses.
        peer = getattr(peer, "ipv4_mapped", None) or peer
        return any(peer in network for network in self.gate_peers)

    def problems(self) -> list[Problem]:
        """Return what makes these settings unsafe; empty when nothing does."""
        found: list[Problem] = []
        if not self.tokens and not self.listen.is_loopback:
            found.append(
                Problem(
                    "",
                    "web.listen",
                    "others than this machine can reach it, and no token is asked for",
                    "listen on 127.0.0.1 or add web.tokens",
                )
            )
        gate = self.gate_listen or self.listen
        if self.gate_token is None and not self.gate_peers and not gate.is_loopback:
            found.append(
                Problem(
                    "",
                    "web.gate_token",
                    "others than this machine can reach the publish gate, and it asks for no token",
                    "set web.gate_token or web.gate_peers, or let the gate listen on 127.0.0.1",
                )
            )
        for where, secret in [
            *((f"web.tokens.{token.name}", token.secret) for token in self.tokens),
            *([("web.gate_token", self.gate_token)] if self.gate_token is not None else []),
        ]:
            if len(secret) < MIN_TOKEN_CHARACTERS:
                mend = f"use at least {MIN_TOKEN_CHARACTERS} random characters"
                found.append(Problem("", where, "is too short to be a secret", mend))
        secrets = [token.secret for token in self.tokens]
        if len(set(secrets)) != len(secrets):
            found.append(Problem("", "web.tokens", "two names share one secret", "give each name its own"))
        return found


def is_loopback_host(host: str) -> bool:
    """Whether this name or IP address (no brackets, no port) always means the machine itself."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
