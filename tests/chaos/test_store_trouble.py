"""A store that is locked, full or damaged under the real daemon: it says so, goes on watching, and still cuts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from monitor.cli.main import EXIT_FAILED
from monitor.demo.partner import Partner
from monitor.store import audit
from monitor.store.database import Database
from tests.chaos.test_every_seam import Journey
from tests.fakes.daemon import PARTNER_SECRET
from tests.fakes.scripted_nginx import scripted_nginx
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.timeout(240)

DEADLINE_S = 60.0
DISK_BYTES = 16 * 1024 * 1024


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """A disk of its own, small enough to be filled."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "livecordon-test", str(place)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a disk takes root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Another program holds the store's write lock."""
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Not one byte more can be written."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (65_536, 512, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    yield
    ballast.unlink()


def damage(store: Path) -> None:
    """Overwrite every page but the first, as a failing disk might."""
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with store.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (store.stat().st_size - 4096))
        os.fsync(file.fileno())


class Site:
    """A journey whose publisher comes when it is told to, and the daemon's own words on how it is."""

    def __init__(self, journey: Journey, client: aiohttp.ClientSession) -> None:
        self.journey = journey
        self.client = client

    async def get(self, path: str) -> tuple[int, str]:
        try:
            async with self.client.get(f"http://127.0.0.1:{self.journey.port}{path}") as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""

    async def answers(self, path: str, status: int, part: str = "") -> bool:
        found, text = await self.get(path)
        return found == status and part in text

    async def metric(self, name: str) -> float:
        _, text = await self.get("/metrics")
        return next((float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} ")), -1.0)

    async def is_cut(self, times: int) -> None:
        """A publisher comes, and is cut, whatever the store is like."""
        self.journey.live = True

        async def cut() -> bool:
            return self.journey.cuts == times

        await eventually(cut, deadline_s=DEADLINE_S)

    async def is_written_down(self, *, closed: int) -> None:
        """All is in the store, and everybody has been told."""

        async def done() -> bool:
            incident = await self.journey._act(once=True)
            incidents: Any = await self.incidents()
            over = sum(one["closed_at"] is not None for one in incidents)
            told = [one["state"] for one in (incident or {}).get("deliveries", [])]
            return over == len(incidents) == closed and set(told) == {"delivered"}

        await eventually(done, deadline_s=DEADLINE_S)
        await eventually(lambda: self.answers("/readyz", 200), deadline_s=DEADLINE_S)
        assert await self.metric("livecordon_store_unwritten") == 0

    async def incidents(self) -> list[Any]:
        async with self.client.get(f"http://127.0.0.1:{self.journey.port}/api/v1/incidents") as answer:
            found: list[Any] = (await answer.json())["incidents"]
            return found


async def test_an_attack_is_cut_whatever_becomes_of_the_store(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as client, scripted_nginx() as nginx:
        with small_disk(data):
            async with Partner() as partner:
                journey = Journey(tmp_path, nginx, partner)
                journey.live = False
                store = data / "livecordon.sqlite3"
                site = Site(journey, client)
                async with journey.daemon(None) as process:
                    await eventually(lambda: site.answers("/readyz", 200), deadline_s=DEADLINE_S)

                    for number, trouble in enumerate((locked(store), full(data)), start=1):
                        with trouble:
                            await site.is_cut(number)
                            await eventually(
                                lambda: site.answers("/readyz?verbose", 503, "[-] store"), deadline_s=DEADLINE_S
                            )
                            assert await site.answers("/livez", 200)
                            assert await site.metric("livecordon_store_unwritten") > 0
                        await site.is_written_down(closed=number)
                    assert "decision_not_stored" in journey.log
                    assert '"store": "locked"' in journey.log
                    assert '"store": "disk_full"' in journey.log
                    told = Counter(alert.type.rsplit(".", 1)[-1] for alert in partner.taken)
                    assert told == dict.fromkeys(("raised", "contained", "dismissed", "released"), 2)
                    async with Database(store) as database, database.reading() as connection:
                        assert audit.first_broken(await audit.entries(connection)) is None

                    damage(store)
                    await site.is_cut(3)
                    assert process.returncode is None
                await refused_in_words(tmp_path, partner)


async def refused_in_words(folder: Path, partner: Partner) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "monitor", "run", "--config", str(folder / "config.yaml")),
        env={**os.environ, PARTNER_SECRET: partner.secret},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == EXIT_FAILED, output.decode()
    last = output.decode().splitlines()[-1]
    assert "the store is damaged" in last
    assert "livecordon db restore" in last
    assert b"Traceback" not in output
