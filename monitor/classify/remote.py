"""Where a remote model runs, and what happens when it does not answer. Crosses into watchers as one variable."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

ENVIRONMENT_VARIABLE: Final = "LIVECORDON_WATCHER_REMOTE"
"""How a watcher gets these settings: the command line, which every user of the machine can read, must not hold a token."""


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """How a remote model is reached.

    Attributes:
        url: Address of the inference server, without `/v2`.
        timeout_s: Longest that one request may take, in seconds.
        token: Bearer token; empty for none.
        failures: So many failed requests in a row, and the server is left alone for a while.
        retry_s: Time between two tries whether it is back, in seconds.
        fallback: Model package that scores in the meantime: a name or a folder; None for none.
    """

    url: str = field(repr=False)
    timeout_s: float = 1.0
    token: str = field(default="", repr=False)
    failures: int = 3
    retry_s: float = 5.0
    fallback: str | None = None

    def to_variable(self) -> str:
        """Return these settings as the value of `ENVIRONMENT_VARIABLE`."""
        return msgspec.json.encode(self).decode()


def take_from(environ: MutableMapping[str, str]) -> RemoteSettings | None:
    """Take the settings out of `environ`, where they then are no more; None if there are none."""
    text = environ.pop(ENVIRONMENT_VARIABLE, None)
    return None if text is None else msgspec.json.decode(text, type=RemoteSettings)
