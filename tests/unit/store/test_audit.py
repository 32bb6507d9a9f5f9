from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.store.audit import GENESIS_HASH, AuditEntry, append, entries, entry_hash, first_broken
from tests.fakes.store import flaky_store

TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
CONTENT = st.tuples(st.floats(0, 2e9), st.none() | TEXT, TEXT, TEXT, st.dictionaries(TEXT, JSON, max_size=2))


@st.composite
def logs(draw: st.DrawFn) -> list[AuditEntry]:
    log: list[AuditEntry] = []
    for number, (at, incident_id, actor, action, detail) in enumerate(draw(st.lists(CONTENT, min_size=1, max_size=6))):
        previous = log[-1].hash if log else GENESIS_HASH
        content: dict[str, Any] = {
            "number": number + 1,
            "at": at,
            "incident_id": incident_id,
            "actor": actor,
            "action": action,
            "detail": detail,
            "previous_hash": previous,
        }
        log.append(AuditEntry(**content, hash=entry_hash(**content)))
    return log


CHANGES: list[Callable[[AuditEntry], AuditEntry]] = [
    lambda entry: replace(entry, number=entry.number + 1),
    lambda entry: replace(entry, at=entry.at + 1),
    lambda entry: replace(entry, incident_id=(entry.incident_id or "") + "x"),
    lambda entry: replace(entry, incident_id=None if entry.incident_id is not None else ""),
    lambda entry: replace(entry, actor=entry.actor + "x"),
    lambda entry: replace(entry, action=entry.action + "x"),
    lambda entry: replace(entry, detail={**entry.detail, "another key": 1}),
    lambda entry: replace(entry, previous_hash="f" * 64),
    lambda entry: replace(entry, hash="f" * 64),
]


@given(logs())
def test_an_honest_log_is_whole(log: list[AuditEntry]) -> None:
    assert first_broken(log) is None


@given(logs(), st.data())
def test_any_change_of_any_row_shows_at_that_row(log: list[AuditEntry], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(log) - 1))
    change = data.draw(st.sampled_from(CHANGES))
    assert first_broken([*log[:place], change(log[place]), *log[place + 1 :]]) == place + 1


@given(logs(), st.data())
def test_a_row_removed_before_the_end_or_put_in_shows(log: list[AuditEntry], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(log) - 1))
    if place < len(log) - 1:
        assert first_broken(log[:place] + log[place + 1 :]) == place + 1
    assert first_broken([*log[: place + 1], log[place], *log[place + 1 :]]) == place + 2


@given(logs())
def test_a_rehashed_row_still_breaks_the_chain_after_it(log: list[AuditEntry]) -> None:
    forged = replace(log[0], actor=log[0].actor + "x")
    content = {name: getattr(forged, name) for name in AuditEntry.__slots__ if name != "hash"}
    forged = replace(forged, hash=entry_hash(**content))
    assert first_broken([forged, *log[1:]]) == (2 if len(log) > 1 else None)


async def test_what_is_stored_is_whole_and_what_is_tampered_with_is_not(tmp_path: Path) -> None:
    async with flaky_store(tmp_path / "store.sqlite3") as database:

        async def write(number: int) -> None:
            async with database.transaction() as connection:
                await append(
                    connection,
                    at=1e9 + number / 3,
                    actor=f"actor \N{SNOWMAN} {number}",
                    action="test",
                    incident_id=None if number % 2 else "one",
                    detail={"score": number / 7, "nested": {"text": "é", "tuple": (1, 2)}},
                )

        await asyncio.gather(*map(write, range(12)))
        async with database.reading() as connection:
            log = await entries(connection)
            of_one = await entries(connection, incident_id="one")
        assert [entry.number for entry in log] == list(range(1, 13))
        assert first_broken(log) is None
        assert len(of_one) == 6
        async with database.transaction() as connection:
            await connection.exec_driver_sql("UPDATE audit SET actor = 'somebody else' WHERE number = 5")
        async with database.reading() as connection:
            assert first_broken(await entries(connection)) == 5


async def test_a_log_entry_is_part_of_the_transaction_that_it_records(tmp_path: Path) -> None:
    async with flaky_store(tmp_path / "store.sqlite3") as database:

        async def write() -> None:
            async with database.transaction() as connection:
                await append(connection, at=1.0, actor="a", action="b", incident_id=None, detail={})
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await write()
        async with database.reading() as connection:
            assert await entries(connection) == []
