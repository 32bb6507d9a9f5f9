"""A PostgreSQL store that is locked, gone or taken over by another daemon, under the real daemon."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import psycopg
import pytest
import yaml

from monitor.cli.main import EXIT_FAILED
from monitor.demo.partner import Partner
from monitor.demo.stage import free_port
from monitor.store import audit
from monitor.store.database import Database
from tests.chaos.test_every_seam import Journey
from tests.chaos.test_store_trouble import DEADLINE_S, Site
from tests.fakes.daemon import RealDaemon
from tests.fakes.postgres import RealPostgres, real_postgres
from tests.fakes.scripted_nginx import scripted_nginx
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(240)]

STORE = "LIVECORDON_TEST_STORE"


@pytest.fixture(scope="module")
def postgres() -> Iterator[RealPostgres]:
    with real_postgres() as server:
        yield server


@contextmanager
def locked(server: RealPostgres, database: str) -> Iterator[None]:
    """Another program holds the lock that every write of ours waits for."""
    with psycopg.connect(f"dbname={database} user={server.owner} host={server.folder}") as other:
        other.execute("SELECT epoch FROM writer FOR UPDATE")
        yield
        other.rollback()


@contextmanager
def gone(server: RealPostgres, database: str) -> Iterator[None]:
    """The server breaks every connection and takes no new one."""
    server.query("postgres", f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
    server.query("postgres", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
    yield
    server.query("postgres", f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")


async def test_an_attack_is_cut_while_the_server_is_locked_or_gone(
    tmp_path: Path, postgres: RealPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = postgres.empty()
    monkeypatch.setenv(STORE, postgres.address(database))
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as client,
        scripted_nginx() as nginx,
        Partner() as partner,
    ):
        journey = Journey(tmp_path, nginx, partner)
        journey.live = False
        config = tmp_path / "config.yaml"
        config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"store": {"url": {"env": STORE}}}))
        site = Site(journey, client)
        async with journey.daemon(None) as process:
            await eventually(lambda: site.answers("/readyz", 200), deadline_s=DEADLINE_S)
            for number, trouble in enumerate((locked(postgres, database), gone(postgres, database)), start=1):
                with trouble:
                    await site.is_cut(number)
                    await eventually(lambda: site.answers("/readyz?verbose", 503, "[-] store"), deadline_s=DEADLINE_S)
                    assert await site.answers("/livez", 200)
                await site.is_written_down(closed=number)
            assert process.returncode is None
        assert '"store": "locked"' in journey.log
        assert '"store": "unreachable"' in journey.log
        told = Counter(alert.type.rsplit(".", 1)[-1] for alert in partner.taken)
        assert told == dict.fromkeys(("raised", "contained", "dismissed", "released"), 2)
        async with Database(postgres.url(database)) as opened, opened.reading() as connection:
            assert audit.first_broken(await audit.entries(connection)) is None


async def test_one_daemon_for_one_store_and_who_is_replaced_ends_in_one_line(
    tmp_path: Path, postgres: RealPostgres
) -> None:
    database = postgres.empty()
    environ = {STORE: postgres.address(database)}

    def configured() -> dict[str, object]:
        return {
            "web": {"listen": f"127.0.0.1:{free_port()}"},
            "store": {"url": {"env": STORE}},
            "servers": [
                {"name": "cams", "kind": "static", "streams": [{"name": "door", "url": "rtmp://127.0.0.1:9/live/door"}]}
            ],
            "watch": {"watchers": 1},
        }

    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    async with RealDaemon(folders[0], configured(), environ=environ) as first:
        (folders[1] / "config.yaml").write_text(yaml.safe_dump({"data_dir": "data", **configured()}))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "monitor", "run", "--config", str(folders[1] / "config.yaml")),
            env=os.environ | environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        refused, _ = await process.communicate()
        assert process.returncode == EXIT_FAILED
        assert refused.decode().splitlines()[-1] == (
            "livecordon: the PostgreSQL store: another Livecordon daemon uses this store; stop it, or name another database"
        )

        # The first loses its lock with its connection, as over a network that breaks, and cannot know it.
        postgres.query(
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            f"WHERE locktype = 'advisory' AND datname = '{database}'",
        )
        async with RealDaemon(folders[1], configured(), environ=environ) as second:

            async def over() -> bool:
                return not first.running

            await eventually(over, deadline_s=DEADLINE_S)
            assert await first.stop() == EXIT_FAILED
            assert first.log.splitlines()[-1] == "livecordon: another Livecordon daemon has taken over this store"
            assert "Traceback" not in first.log
            assert second.running
            assert "[+] store" in await second.text("/readyz?verbose")
