"""LiveKit's tokens: JWTs signed with the API secret, ours for its API and its own for its webhooks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import warnings
from collections.abc import Mapping
from datetime import timedelta

import jwt
from jwt.warnings import InsecureKeyLengthWarning
from pydantic import SecretStr

from monitor.clock import Clock
from monitor.errors import GateRequestError

_ALGORITHM = "HS256"
_LIFETIME = timedelta(seconds=60)
_LEEWAY_S = 60.0
_US = "livecordon"


class Tokens:
    """Makes and checks tokens.

    Args:
        key: The API key, which names the secret.
        secret: The API secret.
        clock: Source of time.
    """

    def __init__(self, key: str, secret: SecretStr, clock: Clock) -> None:
        self._key = key
        self._secret = secret
        self._clock = clock

    def header(self, grants: Mapping[str, object]) -> dict[str, str]:
        """Return the header for one call, good for a minute and for what `grants` allow."""
        return {"Authorization": f"Bearer {self._token(_US, grants)}"}

    def unseen(self, room: str) -> str:
        """Return a token to join a room unseen, to see and hear and do nothing else there."""
        grants = {
            "roomJoin": True,
            "room": room,
            "hidden": True,
            "canSubscribe": True,
            "canPublish": False,
            "canPublishData": False,
        }
        # Two of one identity would throw each other out.
        return self._token(f"{_US}-{secrets.token_hex(8)}", grants)

    def check_webhook(self, authorization: str, body: bytes) -> None:
        """Check that a webhook is LiveKit's, and that its body is the one that was signed.

        Raises:
            GateRequestError: it is not.
        """
        try:
            with _without_a_word_about_length():
                claims = jwt.decode(
                    authorization.strip(),
                    self._secret.get_secret_value(),
                    algorithms=[_ALGORITHM],
                    issuer=self._key,
                    leeway=_LEEWAY_S,
                    options={"require": ["exp", "iss"]},
                )
            signed = base64.b64decode(str(claims.get("sha256", "")), validate=True)
        except (jwt.InvalidTokenError, binascii.Error, ValueError):
            raise GateRequestError("the webhook is not signed with this server's API secret") from None
        if not hmac.compare_digest(signed, hashlib.sha256(body).digest()):
            raise GateRequestError("the webhook's body is not the one that was signed")

    def _token(self, who: str, grants: Mapping[str, object]) -> str:
        claims = {"iss": self._key, "sub": who, "exp": self._clock.now() + _LIFETIME, "video": dict(grants)}
        with _without_a_word_about_length():
            return jwt.encode(claims, self._secret.get_secret_value(), algorithm=_ALGORITHM)


def _without_a_word_about_length() -> warnings.catch_warnings[None]:
    # LiveKit's own secret in development is short, and the library would say so at every call.
    return warnings.catch_warnings(action="ignore", category=InsecureKeyLengthWarning)
