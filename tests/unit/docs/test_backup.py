"""The backup that operators are told to make."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from monitor.store import audit
from monitor.store.database import Database
from tests.fakes.checkout import ROOT


async def test_the_documented_copy_is_whole_while_the_daemon_writes(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^sqlite3 livecordon-data/livecordon\.sqlite3 \"(.+)\"$", page, re.MULTILINE)
    copy = tmp_path / "livecordon-copy.sqlite3"
    store = tmp_path / "livecordon.sqlite3"
    async with Database(store) as database:
        async with database.transaction() as connection:
            await audit.append(connection, at=1.0, actor="ana", action="noted", incident_id=None, detail={"why": "é"})
        # The newest row is still in the WAL: the file alone would not have it.
        assert store.with_name(store.name + "-wal").stat().st_size > 0
        with closing(sqlite3.connect(store, isolation_level=None)) as plain:
            plain.execute(command.replace("livecordon-copy.sqlite3", str(copy)))
    async with Database(copy) as restored, restored.reading() as connection:
        (entry,) = await audit.entries(connection, incident_id=None)
        assert (entry.actor, entry.detail) == ("ana", {"why": "é"})
