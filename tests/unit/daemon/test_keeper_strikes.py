"""Whoever goes live with strikes: the protocol is told at once, where it asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.protocol.loading import load_definition
from monitor.vocabulary import Posture
from tests.fakes.media_server import live
from tests.fakes.protocols import shipped
from tests.fakes.store import CAM1
from tests.unit.daemon.test_keeper import keeping

WARY = """\
protocol: wary
version: 1
summary: Whoever has been barred before is watched closely for an hour.
initial: calm
states:
  calm:
    on:
      - {strikes: 2, to: watching}
      - {detection: act, do: [alert: {event: raised}], to: watching}
  watching:
    posture: full
    on:
      - {stream: ended, to: closed}
      - {after: 1h, to: closed}
  closed: {final: true}
"""


@pytest.mark.parametrize("strikes", [0, 1, 2])
async def test_a_protocol_may_begin_with_the_strikes_of_whoever_goes_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strikes: int
) -> None:
    monkeypatch.setitem(shipped(), "wary", load_definition(WARY, "wary.yaml"))
    async with keeping(tmp_path, protocol="wary") as kept:
        monkeypatch.setattr(kept.keeper, "_strikes_of", lambda _live: strikes)
        await kept.listing(live())
        records = await kept.records()
        assert [record.state for record in records] == (["watching"] if strikes == 2 else [])
        if strikes == 2:
            assert kept.watchers.watched[CAM1.stream_id] is Posture.FULL
            (entry,) = await kept.on.log()
            assert entry.detail["caused_by"] == {"event": "StrikesChanged", "strikes": 2}
