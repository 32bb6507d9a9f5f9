"""Asking an operator's own program or webhook: one JSON document goes in, one comes out, bounded in time and size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec
from yarl import URL

from monitor.config.servers import CustomCall
from monitor.errors import MediaServerRefused
from monitor.servers.command import ask_program, filled_in
from monitor.servers.control import ControlClient

MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
"""An entry of a list takes some 200 bytes."""


class Call(Protocol):
    """One thing that can be asked."""

    async def ask(self, document: Mapping[str, object]) -> bytes:
        """Send a document and return the answer, which may be empty.

        Raises:
            MediaServerUnreachable: no answer in time.
            MediaServerRefused: it said no, or too much.
            UnsafeCallRefused: a value cannot be put into the program's arguments without danger; nothing was run.
        """
        ...


class ProgramCall:
    """A program, which reads the document from its standard input and writes the answer to its standard output."""

    def __init__(self, command: tuple[str, ...], *, what: str, timeout_s: float) -> None:
        self._command = command
        self._what = what
        self._timeout_s = timeout_s

    async def ask(self, document: Mapping[str, object]) -> bytes:
        """Run it once; see `Call.ask`."""
        values = {key: value for key, value in document.items() if isinstance(value, str)}
        return await ask_program(
            filled_in(self._command, values),
            msgspec.json.encode(document) + b"\n",
            what=self._what,
            timeout_s=self._timeout_s,
            max_answer_bytes=MAX_ANSWER_BYTES,
        )


class WebhookCall:
    """A webhook, to which the document is posted, and whose body is the answer."""

    def __init__(self, client: ControlClient, url: str, *, what: str, headers: Mapping[str, str]) -> None:
        self._client = client
        self._url = URL(url)
        self._what = what
        self._headers = headers

    async def ask(self, document: Mapping[str, object]) -> bytes:
        """Post once; see `Call.ask`."""
        answer = await self._client.post_json(self._url, document, headers=self._headers)
        if answer.status in {401, 403}:
            message = f"{self._what} was answered with status {answer.status}: check webhook_token"
            raise MediaServerRefused(message, reason="unauthorized")
        if not 200 <= answer.status < 300:
            raise MediaServerRefused(f"{self._what} was answered with status {answer.status}", reason="bad_status")
        return answer.body


def call_for(
    call: CustomCall, key: str, client: ControlClient, *, timeout_s: float, headers: Mapping[str, str]
) -> Call:
    """Return what asks as `call`, the setting `key`, says."""
    if call.webhook is not None:
        return WebhookCall(client, call.webhook, what=f"the webhook of {key}", headers=headers)
    return ProgramCall(call.command, what=f"the command of {key}", timeout_s=timeout_s)
