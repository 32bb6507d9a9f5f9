"""What follows when people bar somebody, or let somebody in again, while streams are live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.daemon.keeper import Keeper
from monitor.daemon.streams import StreamRegistry
from monitor.effects.decided import CHANGES_BLOCKS
from monitor.effects.doorkeeper import Doorkeeper
from monitor.effects.strikelist import StrikeList
from monitor.incidents.engine import IncidentEngine
from monitor.protocol.events import StrikesChanged
from monitor.servers.port import MediaServer
from monitor.vocabulary import StreamRef
from monitor.web.changes import ChangeSignal


def is_contained(engine: IncidentEngine, stream_id: str) -> bool:
    """Whether an incident on this stream has asked for a cut or a block itself."""
    incident = engine.open_incident(stream_id)
    return incident is not None and not CHANGES_BLOCKS.isdisjoint(incident.state.asked)


@dataclass(frozen=True, slots=True)
class Barring:
    """Cuts who is barred and live, and tells incidents of strikes."""

    registry: StreamRegistry
    servers: Mapping[str, MediaServer]
    engine: IncidentEngine
    doorkeeper: Doorkeeper
    keeper: Keeper
    strikes: StrikeList
    changes: ChangeSignal

    def carry_out(self, ref: StreamRef | None = None) -> None:
        """Cut whoever (`ref` alone, if given) is barred and live all the same, and tell incidents of other strikes."""
        for stream in self.registry:
            server = self.servers.get(stream.ref.server)
            if server is not None and ref in (None, stream.ref):
                self.doorkeeper.on_live(server, stream.live, by_hand=True)
            incident = self.engine.open_incident(stream.ref.stream_id)
            if incident is not None:
                # An incident's own strike is no earlier offence.
                count = self.strikes.of_live(stream.live, beside=incident.record.id)
                if count != incident.state.strikes:
                    self.keeper.tell(stream, StrikesChanged(count))
        self.changes.notify()
