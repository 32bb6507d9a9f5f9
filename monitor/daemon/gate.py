"""The publish gate: who is blocked stays out, everybody else comes in, and a new stream is looked at at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import structlog

from monitor.effects.blocklist import BlockList
from monitor.errors import UnsafeCallRefused
from monitor.metrics import GATE_DECISIONS
from monitor.servers.port import GateReply, GateRequest, KeepsTheDoor, MediaServer, RawGateRequest
from monitor.vocabulary import StreamRef

log = structlog.get_logger()


class Gate:
    """Answers every media server's gate requests from memory."""

    def __init__(
        self,
        servers: Mapping[str, MediaServer],
        blocks: BlockList,
        dry_run_servers: Collection[str],
        on_publish: Callable[[str], None],
        *,
        is_sure: Callable[[], bool] = lambda: True,
    ) -> None:
        """Refuse whom `blocks` bars.

        Args:
            servers: Media servers by configured name.
            blocks: Who is barred.
            dry_run_servers: Where nobody is refused.
            on_publish: Hears where somebody was let in.
            is_sure: Whether `blocks` can be relied on; where it cannot, everybody else is refused too.
        """
        self._is_sure = is_sure
        self._servers = servers
        self._dry_run_servers = dry_run_servers
        self._blocks = blocks
        self._on_publish = on_publish

    async def decide(self, server_name: str, request: RawGateRequest) -> GateReply:
        """Answer one request.

        Raises:
            GateRequestError: the adapter cannot understand it.
            KeyError: no such server; ask `reply` first.
        """
        server = self._servers[server_name]
        asked = server.parse_gate_request(request)
        if asked.call != "publish" or asked.ref is None:
            if asked.news:
                self._on_publish(server_name)
            return await _refusal(server, request, asked) or self._answer(server, asked, allow=True)
        if not self._is_sure():
            dry_run = server_name in self._dry_run_servers
            log.warning("unsure_publish_refused", stream_id=asked.ref.stream_id, server=server_name, dry_run=dry_run)
            if not dry_run:
                return self._answer(server, asked, allow=False)
        if self._blocks.is_blocked(asked.ref, asked.publisher_address):
            dry_run = server_name in self._dry_run_servers
            log.warning("publish_refused", stream_id=asked.ref.stream_id, server=server_name, dry_run=dry_run)
            if not dry_run:
                return self._answer(server, asked, allow=False)
        elif not self._can_be_watched(server, asked.ref):
            # Letting in what nobody can watch would be a way around everything that is done here.
            dry_run = server_name in self._dry_run_servers
            log.warning(
                "unwatchable_publish_refused", stream_id=asked.ref.stream_id, server=server_name, dry_run=dry_run
            )
            if not dry_run:
                return self._answer(server, asked, allow=False)
        if (refusal := await _refusal(server, request, asked)) is not None:
            return refusal
        self._on_publish(server_name)
        return self._answer(server, asked, allow=True)

    def reply(self, server_name: str, *, allow: bool) -> GateReply | None:
        """Return the answer to a request that could not be read; None for an unknown server."""
        server = self._servers.get(server_name)
        return None if server is None else server.gate_reply(None, allow=allow)

    @staticmethod
    def _can_be_watched(server: MediaServer, ref: StreamRef) -> bool:
        try:
            server.pull_url(ref)
        except UnsafeCallRefused:
            return False
        return True

    @staticmethod
    def _answer(server: MediaServer, asked: GateRequest, *, allow: bool) -> GateReply:
        GATE_DECISIONS.labels("allow" if allow else "deny").inc()
        return server.gate_reply(asked, allow=allow)


async def _refusal(server: MediaServer, request: RawGateRequest, asked: GateRequest) -> GateReply | None:
    """Return the answer of a server that leaves more to the gate than blocks, where that speaks against somebody."""
    if not isinstance(server, KeepsTheDoor):
        return None
    refusal = await server.refusal(request, asked)
    if refusal is not None:
        GATE_DECISIONS.labels("deny").inc()
    return refusal
