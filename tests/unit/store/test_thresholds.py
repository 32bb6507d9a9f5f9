from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from monitor.detect.budget import Standing, Tally
from monitor.store import thresholds
from monitor.store.database import Database
from monitor.store.thresholds import LearntRow

ROW = LearntRow(
    server="edge",
    app="*",
    label="violence",
    severity="review",
    basis="b" * 64,
    standing={"log_odds": 0.5, "first": None, "moved_at": 0.0, "frozen": False, "extrapolated": False},
    tally=Tally.empty().to_dict(),
    saved_at=1.0,
)


async def test_a_threshold_is_kept_over_a_restart_and_replaced_by_its_next_state(tmp_path: Path) -> None:
    others = [replace(ROW, app="news"), replace(ROW, severity="act"), replace(ROW, server="far")]
    async with Database(tmp_path / "store.sqlite3") as database, database.transaction() as connection:
        await thresholds.save(connection, [ROW, *others])
        await thresholds.save(connection, [replace(ROW, saved_at=2.0, standing={**ROW.standing, "log_odds": 1.5})])
    async with Database(tmp_path / "store.sqlite3") as database, database.reading() as connection:
        found = {(row.server, row.app, row.severity): row for row in await thresholds.load(connection)}
    assert len(found) == 4
    assert found["edge", "news", "review"] == others[0]
    again = found["edge", "*", "review"]
    assert (again.saved_at, Standing(**again.standing)) == (2.0, Standing(1.5))
    assert Tally.from_dict(again.tally) is not None
