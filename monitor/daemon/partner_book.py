"""What partners said, in memory: which alerts stand, which of our streams they concern, and how closely those are watched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from monitor.daemon.peers import Peer
from monitor.incidents.records import OpenIncident
from monitor.store.partners import AlertState, PartnerAlert
from monitor.vocabulary import Posture, Severity, StreamRef

REMEMBERED_S = 86_400.0
"""So long after a partner's last word, what happens here is still told to it."""


class PartnerBook:
    """All that was heard in the last day.

    Attributes:
        peers: Partners by name.
    """

    def __init__(self, peers: Iterable[Peer]) -> None:
        self.peers = {peer.name: peer for peer in peers}
        self._alerts: dict[tuple[str, str], PartnerAlert] = {}

    def __iter__(self) -> Iterator[PartnerAlert]:
        """Iterate over alerts, the one heard last first."""
        return iter(sorted(self._alerts.values(), key=lambda alert: alert.heard_at, reverse=True))

    def get(self, partner: str, incident_id: str) -> PartnerAlert | None:
        """Return what a partner said of one incident."""
        return self._alerts.get((partner, incident_id))

    def put(self, alert: PartnerAlert) -> None:
        """Remember an alert as it stands now."""
        self._alerts[alert.partner, alert.incident_id] = alert

    def forget(self, now: float) -> None:
        """Forget what is old."""
        self._alerts = {
            key: alert
            for key, alert in self._alerts.items()
            if max(alert.heard_at + REMEMBERED_S, alert.until) > now and alert.partner in self.peers
        }

    def counts(self, alert: PartnerAlert) -> bool:
        """Whether an alert stands and is grave enough to lead to anything."""
        peer = self.peers.get(alert.partner)
        if peer is None or alert.state is not AlertState.STANDING:
            return False
        return alert.word == "contained" or Severity.from_word(alert.severity) >= peer.least

    def is_watched_for(self, alert: PartnerAlert, now: float) -> bool:
        """Whether streams are watched more closely because of an alert."""
        peer = self.peers.get(alert.partner)
        return peer is not None and peer.settings.trust != "shown" and self.counts(alert) and now < alert.until

    def floor(self, ref: StreamRef, now: float) -> Posture:
        """Return how closely a stream is to be watched at least."""
        floor = Posture.CALM
        for alert in self._alerts.values():
            if not self.is_watched_for(alert, now):
                continue
            peer = self.peers[alert.partner]
            if peer.settings.watch == "all" or names(alert, ref):
                floor = max(floor, peer.posture, key=lambda posture: posture.rank)
        return floor

    def next_end(self, now: float) -> float | None:
        """Return when the next alert stops raising postures."""
        return min((alert.until for alert in self._alerts.values() if self.is_watched_for(alert, now)), default=None)

    def concerning(self, incident: OpenIncident) -> list[PartnerAlert]:
        """Return alerts that an incident of ours has to do with: of the same name, or of the same label while the alert stood."""
        record = incident.record
        if record.drill:
            return []
        return [
            alert
            for alert in self._alerts.values()
            if record.stream_id in alert.streams
            or (
                self.counts(alert)
                and (names(alert, record.ref) or (record.label == alert.label and record.opened_at >= alert.first_at))
            )
        ]

    def note(self, alert: PartnerAlert, stream_id: str, *, disagrees: bool = False) -> PartnerAlert:
        """Remember that an alert concerned a stream, and whether a responder thinks otherwise."""
        streams = tuple(dict.fromkeys((*alert.streams, stream_id)))
        alert = replace(alert, streams=streams, disagrees=alert.disagrees or disagrees)
        self.put(alert)
        return alert


def names(alert: PartnerAlert, ref: StreamRef) -> bool:
    """Whether an alert tells of a stream of this name, in any application."""
    if not alert.stream_name:
        return False
    name = alert.stream_name.rpartition("/")[2].casefold()
    return bool(name) and name == ref.name.casefold()
