"""What stands behind holds and cuts besides the media servers' own commands, and what follows from both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from monitor.config.clusters import leads_of
from monitor.config.models import Config
from monitor.daemon.discovery import Discovery
from monitor.daemon.streams import StreamRegistry
from monitor.effects.last_resort import LastResort
from monitor.effects.remains import Remains
from monitor.servers.port import LiveStream
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import StreamRef, WatchState

_PUBLISH_HURRY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Containment:
    """The operator's own means, what is known of live streams, and whom to tell of those that are gone.

    Attributes:
        registry: The live streams.
        discoveries: Who asks each media server, by its name; filled by the time of the first effect.
        leads: By the name of each server, that of its cluster's first.
        hold_off_s: How long after a cut the encoder's return is looked out for, where the protocol does not say it.
        last_resort: Runs emergency commands.
        remains: Looks after what is left of streams.
    """

    registry: StreamRegistry
    discoveries: Mapping[str, Discovery]
    leads: Mapping[str, str]
    hold_off_s: float
    last_resort: LastResort
    remains: Remains

    @classmethod
    def of(cls, config: Config, registry: StreamRegistry, discoveries: Mapping[str, Discovery]) -> Containment:
        """Return what the configuration gives."""

        def live(stream_id: str) -> LiveStream | None:
            stream = registry.get(stream_id)
            return None if stream is None else stream.live

        commands = {server.name: server.emergency_command for server in config.servers if server.emergency_command}
        remains = {server.name: server.remains for server in config.servers if server.remains is not None}
        return cls(
            registry,
            discoveries,
            leads_of(config.servers),
            config.effects.hold_off,
            LastResort(commands, live),
            Remains(remains),
        )

    def is_live(self, live: LiveStream) -> bool:
        """Whether this very publication is still listed."""
        stream = self.registry.get(live.ref.stream_id)
        return stream is not None and stream.live.session == live.session

    def is_read(self, stream_id: str) -> bool:
        """Whether a watcher receives a stream at the moment."""
        stream = self.registry.get(stream_id)
        return stream is not None and stream.watch_state is WatchState.WATCHING and not stream.excused

    def on_cut(self, incident: IncidentRecord, for_s: float | None) -> None:
        """A cut is verified: look out for the encoder's return, for `for_s` seconds where the protocol says so."""
        self.on_gone(incident.ref)
        self.look_again(incident.server, self.hold_off_s if for_s is None else for_s)

    def on_moved(self, incident: IncidentRecord) -> None:
        """A stream is held, or shown again: watchers may have to read it elsewhere."""
        self.look_again(incident.server)

    def on_publish(self, server: str) -> None:
        """Somebody was let in. The publication is listed only after the gate's answer has arrived."""
        self.look_again(server, _PUBLISH_HURRY_S)

    def on_gone(self, ref: StreamRef) -> None:
        """A stream was proved to be gone."""
        if (discovery := self.discoveries.get(ref.server)) is not None:
            discovery.over(ref.stream_id)

    def look_again(self, server: str, for_s: float = 0.0) -> None:
        """Ask a media server at once, and then often for a while."""
        if (discovery := self.discoveries.get(self.leads.get(server, server))) is not None:
            discovery.hurry(for_s)
