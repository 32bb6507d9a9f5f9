"""Standard Webhooks signatures: HMAC-SHA256, with several secrets at once while one is being replaced."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import SecretStr
from standardwebhooks import Webhook
from typing_extensions import override

from monitor.config.secrets import signing_secret_weakness


class Signer:
    """Signs alerts for one receiver; its secrets show in no representation."""

    def __init__(self, secrets: Sequence[SecretStr]) -> None:
        """Prepare to sign with every one of `secrets`, each ``whsec_`` and the base64 of 24 to 64 bytes.

        Raises:
            ValueError: none at all, or one that is malformed; the message never quotes it.
        """
        if not secrets:
            message = "at least one signing secret is needed"
            raise ValueError(message)
        for secret in secrets:
            weakness = signing_secret_weakness(secret)
            if weakness is not None:
                raise ValueError(weakness)
        self._webhooks = [Webhook(secret.get_secret_value()) for secret in secrets]

    @override
    def __repr__(self) -> str:
        return f"Signer({len(self._webhooks)} secrets)"

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
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(webhook.sign(message_id, at, text) for webhook in self._webhooks),
        }
