"""`kill -9` of the daemon at every point that `monitor.faults` names: afterwards all is done, and each thing once.

One publication is detected, cut when nobody decides, and released when somebody does. On its way the daemon dies again and
again, each time somewhere else, and is started again on what the last one left.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from monitor import faults
from monitor.demo.partner import Partner
from monitor.demo.stage import free_port
from monitor.evidence.package import damaged_files
from monitor.store import audit
from monitor.store.database import Database
from tests.fakes import scored_daemon
from tests.fakes.daemon import PARTNER_SECRET, receiver_entry
from tests.fakes.scripted_nginx import ScriptedNginx, http, scripted_nginx, stat
from tests.fakes.store import copy_empty_store

pytestmark = pytest.mark.timeout(400)

# Evidence waits for a watcher, which a machine may be slow to start: its points come where nothing else can overtake them.
JOURNEYS = (
    (
        "decision_half_written",
        "alert_before_send",
        "deadline_due",
        "cut_begun",
        "review_received",
        "unblock_begun",
        "closed",
    ),
    (
        "detection_received",
        "deadline_committed",
        "cut_done",
        "alert_sent",
        "review_committed",
        "closing_half_written",
    ),
    ("decision_committed", "outcome_written_before_commit", "block_ended", "alert_recorded"),
    ("effect_taken_up", "outcome_committed", "preserve_begun", "evidence_half_written", "evidence_written"),
)
HOLDING_JOURNEYS = (("hold_begun", "release_done"), ("hold_done", "release_begun"))
"""On a media server that can hold; see `test_every_seam_held`."""

PROTOCOL = """
protocol: assisted
summary: A person has two seconds.
version: 1
initial: calm
states:
  calm:
    posture: calm
    on:
      - {detection: act, do: [alert: {event: raised, priority: crisis}], to: urgent}
  urgent:
    posture: full
    enter:
      - preserve
      - request_review: {within: 2s}
    on:
      - {review: confirm, to: containing}
      - {review: dismiss, do: [alert: {event: dismissed}], to: released}
      - {after: 2s, to: containing}
  containing:
    posture: full
    enter:
      - block: {for: 30d}
      - cut
    on:
      - {effect: cut, outcome: succeeded, do: [alert: {event: contained}, preserve], to: contained}
      - {effect: cut, outcome: [failed, unverified], do: [alert: {event: updated}], to: contained}
      - {effect: block, outcome: [failed, unverified], do: [alert: {event: updated}]}
      - {review: dismiss, do: [alert: {event: dismissed}], to: releasing}
      - {after: 10m, do: [alert: {event: updated}], to: contained}
  contained:
    posture: calm
    enter:
      - request_review: {within: 30m}
    on:
      - {review: confirm, to: released}
      - {review: dismiss, do: [alert: {event: dismissed}], to: releasing}
      - {after: 1d, do: [alert: {event: updated}], to: releasing}
  releasing:
    posture: calm
    enter:
      - unblock
    on:
      - {effect: unblock, outcome: succeeded, do: [alert: {event: released}], to: released}
      - {effect: unblock, outcome: [failed, unverified], do: [alert: {event: updated}]}
      - {after: 10m, do: [alert: {event: updated}], to: releasing}
  released:
    final: true
"""
DECIDES_AFTER_S = 2.0
SLACK_S = 1.5
"""What a deadline may be late beyond the daemon's absence, in real time, on a machine that does other things too."""


def test_every_point_is_on_some_journey() -> None:
    journeys = (*JOURNEYS, *HOLDING_JOURNEYS)
    assert Counter(point for journey in journeys for point in journey) == dict.fromkeys(faults.POINTS, 1)


def test_nothing_dies_unless_it_is_told_to() -> None:
    for point in faults.POINTS:
        faults.reach(point)


