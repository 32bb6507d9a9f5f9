"""Acknowledgements as the web layer's tests want them: real links, kept in memory, and one word that is PagerDuty's signature."""

from __future__ import annotations

from monitor.alerts.links import Claim, Links
from monitor.web.acknowledge_port import AcknowledgeOutcome, AcknowledgeResult, AcknowledgeWay, PagerDutySaid
from tests.fakes.web_daemon import FakeDaemon

SIGNED = "v1=good"


class FakeAcknowledging:
    """Implements `monitor.web.acknowledge_port.AcknowledgeService` for a fake daemon's incidents."""

    def __init__(self, daemon: FakeDaemon, links: Links) -> None:
        self.links = links
        self.taken: dict[str, tuple[str, AcknowledgeWay]] = {}
        self.closed: set[str] = set()
        self._incidents = daemon.details
        self._clock = daemon.clock

    async def acknowledge(self, incident_id: str, *, by: str, way: AcknowledgeWay) -> AcknowledgeResult:
        if incident_id not in self._incidents:
            return AcknowledgeResult(AcknowledgeOutcome.UNKNOWN)
        if incident_id in self.closed:
            return AcknowledgeResult(AcknowledgeOutcome.CLOSED)
        first = incident_id not in self.taken
        self.taken.setdefault(incident_id, (by, way))
        outcome = AcknowledgeOutcome.ACCEPTED if first else AcknowledgeOutcome.ALREADY
        return AcknowledgeResult(outcome, self.taken[incident_id][0], self._clock.now())

    def read_link(self, token: str) -> Claim | None:
        return self.links.read(token, now=self._clock.now().timestamp())

    async def heard_from_pagerduty(self, receiver: str, body: bytes, signatures: str) -> PagerDutySaid:
        if receiver != "pager" or signatures != SIGNED:
            return PagerDutySaid.NOT_PAGERDUTY
        if body != b"{}":
            raise ValueError
        return PagerDutySaid.SOMETHING_ELSE
