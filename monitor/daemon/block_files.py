"""Files of blocks: one JSON object a line, or CSV with a heading; read with every mistake told by its line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, Literal

from monitor.errors import Problem, ProblemsError
from monitor.vocabulary import StreamRef
from monitor.web.enforcement_values import NewBlock

Format = Literal["ndjson", "csv"]

FIELDS: Final = ("server", "app", "name", "until", "why", "since", "by")
"""What an exported block says; `since` and `by` are not read back."""

MAX_NAME_CHARACTERS: Final = 500
MIN_WHY_CHARACTERS: Final = 3
MAX_WHY_CHARACTERS: Final = 2000
_MOST_PROBLEMS: Final = 100


def write_blocks(rows: Iterable[Mapping[str, Any]], form: Format) -> Iterator[str]:
    """Yield the lines of a file, each with its end; `rows` hold `FIELDS` as text or None."""
    if form == "ndjson":
        for row in rows:
            yield json.dumps({name: row.get(name) for name in FIELDS}, ensure_ascii=True) + "\n"
        return
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: row.get(name) or "" for name in FIELDS})
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def read_blocks(
    lines: Iterable[str], form: Format, *, file: str, servers: Collection[str], why: str | None, now: datetime
) -> tuple[list[NewBlock], int]:
    """Read a file of blocks.

    Args:
        lines: The file's lines.
        form: How they are written.
        file: Its name, for messages.
        servers: Configured media servers.
        why: The reason of blocks that give none; None asks each for its own.
        now: Blocks that ended before are left out.

    Returns:
        The blocks, of several on one publisher the last; and how many were left out because they have ended.

    Raises:
        ProblemsError: with every mistake, up to a hundred; nothing is worth importing then. No name is quoted.
    """
    found: dict[StreamRef, NewBlock] = {}
    problems: list[Problem] = []
    ended = 0
    for number, row in _rows(lines, form, file):
        try:
            block = _block(row, servers, why)
        except _Mistake as mistake:
            problems.append(Problem(file, mistake.field, mistake.what, mistake.mend, number))
            if len(problems) >= _MOST_PROBLEMS:
                break
            continue
        if block.until is not None and block.until <= now:
            ended += 1
        else:
            found[block.ref] = block
    if problems:
        raise ProblemsError(problems)
    return list(found.values()), ended


class _Mistake(Exception):
    def __init__(self, field: str, what: str, mend: str) -> None:
        super().__init__(what)
        self.field, self.what, self.mend = field, what, mend


def _rows(lines: Iterable[str], form: Format, file: str) -> Iterator[tuple[int, object]]:
    if form == "csv":
        reader = csv.DictReader(lines, strict=True)
        missing = {"server", "app", "name"} - set(reader.fieldnames or ())
        if missing:
            what = f"the heading lacks {', '.join(sorted(missing))}"
            raise ProblemsError([Problem(file, "", what, f"begin with {','.join(FIELDS)}", 1)])
        while True:
            try:
                row = next(reader, None)
            except csv.Error:
                mend = "close its quotes, and write quotes inside as two"
                raise ProblemsError([Problem(file, "", "this is no CSV", mend, reader.line_num)]) from None
            if row is None:
                return
            yield reader.line_num, {key: value or None for key, value in row.items()} | {"app": row.get("app") or ""}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError:
                yield number, None


def _block(row: object, servers: Collection[str], why: str | None) -> NewBlock:
    if not isinstance(row, dict):
        raise _Mistake("", "this is no JSON object", 'write {"server": …, "app": …, "name": …, "why": …}')
    unknown = sorted(str(key) for key in row if key not in FIELDS)
    if unknown:
        raise _Mistake("", "there is a field too many", f"known are {', '.join(FIELDS)}")
    server = row.get("server")
    if server not in servers:
        raise _Mistake("server", "no media server of this name is configured", f"use one of {', '.join(servers)}")
    app, name = _text(row, "app", least=0), _text(row, "name", least=1)
    reason = row.get("why") or why
    if not isinstance(reason, str) or not MIN_WHY_CHARACTERS <= len(reason.strip()) <= MAX_WHY_CHARACTERS:
        mend = f"write {MIN_WHY_CHARACTERS} to {MAX_WHY_CHARACTERS} characters, or give --why for all"
        raise _Mistake("why", "there is no reason", mend)
    return NewBlock(StreamRef(str(server), app, name), _until(row.get("until")), reason.strip())


def _text(row: Mapping[str, Any], field: str, *, least: int) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not least <= len(value) <= MAX_NAME_CHARACTERS or not value.isprintable():
        raise _Mistake(field, "this is no name", f"write {least} to {MAX_NAME_CHARACTERS} printable characters")
    return value


def _until(value: object) -> datetime | None:
    if value is None:
        return None
    mend = "write a time with its zone, such as 2026-12-23T12:00:00Z, or leave it out for ever"
    try:
        until = datetime.fromisoformat(str(value))
    except ValueError:
        raise _Mistake("until", "this is no time", mend) from None
    if until.tzinfo is None:
        raise _Mistake("until", "this time has no zone", mend)
    return until
