"""How much of an alert a receiver is told: fields are left out on the way to whoever is not to know them.

Media, stream keys and addresses are in no alert at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

Shows = Literal["public", "partner", "internal"]

_OF_THE_HOUSE: Final = ("stream_name", "page_link", "responder_group", "by", "why")
"""Fields that tell of accounts, and of the sender's own people."""

WITHHELD: Final[Mapping[str, tuple[str, ...]]] = {
    "internal": (),
    "partner": _OF_THE_HOUSE,
    "public": (*_OF_THE_HOUSE, "review_due_at", "acknowledged_at", "paused_until"),
}
"""By policy, the fields of `data` that become null."""

_NO_SERVER: Final = "withheld"


def disclosed(body: bytes, shows: Shows) -> bytes:
    """Return what a receiver is sent of an event; the same bytes at every attempt.

    Fields that are withheld are null; a media server's name, which is no nullable field, becomes ``withheld``.

    Args:
        body: The event, whole.
        shows: The receiver's policy.
    """
    if shows == "internal":
        return body
    event: dict[str, Any] = json.loads(body)
    data = event.get("data")
    if not isinstance(data, dict):
        return body
    for name in WITHHELD[shows]:
        if name in data:
            data[name] = None
    if shows == "public" and "server" in data:
        data["server"] = _NO_SERVER
        stream_id = str(data.get("stream_id", ""))
        data["stream_id"] = event["subject"] = f"{_NO_SERVER}-{stream_id.rpartition('-')[2]}"
    return json.dumps(event, separators=(",", ":")).encode()
