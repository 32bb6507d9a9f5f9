"""Standard Webhooks signatures: HMAC-SHA256 (`v1`) and ed25519 (`v1a`), with several at once while one is being replaced."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr
from standardwebhooks import Webhook
from typing_extensions import override

from monitor.config.secrets import signing_key_weakness, signing_secret_weakness


class Signer:
    """Signs alerts for one receiver; its secrets show in no representation."""

    def __init__(self, secrets: Sequence[SecretStr], keys: Sequence[SecretStr] = ()) -> None:
        """Prepare to sign with every one of them.

        Args:
            secrets: Each ``whsec_`` and the base64 of 24 to 64 bytes.
            keys: Private keys, each ``whsk_`` and the base64 of 32 bytes, or of 64 with the public half.

        Raises:
            ValueError: none at all, or one that is malformed; the message never quotes it.
        """
        if not secrets and not keys:
            message = "at least one signing secret or key is needed"
            raise ValueError(message)
        for weakness in (*map(signing_secret_weakness, secrets), *map(signing_key_weakness, keys)):
            if weakness is not None:
                raise ValueError(weakness)
        self._webhooks = [Webhook(secret.get_secret_value()) for secret in secrets]
        self._keys = [private_key(key) for key in keys]

    @override
    def __repr__(self) -> str:
        return f"Signer({len(self._webhooks)} secrets, {len(self._keys)} keys)"

    def headers(self, message_id: str, body: bytes, *, at: datetime) -> dict[str, str]:
        """Return the three headers for one attempt.

        Args:
            message_id: The same at every attempt; holds no dot, because dots separate the parts that are signed.
            body: UTF-8 text, exactly as it is sent.
            at: Aware time of this attempt in UTC.

        Raises:
            ValueError: `at` is not in UTC, or `message_id` holds a dot.
        """
        # The library drops any other zone's offset instead of converting it, and signs a wrong time.
        if at.utcoffset() != timedelta(0):
            message = "the time of an attempt must be aware and in UTC"
            raise ValueError(message)
        if "." in message_id:
            message = "a message id must not hold a dot"
            raise ValueError(message)
        text = body.decode("utf-8")
        timestamp = str(int(at.timestamp()))
        signed = f"{message_id}.{timestamp}.".encode() + body
        signatures = [webhook.sign(message_id, at, text) for webhook in self._webhooks]
        signatures += ["v1a," + base64.b64encode(key.sign(signed)).decode() for key in self._keys]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": " ".join(signatures),
        }


def private_key(key: SecretStr) -> Ed25519PrivateKey:
    """Return the key behind ``whsk_…``, which must be one (`signing_key_weakness`)."""
    content = base64.b64decode(key.get_secret_value().removeprefix("whsk_"))
    return Ed25519PrivateKey.from_private_bytes(content[:32])


def written(key: Ed25519PrivateKey) -> str:
    """Return a private key as Standard Webhooks writes it: both halves behind ``whsk_``."""
    return "whsk_" + base64.b64encode(key.private_bytes_raw() + key.public_key().public_bytes_raw()).decode()


def public_part(key: Ed25519PrivateKey) -> str:
    """Return what receivers need to verify signatures of this key: ``whpk_…``."""
    return "whpk_" + base64.b64encode(key.public_key().public_bytes_raw()).decode()
