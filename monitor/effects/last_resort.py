"""The operator's own way to end a stream, for when the media server's control interface does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog

from monitor.errors import MediaServerError
from monitor.metrics import EMERGENCY_COMMANDS
from monitor.servers.command import filled_in, run_program
from monitor.servers.port import LiveStream
from monitor.vocabulary import StreamRef

AFTER_S = 5.0
"""Seconds for which the control interface is tried first."""

_TIMEOUT_S = 10.0

log = structlog.get_logger()


class LastResort:
    """Runs a media server's emergency command for one stream."""

    def __init__(
        self, commands: Mapping[str, Sequence[str]], live: Callable[[str], LiveStream | None] = lambda _: None
    ) -> None:
        """Run `commands` (by the media server's configured name); `live` finds a live stream's publication by its id."""
        self._commands = commands
        self._live = live

    def is_there(self, server: str) -> bool:
        """Whether there is a command for this media server."""
        return bool(self._commands.get(server))

    async def use(self, ref: StreamRef) -> str:
        """Run the command for one stream; returns a word that says how it went: ``ran``, or why it did not."""
        live = self._live(ref.stream_id)
        values = {"app": ref.app, "name": ref.name}
        if live is not None:
            values |= {"session": live.session, "address": live.publisher_address or ""}
        try:
            command = filled_in(self._commands[ref.server], values)
            log.warning("emergency_command_runs", stream_id=ref.stream_id, server=ref.server)
            await run_program(command, what="the emergency command", timeout_s=_TIMEOUT_S)
        except MediaServerError as error:
            log.error("emergency_command_failed", stream_id=ref.stream_id, server=ref.server, reason=error.reason)  # noqa: TRY400 - a trace says no more
            EMERGENCY_COMMANDS.labels("failed").inc()
            return error.reason
        EMERGENCY_COMMANDS.labels("ran").inc()
        return "ran"
