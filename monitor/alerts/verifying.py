"""Whether a request was signed by whom it says, just now: Standard Webhooks, as its receiver checks it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import SecretStr
from typing_extensions import override

from monitor.config.secrets import public_key_weakness, signing_secret_weakness

TOLERANCE_S: Final = 300.0
"""How far a request's time may be from ours."""

MAX_SIGNATURES: Final = 16
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")


class Doubt(StrEnum):
    """Why a request is not taken for genuine."""

    UNSIGNED = "unsigned"
    TOO_OLD = "too_old"
    FORGED = "forged"


@dataclass(frozen=True, slots=True)
class Genuine:
    """A request whose signature held. `message_id` is the sender's, and the same whenever it sends the same again."""

    message_id: str


class Verifier:
    """Checks one sender's signatures; its secrets show in no representation."""

    def __init__(self, secrets: Sequence[SecretStr] = (), public_keys: Sequence[SecretStr] = ()) -> None:
        """Prepare to verify by any of them.

        Args:
            secrets: Each ``whsec_`` and the base64 of 24 to 64 bytes.
            public_keys: Each ``whpk_`` and the base64 of 32 bytes.

        Raises:
            ValueError: none at all, or one that is malformed; the message never quotes it.
        """
        for weak in (*map(signing_secret_weakness, secrets), *map(public_key_weakness, public_keys)):
            if weak is not None:
                raise ValueError(weak)
        if not secrets and not public_keys:
            message = "at least one secret or public key is needed"
            raise ValueError(message)
        self._secrets = [base64.b64decode(one.get_secret_value().removeprefix("whsec_")) for one in secrets]
        keys = [base64.b64decode(one.get_secret_value().removeprefix("whpk_")) for one in public_keys]
        self._keys = [Ed25519PublicKey.from_public_bytes(key) for key in keys]

    @override
    def __repr__(self) -> str:
        return f"Verifier({len(self._secrets)} secrets, {len(self._keys)} keys)"

    def verify(self, headers: Mapping[str, str], body: bytes, *, now: float) -> Genuine | Doubt:
        """Check the signature first, then the time; the body is not parsed.

        Args:
            headers: The request's, by lower-case name.
            body: Exactly the bytes that came.
            now: Unix time.
        """
        message_id = headers.get("webhook-id", "")
        timestamp = headers.get("webhook-timestamp", "")
        signatures = headers.get("webhook-signature", "").split(" ")[:MAX_SIGNATURES]
        if _ID.fullmatch(message_id) is None or _TIMESTAMP.fullmatch(timestamp) is None:
            return Doubt.UNSIGNED
        signed = f"{message_id}.{timestamp}.".encode() + body
        if not any(self._holds(signature, signed) for signature in signatures):
            return Doubt.FORGED
        return Doubt.TOO_OLD if abs(now - int(timestamp)) > TOLERANCE_S else Genuine(message_id)

    def _holds(self, signature: str, signed: bytes) -> bool:
        version, _, text = signature.partition(",")
        try:
            given = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return False
        if version == "v1":
            return any(hmac.compare_digest(hmac.digest(key, signed, hashlib.sha256), given) for key in self._secrets)
        return version == "v1a" and any(_is_signed_by(key, given, signed) for key in self._keys)


def _is_signed_by(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True
