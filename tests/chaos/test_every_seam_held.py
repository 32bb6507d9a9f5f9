"""`kill -9` of the daemon on the way of a stream that is held, and shown again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest
from typing_extensions import override

from monitor.demo.partner import Partner
from monitor.servers.embedded import relay as relay_module
from monitor.servers.embedded.publication import Publication
from monitor.servers.embedded.relay import Relay
from tests.chaos.test_every_seam import HOLDING_JOURNEYS, Travel
from tests.fakes.publishers import RelayPublisher

pytestmark = pytest.mark.timeout(300)

HOLDING_PROTOCOL = """
protocol: assisted
summary: Held at once.
version: 1
initial: calm
states:
  calm:
    on:
      - {detection: act, do: [alert: {event: raised, priority: crisis}], to: holding}
  holding:
    posture: full
    enter:
      - hold: {within: 1m}
    on:
      - {effect: hold, outcome: succeeded, do: [alert: {event: contained}], to: held}
      - {effect: hold, outcome: [failed, unverified, unsupported], do: [alert: {event: updated}], to: held}
      - {review: dismiss, do: [alert: {event: dismissed}], to: showing}
      - {after: 10m, do: [alert: {event: updated}], to: held}
  held:
    posture: full
    enter:
      - request_review: {within: 30m}
    on:
      - {review: confirm, to: holding}
      - {review: dismiss, do: [alert: {event: dismissed}], to: showing}
      - {after: 1d, do: [alert: {event: updated}], to: showing}
  showing:
    enter:
      - release: {within: 1m}
    on:
      - {effect: release, outcome: succeeded, do: [alert: {event: released}], to: released}
      - {effect: release, outcome: [failed, unverified], do: [alert: {event: updated}]}
      - {after: 10m, do: [alert: {event: updated}], to: showing}
  released:
    final: true
"""


class NotedPublication(Publication):
    """Remembers when its viewers stopped seeing it, and when they saw it again."""

    changes: ClassVar[list[str]] = []

    @override
    def hold(self) -> None:
        if not self.held:
            self.changes.append("held")
        super().hold()

    @override
    def release(self) -> None:
        if self.held:
            self.changes.append("shown")
        super().release()


async def test_whoever_is_held_is_held_and_shown_once_wherever_the_daemon_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "Publication", NotedPublication)
    for number, points in enumerate(HOLDING_JOURNEYS):
        changes: list[str] = []
        monkeypatch.setattr(NotedPublication, "changes", changes)
        folder = tmp_path / str(number)
        folder.mkdir()
        async with Relay() as relay, Partner() as partner:
            section = {"kind": "embedded", "name": "edge", "url": relay.url, "serve": False}
            travel = Travel(folder, partner, section, HOLDING_PROTOCOL, decides_in="held")
            encoder = RelayPublisher(f"{relay.url}/live/cam1")
            for point in points:
                await travel.until_it_dies(point)
            incident = await travel.to_its_end()

            # As the media server saw it: out of sight once, in sight again once, and the encoder never left.
            assert changes == ["held", "shown"]
            assert encoder.live
            told_of = Counter(alert.type.rsplit(".", 1)[-1] for alert in partner.taken)
            assert told_of == {"raised": 1, "contained": 1, "dismissed": 1, "released": 1}
            done = Counter((effect["kind"], effect["outcome"]) for effect in incident["effects"])
            assert done == {
                ("alert", "succeeded"): 4,
                ("request_review", "succeeded"): 1,
                ("hold", "succeeded"): 1,
                ("release", "succeeded"): 1,
            }
            await encoder.stop()