class Travel:
    """One publication on some media server, and a daemon that dies on the way."""

    def __init__(
        self, folder: Path, partner: Partner, section: dict[str, Any], protocol: str, *, decides_in: str
    ) -> None:
        self.folder = folder
        self.partner = partner
        self.away: list[tuple[float, float]] = []
        self.port = free_port()
        self.decides_in = decides_in
        protocols = folder / "protocols"
        protocols.mkdir()
        (protocols / "assisted.yaml").write_text(protocol)
        copy_empty_store(folder / "data" / "livecordon.sqlite3")
        config = {
            "data_dir": "data",
            "web": {"listen": f"127.0.0.1:{self.port}"},
            "servers": [section | {"list_interval": "200ms", "request_timeout": "5s"}],
            "protocol": {"directory": "protocols"},
            "alerts": {"receivers": [receiver_entry(partner)]},
            "effects": {"hold_off": "1s"},
            # A machine that is slow to start daemons must not make protocols tell of streams that nobody sees.
            "watch": {"late_after": "2m", "blind_after": "4m"},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))

    @asynccontextmanager
    async def daemon(self, die_at: str | None) -> AsyncIterator[asyncio.subprocess.Process]:
        environ = {**os.environ, PARTNER_SECRET: self.partner.secret}
        environ |= {} if die_at is None else {faults.VARIABLE: die_at}
        with (self.folder / "daemon.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, scored_daemon.__file__, str(self.folder / "config.yaml")),
                env=environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()

    async def until_it_dies(self, point: str) -> None:
        began = time.time()
        async with self.daemon(point) as process:
            acting = asyncio.create_task(self._act())
            try:
                async with asyncio.timeout(90):
                    status = await process.wait()
            except TimeoutError:
                pytest.fail(f"{point} was not reached:\n{self.log[-3000:]}")
            finally:
                acting.cancel()
                await asyncio.wait({acting})
        assert status == -signal.SIGKILL, f"{point}: {self.log[-3000:]}"
        self.away.append((began, time.time()))

    async def to_its_end(self) -> dict[str, Any]:
        """Run undisturbed until the incident is over and everybody has been told; returns the incident."""
        async with self.daemon(None):
            try:
                async with asyncio.timeout(90):
                    while True:
                        incident = await self._act(once=True)
                        told = [one["state"] for one in (incident or {}).get("deliveries", [])]
                        pending = [
                            one for one in (incident or {}).get("effects", []) if one["outcome"] in (None, "pending")
                        ]
                        if (
                            incident
                            and incident["incident"]["closed_at"]
                            and not pending
                            and set(told) == {"delivered"}
                        ):
                            return incident
                        await asyncio.sleep(0.05)
            except TimeoutError:
                pytest.fail(f"it did not end:\n{self.log[-3000:]}")

    async def _act(self, *, once: bool = False) -> dict[str, Any] | None:
        """Dismiss the incident, as a responder would, once it is contained."""
        incident: dict[str, Any] | None = None
        url = f"http://127.0.0.1:{self.port}/api/v1/incidents"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as client:
            while True:
                try:
                    async with client.get(url) as answer:
                        incidents = (await answer.json())["incidents"]
                    for one in incidents:
                        place = f"{url}/{one['incident_id']}"
                        if one["state"] == self.decides_in:
                            body = {"decision": "dismiss", "why": "a film"}
                            async with client.post(f"{place}/review", json=body) as answer:
                                await answer.read()
                        async with client.get(place) as answer:
                            incident = await answer.json()
                except (aiohttp.ClientError, TimeoutError, KeyError):
                    incident = None
                if once:
                    return incident
                await asyncio.sleep(0.05)

    @property
    def log(self) -> str:
        return (self.folder / "daemon.log").read_text(errors="replace")

    def down_s(self, until: float) -> float:
        """Seconds, at most, in which no daemon could have done anything, before `until`: a start takes its time, too."""
        return sum(max(0.0, min(ended, until) - began) for began, ended in self.away)


class Journey(Travel):
    """On an nginx that does as it is told."""

    def __init__(self, folder: Path, nginx: ScriptedNginx, partner: Partner) -> None:
        section = nginx.section().model_dump(mode="json", exclude_defaults=True) | {"kind": "nginx_rtmp"}
        super().__init__(folder, partner, section, PROTOCOL, decides_in="contained")
        self.live = True
        self.cuts = 0
        nginx.on_stat = lambda _: stat(*(["cam1"] if self.live else []))
        nginx.on_drop = self._drop
        self.asked = nginx.drops

    def _drop(self, number: int) -> bytes:
        if "name=cam1" not in self.asked[number]:
            # The daemon tries at its start whether it would be obeyed.
            return http(b"0")
        dropped, self.live = self.live, False
        self.cuts += dropped
        return http(b"1" if dropped else b"0")


async def test_all_is_done_and_each_thing_once_wherever_the_daemon_dies(tmp_path: Path) -> None:
    # Side by side: most of the time goes into starting daemons, which one core does one at a time.
    async with asyncio.TaskGroup() as group:
        for number, points in enumerate(JOURNEYS):
            folder = tmp_path / str(number)
            folder.mkdir()
            group.create_task(_travel(points, folder))


async def _travel(points: tuple[str, ...], tmp_path: Path) -> None:
    async with scripted_nginx() as nginx, Partner() as partner:
        journey = Journey(tmp_path, nginx, partner)
        for point in points:
            await journey.until_it_dies(point)
        began = time.time()
        incident = await journey.to_its_end()

        # As the media server saw it: one publication, ended once.
        assert journey.cuts == 1
        # As the receiver saw it: each thing told under one id.
        told_of = Counter(alert.type.rsplit(".", 1)[-1] for alert in partner.taken)
        assert told_of == {"raised": 1, "contained": 1, "dismissed": 1, "released": 1}, [
            (alert.type, alert.event["data"].get("state"), alert.event["data"].get("reason")) for alert in partner.taken
        ]
        assert partner.refused == 0
        # As the store has it.
        done = Counter((effect["kind"], effect["outcome"]) for effect in incident["effects"])
        assert done.pop(("preserve", "succeeded")) >= 1
        done.pop(("preserve", "failed"), 0)
        assert done == {
            ("alert", "succeeded"): 4,
            ("request_review", "succeeded"): 2,
            ("block", "succeeded"): 1,
            ("cut", "succeeded"): 1,
            ("unblock", "succeeded"): 1,
        }
        assert incident["incident"]["state"] == "released"

    async with Database(tmp_path / "data" / "livecordon.sqlite3") as database, database.reading() as connection:
        log = await audit.entries(connection)
    assert audit.first_broken(log) is None
    steps = [entry for entry in log if entry.action == "transition"]
    assert [entry.detail["after"] for entry in steps] == [
        "urgent",
        "containing",
        "contained",
        "releasing",
        "released",
    ]
    urgent, containing = steps[0], steps[1]
    late_s = containing.at - (urgent.at + DECIDES_AFTER_S)
    absent_s = journey.down_s(containing.at) + max(0.0, containing.at - began)
    assert -0.01 < late_s < absent_s + SLACK_S
    packages = [path.parent for path in (tmp_path / "data" / "evidence").glob("*/*/manifest.json")]
    assert packages
    assert [damaged_files(package) for package in packages] == [[] for _ in packages]
