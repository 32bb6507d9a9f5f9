"""Links by which an incident is acknowledged without signing in: made for one receiver, signed, and of limited life.

Whoever opens one sees a page with a button; only the button acknowledges, so that no preview of a link does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

LINK_LIFE_S: Final = 86_400.0
"""A link acknowledges for so long after its alert was written."""

ACKNOWLEDGE_PATH: Final = "/acknowledge/"
_PURPOSE: Final = b"acknowledge\0"
_MAC_BYTES: Final = 24
_LONGEST: Final = 400


@dataclass(frozen=True, slots=True)
class Claim:
    """What a link says: which incident, and through which receiver it was sent out."""

    incident_id: str
    receiver: str


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and reads them.

    Attributes:
        key: Secret, of this installation.
        page_url: Where people reach the daemon's page; without it no link is made.
    """

    key: bytes = field(repr=False)
    page_url: str | None = None

    def link(self, incident_id: str, receiver: str, *, at: float) -> str | None:
        """Return the link in an alert that was written at this time; the same at every attempt to send it."""
        if self.page_url is None:
            return None
        token = self.token(incident_id, receiver, until=at + LINK_LIFE_S)
        return f"{self.page_url.rstrip('/')}{ACKNOWLEDGE_PATH}{token}"

    def token(self, incident_id: str, receiver: str, *, until: float) -> str:
        """Return the part of a link that proves that it is ours."""
        said = f"{incident_id}.{receiver}.{int(until)}".encode()
        return f"{_text(said)}.{_text(self._mac(said))}"

    def read(self, token: str, *, now: float) -> Claim | None:
        """Return what a token says; None of one that is not ours, or has expired."""
        if len(token) > _LONGEST:
            return None
        said_text, _, mac_text = token.partition(".")
        try:
            said, mac = _bytes(said_text), _bytes(mac_text)
        except (binascii.Error, ValueError):
            return None
        if not hmac.compare_digest(self._mac(said), mac):
            return None
        incident_id, receiver, until = said.decode().split(".")
        return Claim(incident_id, receiver) if now < int(until) else None

    def _mac(self, said: bytes) -> bytes:
        return hmac.new(self.key, _PURPOSE + said, hashlib.sha256).digest()[:_MAC_BYTES]


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
