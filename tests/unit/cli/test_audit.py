"""`livecordon audit`: what a script learns from it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from monitor.cli.main import main
from monitor.store import audit
from monitor.store.anchor import read_anchor, write_anchor
from monitor.store.database import Database
from monitor.store.tables import audit as audit_table
from tests.fakes.store import copy_empty_store

CONFIG = """
data_dir: data
servers:
  - {name: edge, kind: static, streams: [{name: cam1, url: rtmp://127.0.0.1/live/cam1}]}
"""


def written(folder: Path, entries: int) -> Path:
    """Write a configuration and a store with so many entries; returns the configuration."""
    config = folder / "config.yaml"
    config.write_text(CONFIG)
    store = folder / "data" / "livecordon.sqlite3"
    copy_empty_store(store)
    asyncio.run(_fill(store, entries))
    return config


async def _fill(store: Path, entries: int) -> None:
    rows, previous = [], audit.GENESIS_HASH
    for number in range(1, entries + 1):
        values: dict[str, Any] = {
            "number": number,
            "at": 1000.0 + number,
            "incident_id": None,
            "actor": "ana",
            "action": "noted",
            "detail": {"why": f"é {number}"},
        }
        digest = audit.entry_hash(previous_hash=previous, **values)
        rows.append({**values, "previous_hash": previous, "hash": digest})
        previous = digest
    async with Database(store) as database, database.transaction() as connection:
        await connection.execute(insert(audit_table), rows)


def change(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "data" / "livecordon.sqlite3", isolation_level=None)) as store:
        store.execute(statement)


def run(*arguments: str, config: Path) -> int:
    return main(["audit", *arguments, "--config", str(config)])


def test_a_whole_log_of_several_pages_is_proved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = written(tmp_path, 2300)
    assert run("head", config=config) == 0
    number, digest = capsys.readouterr().out.split()
    assert number == "2300"
    assert run("verify", "--head", digest, config=config) == 0
    assert f"2300 entries, each covered by the next; head {digest}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE audit SET actor = 'bob' WHERE number = 1500", 1500),
        ('UPDATE audit SET detail = \'{"why": "other"}\' WHERE number = 7', 7),
        ("DELETE FROM audit WHERE number = 1001", 1001),
        ("DELETE FROM audit WHERE number < 3", 1),
    ],
)
def test_the_first_broken_entry_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], statement: str, broken: int
) -> None:
    config = written(tmp_path, 2000)
    change(tmp_path, statement)
    assert run("verify", config=config) == 3
    assert f"broken: entry {broken} was changed" in capsys.readouterr().out


def test_entries_cut_off_the_end_are_found_by_the_head_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = written(tmp_path, 20)
    assert run("head", config=config) == 0
    number, digest = capsys.readouterr().out.split()
    write_anchor(tmp_path / "data", audit.Head(int(number), digest), at=1.0)
    assert run("verify", config=config) == 0
    change(tmp_path, "DELETE FROM audit WHERE number > 15")
    capsys.readouterr()
    assert run("verify", config=config) == 3
    assert "entries after 15 are missing" in capsys.readouterr().out


def test_entries_cut_off_the_end_are_found_by_a_hash_kept_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, 20)
    assert run("head", config=config) == 0
    digest = capsys.readouterr().out.split()[1]
    change(tmp_path, "DELETE FROM audit WHERE number > 15")
    assert run("verify", config=config) == 0, "without a head there is nothing to see"
    assert run("verify", "--head", digest, config=config) == 3


def test_a_chain_forged_anew_does_not_hold_the_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = written(tmp_path, 20)
    run("head", config=config)
    digest = capsys.readouterr().out.split()[1]
    (tmp_path / "other").mkdir()
    forged = written(tmp_path / "other", 25)
    change(tmp_path / "other", "DELETE FROM audit WHERE number > 19")
    assert run("verify", "--head", digest, config=forged) == 3


def test_an_export_can_be_checked_by_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = written(tmp_path, 1200)
    target = tmp_path / "log.ndjson"
    assert run("export", "-o", str(target), config=config) == 0
    entries = [json.loads(line) for line in target.read_text().splitlines()]
    assert [entry["number"] for entry in entries] == list(range(1, 1201))
    fields = ("previous_hash", "number", "at", "incident_id", "actor", "action", "detail")
    assert all(audit.entry_hash(**{name: entry[name] for name in fields}) == entry["hash"] for entry in entries)
    assert entries[0]["time"] == "1970-01-01T00:16:41+00:00"
    capsys.readouterr()
    cut = ("--from", "1970-01-01T00:16:50", "--to", "1970-01-01T00:16:52")
    assert run("export", *cut, "-o", "-", config=config) == 0
    assert [json.loads(line)["number"] for line in capsys.readouterr().out.splitlines()] == [10, 11]


def test_no_store_and_no_time_are_other_exits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    assert run("verify", config=config) == 1
    written(tmp_path, 1)
    assert run("export", "--from", "soon", "-o", "-", config=config) == 2
    assert "2026-11-23" in capsys.readouterr().err


def test_a_broken_head_file_is_no_head(tmp_path: Path) -> None:
    assert read_anchor(tmp_path) is None
    for text in ("", "[]", '{"number": "1", "hash": 2}', '{"number": 1, "hash": "ab"}'):
        (tmp_path / "audit.head").write_text(text)
        assert read_anchor(tmp_path) is None
