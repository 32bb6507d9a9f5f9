from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.daemon.block_files import Format, read_blocks, write_blocks
from monitor.errors import ProblemsError
from monitor.vocabulary import StreamRef
from monitor.web.enforcement_values import NewBlock

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=40)


def read(text: str, form: Format = "ndjson", why: str | None = None) -> tuple[list[NewBlock], int]:
    lines = text.splitlines(keepends=True)
    return read_blocks(lines, form, file="b.txt", servers=["edge"], why=why, now=NOW)


def mistakes(text: str, form: Format = "ndjson") -> list[str]:
    with pytest.raises(ProblemsError) as caught:
        read(text, form)
    return [str(problem) for problem in caught.value.problems]


@given(
    st.lists(st.tuples(NAMES, st.none() | st.integers(1, 10**8), NAMES.filter(lambda why: len(why) >= 3)), max_size=8),
    st.sampled_from(["ndjson", "csv"]),
)
def test_what_is_written_is_read_back(entries: list[tuple[str, int | None, str]], form: Format) -> None:
    blocks = {
        name: NewBlock(StreamRef("edge", "live", name), None if s is None else NOW + timedelta(seconds=s), why)
        for name, s, why in entries
    }
    rows: list[dict[str, str | None]] = [
        {
            "server": "edge",
            "app": "live",
            "name": one.ref.name,
            "why": one.why,
            "since": "x",
            "by": "ada",
            "until": None if one.until is None else one.until.isoformat(),
        }
        for one in blocks.values()
    ]
    assert read("".join(write_blocks(rows, form)), form) == (list(blocks.values()), 0)


def test_every_mistake_is_told_with_its_line_and_without_the_name() -> None:
    text = """{"server": "edge", "app": "live", "name": "s3cret", "why": "spam"}
{"server": "other", "app": "live", "name": "s3cret", "why": "spam"}

not json
{"server": "edge", "app": "live", "name": "", "why": "spam"}
{"server": "edge", "app": "live", "name": "s3cret", "why": "spam", "until": "tomorrow"}
{"server": "edge", "app": "live", "name": "s3cret", "why": "spam", "until": "2027-01-01T00:00:00"}
{"server": "edge", "app": "live", "name": "s3cret"}
{"server": "edge", "app": "live", "name": "s3cret", "why": "spam", "for": "30d"}
"""
    told = mistakes(text)
    assert [line.split(":")[1] for line in told] == ["2", "4", "5", "6", "7", "8", "9"]
    assert "s3cret" not in "".join(told)


def test_csv_without_a_heading_or_with_open_quotes_is_refused() -> None:
    assert mistakes("edge,live,x\n", "csv")[0].startswith("b.txt:1: the heading lacks")
    assert "this is no CSV" in mistakes('server,app,name,why\nedge,live,x,"open\n', "csv")[0]


def test_ended_blocks_are_left_out_and_the_last_on_one_publisher_counts() -> None:
    line = '{"server": "edge", "app": "live", "name": "x", "until": "%s"}\n'
    text = line % "2026-11-23T11:00:00Z" + line % "2026-11-24T00:00:00Z" + line % "2026-11-25T00:00:00Z"
    (block,), ended = read(text, why="imported")
    assert (block.until, block.why, ended) == (datetime(2026, 11, 25, tzinfo=UTC), "imported", 1)
