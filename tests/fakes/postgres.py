"""A PostgreSQL server of the tests' own: from Debian's package, in a temporary folder, reached by a Unix socket only."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg
from sqlalchemy import URL, make_url

from monitor.store.migrating import migrate
from monitor.store.postgres import PostgresBackend, postgres_url

_NUMBERS = count(1)


def postgres_programs() -> Path | None:
    """Return the folder with the newest server's programs, or None when none is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@dataclass(frozen=True)
class RealPostgres:
    """A running server; `folder` holds its socket and its data."""

    folder: Path
    owner: str

    def url(self, database: str = "postgres") -> URL:
        """Return the address of one of its databases."""
        return postgres_url(f"postgresql://{self.owner}@/{database}?host={self.folder}")

    def address(self, database: str) -> str:
        """Return the same as an operator would write it."""
        return f"postgresql://{self.owner}@/{database}?host={self.folder}"

    def empty(self) -> str:
        """Make an empty database; returns its name."""
        return self._create("template1")

    def store(self) -> URL:
        """Make a database with all tables in it."""
        return self.url(self._create("livecordon_template"))

    def query(self, database: str, statement: str) -> list[tuple[object, ...]]:
        """Run one statement outside any transaction; returns its rows."""
        url = self.url(database)
        with psycopg.connect(f"dbname={database} user={self.owner} host={self.folder}", autocommit=True) as connection:
            assert url.database == database
            cursor = connection.execute(statement.encode())
            return [] if cursor.description is None else cursor.fetchall()

    def _create(self, template: str) -> str:
        name = f"test_{next(_NUMBERS)}"
        self.query("postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        return name


@contextmanager
def real_postgres() -> Iterator[RealPostgres]:
    """Run a server as a user that is not root, without waiting for the disk: what is tested is not its durability."""
    programs = postgres_programs()
    assert programs is not None
    # PostgreSQL refuses to run as root, and a socket's path may have 107 characters only.
    user = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    folder = Path(tempfile.mkdtemp(prefix="lc-pg-", dir="/tmp"))
    if os.getuid() == 0:
        shutil.chown(folder, user)
    data = folder / "data"

    def run(program: str, *options: str) -> None:
        subprocess.run(
            [programs / program, *options],
            user=user if os.getuid() == 0 else None,
            group=pwd.getpwnam(user).pw_gid if os.getuid() == 0 else None,
            extra_groups=[] if os.getuid() == 0 else None,
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )

    try:
        run("initdb", "-D", str(data), "-U", "livecordon", "-A", "trust", "-E", "UTF8", "--no-sync")
        settings = f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=50 -c shared_buffers=16MB"
        run("pg_ctl", "start", "-w", "-D", str(data), "-o", settings, "-l", str(folder / "log"))
        try:
            server = RealPostgres(folder, "livecordon")
            server.query("postgres", "CREATE DATABASE livecordon_template")
            migrate(PostgresBackend(make_url(server.address("livecordon_template"))))
            yield server
        finally:
            run("pg_ctl", "stop", "-m", "immediate", "-D", str(data))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
