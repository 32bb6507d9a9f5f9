"""Cut: end the stream, prove by listing that it is gone, and try again until a deadline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

from monitor.clock import Clock
from monitor.effects.last_resort import AFTER_S, LastResort
from monitor.effects.patience import Patience
from monitor.effects.port import DetailValue, EffectResult
from monitor.effects.remains import Remains
from monitor.errors import MediaServerError, StoreError
from monitor.servers.port import MediaServer
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectOutcome

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CutSettings:
    """How hard a cut tries.

    Attributes:
        deadline_s: How long the command is repeated until a listing shows the stream gone, where the protocol does
            not say it.
    """

    deadline_s: float


class CutPerformer:
    """Repeats the media server's cut command until a listing no longer shows the stream.

    The block that keeps the encoder out was committed with the decision, before the first command goes out, so an
    encoder that comes back at once is either refused by the gate or cut again here. Where the media server's control
    interface does not do it in `AFTER_S`, the operator's emergency command is run once; whatever happens, the outcome says
    which ways were tried, whether the gate keeps the publisher out, and what viewers may still fetch.
    """

    def __init__(
        self,
        servers: Mapping[str, MediaServer],
        settings: CutSettings,
        clock: Clock,
        *,
        is_wanted: Callable[[str], Awaitable[bool]],
        on_cut: Callable[[IncidentRecord, float | None], None],
        last_resort: LastResort | None = None,
        remains: Remains | None = None,
    ) -> None:
        """Cut on `servers` (by configured name).

        Args:
            servers: Filled by the time of the first cut.
            settings: How hard a cut tries.
            clock: For deadline and back-off.
            is_wanted: Whether the effect of this id has not been withdrawn; asked before every repetition.
            on_cut: Called once after each verified cut, with the seconds for which the encoder's return is to be
                looked out for, where the protocol names them.
            last_resort: Runs emergency commands; None where there are none.
            remains: Measures what a cut leaves, and takes it away; None where nothing is known of that.
        """
        self._servers = servers
        self._settings = settings
        self._clock = clock
        self._is_wanted = is_wanted
        self._on_cut = on_cut
        self._last_resort = last_resort
        self._remains = remains

    async def perform(self, effect: EffectRecord, incident: IncidentRecord) -> EffectResult:
        """Cut every publication under the incident's name; see `Performer.perform`."""
        if incident.dry_run:
            return EffectResult(EffectOutcome.SUCCEEDED, {"dry_run": True})
        server = self._servers.get(incident.server)
        if server is None:
            return EffectResult(EffectOutcome.FAILED, {"reason": "server_not_configured"})
        if not server.capabilities.cut:
            return EffectResult(EffectOutcome.FAILED, {"reason": "server_cannot_cut"})
        return await self._repeat(server, effect, incident)

    async def _repeat(self, server: MediaServer, effect: EffectRecord, incident: IncidentRecord) -> EffectResult:
        began_s = self._clock.monotonic_s()
        patience = Patience.of(effect, default_within_s=self._settings.deadline_s)
        delay_s = patience.first_delay_s
        matched = commands = 0
        reason = emergency = ""
        while True:
            commands += 1
            final = False
            try:
                result = await server.cut(incident.ref)
            except MediaServerError as error:
                reason, final = error.reason, not error.retryable
                log.warning("cut_attempt_failed", stream_id=incident.stream_id, reason=reason, attempt=commands)
            else:
                reason = ""
                matched += result.matched
                if result.verified:
                    return await self._verified(
                        effect, incident, commands=commands, dropped=matched, emergency=emergency
                    )
            elapsed_s = self._clock.monotonic_s() - began_s
            over = final or elapsed_s + delay_s > patience.within_s
            if self._last_resort is not None and not emergency and (over or elapsed_s >= AFTER_S):
                emergency = await self._use_last_resort(self._last_resort, incident)
                # Look once more whether it has helped, unless there is nobody to ask.
                over = over and (final or emergency != "ran")
            if over:
                break
            await self._clock.sleep(delay_s)
            if not await self._still_wanted(effect):
                return EffectResult(EffectOutcome.FAILED, {"reason": "withdrawn", "commands": commands})
            delay_s = patience.next_delay_s(delay_s)
        # Something was done but a publication is still listed, or nobody can tell: no success, and no plain failure.
        unsure = bool(matched) or emergency == "ran"
        detail: dict[str, DetailValue] = {"reason": reason or "still_live", "commands": commands, "dropped": matched}
        if emergency:
            detail["emergency_command"] = emergency
        detail["kept_out_by_gate"] = server.capabilities.synchronous_block
        return EffectResult(EffectOutcome.UNVERIFIED if unsure else EffectOutcome.FAILED, detail)

    @staticmethod
    async def _use_last_resort(last_resort: LastResort, incident: IncidentRecord) -> str:
        return await last_resort.use(incident.ref) if last_resort.is_there(incident.server) else ""

    async def _still_wanted(self, effect: EffectRecord) -> bool:
        try:
            return await self._is_wanted(effect.id)
        except StoreError:
            # An attack does not wait for the disk.
            return True

    async def _verified(
        self, effect: EffectRecord, incident: IncidentRecord, *, commands: int, dropped: int, emergency: str
    ) -> EffectResult:
        elapsed_s = max(0.0, self._clock.now().timestamp() - effect.requested_at)
        for_s = effect.parameters.get("for_s")
        self._on_cut(incident, None if for_s is None else float(for_s))
        detail: dict[str, DetailValue] = {"commands": commands, "dropped": dropped, "seconds": round(elapsed_s, 3)}
        if emergency:
            detail["emergency_command"] = emergency
        if self._remains is not None:
            detail |= await self._remains.after(incident.ref)
        return EffectResult(EffectOutcome.SUCCEEDED, detail)
