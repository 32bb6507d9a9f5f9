"""Who a publisher is, as far as strikes must know: keyed hashes, so that no stream key or address lies in them."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
import secrets
from pathlib import Path

from monitor.errors import ConfigError, Problem
from monitor.store.strikes import Identity
from monitor.vocabulary import StreamRef

_HEX_DIGITS = 32
_KEY_BYTES = 32


class Identifier:
    """Turns names, accounts and addresses into hashes under one key."""

    def __init__(self, key: bytes, *, account_pattern: str | None = None, addresses: bool = False) -> None:
        """Hash under `key`.

        Args:
            key: Secret; other keys give other hashes, under which nobody is found again.
            account_pattern: Regular expression that finds the group ``account`` in ``app/name``; None finds none.
            addresses: Whether a publisher's address counts.
        """
        self._key = key
        self._pattern = None if account_pattern is None else re.compile(account_pattern)
        self._addresses = addresses

    @property
    def knows_accounts(self) -> bool:
        """Whether streams can be told to belong to an account."""
        return self._pattern is not None

    @property
    def knows_addresses(self) -> bool:
        """Whether a publisher's address counts."""
        return self._addresses

    def of(self, ref: StreamRef, address: str | None = None) -> Identity:
        """Return who publishes this stream, from this address if it is known."""
        found = None if self._pattern is None else self._pattern.search(f"{ref.app}/{ref.name}")
        account = None if found is None else found["account"]
        return Identity(
            stream=self._hash("stream", ref.app, ref.name),
            account=self.of_account(account).account if account else None,
            address=self.of_address(address).address if address and self._addresses else None,
        )

    def of_account(self, account: str) -> Identity:
        """Return whoever has this account."""
        return Identity(account=self._hash("account", account))

    def of_address(self, address: str) -> Identity:
        """Return whoever has this IP address; nobody if it is none."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return Identity()
        if isinstance(parsed, ipaddress.IPv6Address):
            # A subscriber has at least a /64 and changes within it at will.
            parsed = ipaddress.ip_network((parsed, 64), strict=False).network_address
        return Identity(address=self._hash("address", str(parsed)))

    def derived_key(self, purpose: str) -> bytes:
        """Return a key of its own for something else, 32 bytes; the same again for the same purpose."""
        return hmac.new(self._key, f"key\0{purpose}".encode(), hashlib.sha256).digest()

    def of_reporter(self, token: str, reporter: str) -> str:
        """Return the hash of a user who reports, as the owner of `token` names them."""
        return self._hash("reporter", token, reporter)

    def _hash(self, *parts: str) -> str:
        message = "\0".join(parts).encode("utf-8", "surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:_HEX_DIGITS]


def identity_key(file: Path) -> bytes:
    """Return the key in `file`, which is made, readable by its owner only, when it is missing. Blocking.

    Raises:
        ConfigError: it cannot be read or written, or holds no key.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(secrets.token_hex(_KEY_BYTES).encode())
                opened.flush()
                os.fsync(opened.fileno())
        key = file.read_bytes().strip()
    except OSError as error:
        what = f"the key of identities cannot be read ({error.strerror or type(error).__name__})"
        raise ConfigError([Problem(str(file), "", what, "let the daemon's user read and write it")]) from None
    if len(key) < _KEY_BYTES:
        what = "this holds no key of identities"
        raise ConfigError([Problem(str(file), "", what, "restore it, or remove it and lose what strikes say of whom")])
    return key
