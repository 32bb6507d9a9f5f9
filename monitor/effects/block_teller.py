"""Media servers that keep publishers out by themselves are told who is barred, and until when."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Final

import structlog

from monitor.clock import Clock
from monitor.effects.blocklist import BlockList
from monitor.errors import MediaServerError
from monitor.servers.port import MediaServer, TakesBlocks
from monitor.vocabulary import StreamRef

_LOOK_EVERY_S: Final = 0.5
_RETRY_S: Final = 1.0
_LONGEST_RETRY_S: Final = 60.0
# Unix time of the year 9999, which dates can still say.
_LAST_S: Final = 253_370_764_800.0

log = structlog.get_logger()


class BlockTeller:
    """Repeats to each such media server what of `blocks` it does not know yet, until it has taken it.

    After a start everything is told once more: a server that was told before must not mind. Who is barred by a strike is
    not told, since strikes hold keyed hashes and no names; nor is anything told where nothing is to be done.
    """

    def __init__(
        self,
        blocks: BlockList,
        servers: Mapping[str, MediaServer],
        clock: Clock,
        dry_run_servers: Collection[str],
    ) -> None:
        """Tell `servers` (by configured name, filled by the time of `run`), except for `dry_run_servers`."""
        self._blocks = blocks
        self._servers = servers
        self._clock = clock
        self._dry_run_servers = dry_run_servers

    async def run(self) -> None:
        """Tell until cancelled, each server on its own."""
        async with asyncio.TaskGroup() as group:
            for name, server in self._servers.items():
                if isinstance(server, TakesBlocks) and server.takes_blocks and name not in self._dry_run_servers:
                    group.create_task(self._keep_telling(name, server))

    async def _keep_telling(self, name: str, server: TakesBlocks) -> None:
        told: dict[StreamRef, float] = {}
        failures = 0
        while True:
            version = self._blocks.version
            failures = 0 if await self._tell(name, server, told) else failures + 1
            if failures:
                await self._clock.sleep(min(_RETRY_S * 2 ** (failures - 1), _LONGEST_RETRY_S))
                continue
            while self._blocks.version == version:
                await self._clock.sleep(_LOOK_EVERY_S)

    async def _tell(self, name: str, server: TakesBlocks, told: dict[StreamRef, float]) -> bool:
        """Tell what differs from `told`, and note it there; False once the server did not take something."""
        wanted = self._blocks.on(name)
        now = self._clock.now().timestamp()
        for ref in [ref for ref, until in told.items() if ref not in wanted and until <= now]:
            del told[ref]  # it ended by itself
        taken = True
        for ref in [*(told.keys() - wanted.keys()), *(ref for ref, until in wanted.items() if told.get(ref) != until)]:
            until = wanted.get(ref)
            try:
                if until is None:
                    await server.unblock(ref)
                    del told[ref]
                else:
                    await server.block(ref, datetime.fromtimestamp(min(until, _LAST_S), UTC))
                    told[ref] = until
            except MediaServerError as error:
                log.warning("block_not_told", stream_id=ref.stream_id, server=name, reason=error.reason)
                if error.retryable:
                    taken = False
                elif until is not None:
                    told[ref] = until
                else:
                    del told[ref]
        return taken
