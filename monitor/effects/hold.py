"""Hold and release: keep a stream from its viewers while its encoder stays connected, and show it again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog

from monitor.clock import Clock
from monitor.effects.patience import Patience
from monitor.effects.port import DetailValue, EffectResult
from monitor.effects.remains import Remains
from monitor.errors import MediaServerError, StoreError
from monitor.servers.port import HoldResult, MediaServer
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectKind, EffectOutcome

log = structlog.get_logger()


class HoldPerformer:
    """Repeats the media server's command, for hold or for release, until a listing shows the stream so.

    A media server that cannot hold ends a hold as ``unsupported``, for the protocol to do something else; there a
    release has nothing to do, and succeeds.
    """

    def __init__(
        self,
        servers: Mapping[str, MediaServer],
        deadline_s: float,
        clock: Clock,
        *,
        is_wanted: Callable[[str], Awaitable[bool]],
        on_moved: Callable[[IncidentRecord], None] = lambda _: None,
        remains: Remains | None = None,
    ) -> None:
        """Hold and release on `servers` (by configured name).

        Args:
            servers: Filled by the time of the first effect.
            deadline_s: How long the command is repeated where the protocol does not say it.
            clock: For deadline and back-off.
            is_wanted: Whether the effect of this id has not been withdrawn; asked before every repetition.
            on_moved: Called once after each verified hold or release: watchers may have to read elsewhere.
            remains: Measures what a hold leaves for viewers, and takes it away; None where nothing is known of that.
        """
        self._on_moved = on_moved
        self._remains = remains
        self._servers = servers
        self._deadline_s = deadline_s
        self._clock = clock
        self._is_wanted = is_wanted

    async def perform(self, effect: EffectRecord, incident: IncidentRecord) -> EffectResult:
        """Hold or release every publication under the incident's name; see `Performer.perform`."""
        if incident.dry_run:
            return EffectResult(EffectOutcome.SUCCEEDED, {"dry_run": True})
        server = self._servers.get(incident.server)
        if server is None:
            return EffectResult(EffectOutcome.FAILED, {"reason": "server_not_configured"})
        if not server.capabilities.hold:
            if effect.kind is EffectKind.RELEASE:
                return EffectResult(EffectOutcome.SUCCEEDED, {"reason": "server_cannot_hold", "commands": 0})
            return EffectResult(EffectOutcome.UNSUPPORTED, {"reason": "server_cannot_hold"})
        command = server.hold if effect.kind is EffectKind.HOLD else server.release
        return await self._repeat(lambda: command(incident.ref), effect, incident)

    async def _repeat(
        self, command: Callable[[], Awaitable[HoldResult]], effect: EffectRecord, incident: IncidentRecord
    ) -> EffectResult:
        began_s = self._clock.monotonic_s()
        patience = Patience.of(effect, default_within_s=self._deadline_s)
        delay_s = patience.first_delay_s
        matched = commands = 0
        reason = ""
        while True:
            commands += 1
            try:
                result = await command()
            except MediaServerError as error:
                reason = error.reason
                log.warning(
                    "hold_attempt_failed",
                    effect=effect.kind.value,
                    stream_id=incident.stream_id,
                    reason=reason,
                    attempt=commands,
                )
                if not error.retryable:
                    return EffectResult(EffectOutcome.FAILED, {"reason": reason, "commands": commands})
            else:
                reason = ""
                matched += result.matched
                if result.verified:
                    return await self._verified(effect, incident, commands=commands, matched=matched)
            if self._clock.monotonic_s() - began_s + delay_s > patience.within_s:
                break
            await self._clock.sleep(delay_s)
            if not await self._still_wanted(effect):
                return EffectResult(EffectOutcome.FAILED, {"reason": "withdrawn", "commands": commands})
            delay_s = patience.next_delay_s(delay_s)
        outcome = EffectOutcome.UNVERIFIED if matched else EffectOutcome.FAILED
        return EffectResult(outcome, {"reason": reason or "unchanged", "commands": commands, "matched": matched})

    async def _still_wanted(self, effect: EffectRecord) -> bool:
        try:
            return await self._is_wanted(effect.id)
        except StoreError:
            # An attack does not wait for the disk.
            return True

    async def _verified(
        self, effect: EffectRecord, incident: IncidentRecord, *, commands: int, matched: int
    ) -> EffectResult:
        elapsed_s = max(0.0, self._clock.now().timestamp() - effect.requested_at)
        self._on_moved(incident)
        detail: dict[str, DetailValue] = {"commands": commands, "matched": matched, "seconds": round(elapsed_s, 3)}
        if self._remains is not None and effect.kind is EffectKind.HOLD:
            detail |= await self._remains.after(incident.ref)
        return EffectResult(EffectOutcome.SUCCEEDED, detail)
