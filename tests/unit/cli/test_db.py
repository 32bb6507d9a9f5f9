from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from monitor.cli.main import main
from monitor.store import audit
from monitor.store.database import Database
from monitor.store.migrating import migrate
from monitor.store.ownership import sole_owner
from monitor.store.sqlite import SqliteBackend
from tests.fakes.store import copy_empty_store, downgrade


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    copy_empty_store(tmp_path / "store.sqlite3")
    async with Database(tmp_path / "store.sqlite3") as database, database.transaction() as connection:
        for number in range(5):
            await audit.append(
                connection, at=1.0, actor="ana", action="noted", incident_id=None, detail={"number": number}
            )
    file = tmp_path / "config.yaml"
    file.write_text("servers: [{name: demo, kind: embedded}]\nstore: {path: store.sqlite3}\n")
    return file


def db(config: Path, *arguments: str) -> int:
    command, *rest = arguments
    return main(["db", command, "--config", str(config), *rest])


def statement(path: Path, text: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(text)


def test_an_entry_that_was_changed_is_found(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert db(config, "check") == 0
    assert "5 entries" in capsys.readouterr().out
    statement(config.with_name("store.sqlite3"), "UPDATE audit SET actor = 'eve' WHERE number = 3")
    assert db(config, "check") == 1
    assert "entry 3 of the audit log" in capsys.readouterr().err


def test_a_backup_is_restored_and_what_was_there_is_kept(config: Path) -> None:
    store, copy = config.with_name("store.sqlite3"), config.with_name("copy.sqlite3")
    assert db(config, "backup", str(copy)) == 0
    assert db(config, "backup", str(copy)) == 1
    statement(store, "DELETE FROM audit WHERE number = 5")
    with sole_owner(store):
        assert db(config, "restore", str(copy)) == 1
    assert db(config, "restore", str(copy)) == 0
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("SELECT count(*) FROM audit").fetchone() == (5,)
    (kept,) = (
        path for path in config.parent.glob("store.sqlite3.replaced-*") if not path.name.endswith(("-wal", "-shm"))
    )
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("SELECT count(*) FROM audit").fetchone() == (4,)


def test_a_damaged_copy_is_not_restored(config: Path) -> None:
    store, copy = config.with_name("store.sqlite3"), config.with_name("copy.sqlite3")
    assert db(config, "backup", str(copy)) == 0
    statement(copy, "UPDATE audit SET actor = 'eve' WHERE number = 3")
    before = store.read_bytes()
    assert db(config, "restore", str(copy)) == 1
    assert store.read_bytes() == before
    assert not store.with_name("store.sqlite3.restoring").exists()


def test_a_store_is_copied_before_it_is_migrated(tmp_path: Path, config: Path) -> None:
    store = config.with_name("store.sqlite3")
    # As the first version left it.
    downgrade(store, "0001")
    assert db(config, "migrate") == 0
    migrate(store)
    copy = store.with_name("store.sqlite3.before-0001")
    assert SqliteBackend(copy).damage() is None
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
    assert db(config, "check") == 0
