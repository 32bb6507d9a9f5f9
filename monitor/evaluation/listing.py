"""The list of labelled clips: a CSV file with a row per clip."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monitor.errors import Problem, ProblemsError

COLUMNS: Final = ("path", "label", "dataset")
"""Those that must be there. ``group`` may; others are not looked at."""

LABELS: Final = {"violence": True, "normal": False}

_EXAMPLE: Final = "path,label,dataset,group,licence"


@dataclass(frozen=True, slots=True)
class ClipRow:
    """One clip as it is listed.

    Attributes:
        line: Where, counted from 1.
        path: As written.
        file: Where it lies.
        violent: The label.
        group: Clips of one source share it; one of its own where the list names none.
        grouped: Whether the list names one.
    """

    line: int
    path: str
    file: Path
    violent: bool
    dataset: str
    group: str
    grouped: bool


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that could not be evaluated.

    Attributes:
        line: Where it stands in the list, counted from 1.
        path, dataset: As written; empty where missing.
        reason: A static snake_case word.
        what: The same in a sentence.
    """

    line: int
    path: str
    dataset: str
    reason: str
    what: str


def read_listing(listing: Path, root: Path | None = None) -> tuple[list[ClipRow], list[Skipped]]:
    """Read a list of clips.

    Args:
        listing: The CSV file, UTF-8, with a heading.
        root: What its paths are relative to; the list's own folder by default.

    Returns:
        The rows that can be tried, and those that cannot: without path, with an unknown label, or with a path that a row
        before has. Whether files exist is not looked at.

    Raises:
        ProblemsError: the file cannot be read, is no CSV, lists nothing, or a column is missing.
    """
    rows, skipped = [], []
    seen: dict[str, int] = {}
    base = (listing.parent if root is None else root).absolute()
    for line, cells in _cells(listing):
        path, label, dataset, group = (cells.get(name, "") for name in (*COLUMNS, "group"))
        if not path:
            skipped.append(Skipped(line, path, dataset, "no_path", "the row names no file"))
        elif label.lower() not in LABELS:
            what = f"the label is {label!r}, neither violence nor normal"
            skipped.append(Skipped(line, path, dataset, "unknown_label", what))
        elif not dataset:
            skipped.append(Skipped(line, path, dataset, "no_dataset", "the row names no dataset"))
        elif path in seen:
            what = f"line {seen[path]} lists the same file"
            skipped.append(Skipped(line, path, dataset, "listed_twice", what))
        else:
            seen[path] = line
            # A path holds no NUL, so this can be the name of no other group.
            own = f"\0{path}"
            rows.append(
                ClipRow(line, path, base / path, LABELS[label.lower()], dataset, group or own, grouped=bool(group))
            )
    if not rows and not skipped:
        raise _problem(listing, None, "", "the list has no rows", "write one row per clip under the heading")
    return rows, skipped


def _cells(listing: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row's line number and its cells by column, without blanks around them; empty rows are left out."""
    try:
        text = listing.read_text(encoding="utf-8-sig")
    except OSError as error:
        what = f"the list cannot be read ({error.strerror or type(error).__name__})"
        raise _problem(listing, None, "", what, "name a CSV file") from None
    except UnicodeDecodeError:
        raise _problem(listing, None, "", "the list is not UTF-8 text", "save it as CSV in UTF-8") from None
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    heading: Sequence[str] | None = None
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if not any(stripped):
                continue
            if heading is None:
                heading = stripped
                _check_heading(listing, reader.line_num, heading)
            else:
                yield reader.line_num, dict(zip(heading, stripped, strict=False))
    except csv.Error as error:
        raise _problem(
            listing, reader.line_num, "", f"this is no CSV: {error}", "mend the quotes of this row"
        ) from None
    if heading is None:
        raise _problem(listing, 1, "", "the list is empty", f"begin with the heading {_EXAMPLE}")


def _check_heading(listing: Path, line: int, heading: Sequence[str]) -> None:
    problems = [
        Problem(str(listing), name, "the list has no such column", f"begin with the heading {_EXAMPLE}", line)
        for name in COLUMNS
        if name not in heading
    ]
    problems += [
        Problem(str(listing), name, "the list has this column twice", "keep one of them", line)
        for name in (*COLUMNS, "group")
        if list(heading).count(name) > 1
    ]
    if problems:
        raise ProblemsError(problems)


def _problem(listing: Path, line: int | None, where: str, what: str, mend: str) -> ProblemsError:
    return ProblemsError([Problem(str(listing), where, what, mend, line)])
