"""Scores that were kept: by `livecordon watch --json`, as a table, or in an incident's evidence package."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from monitor.errors import Problem, ProblemsError
from monitor.evaluation.scoring import Track, Window
from monitor.vocabulary import Posture

SUFFIXES: Final = frozenset({".csv", ".json", ".jsonl", ".ndjson"})
_SCORES: Final = "scores.json"
_TIMES: Final = ("t", "end_s", "time_s")
_STARTS: Final = ("start", "start_s")


def is_recorded(source: str) -> bool:
    """Whether this names scores, not video: a folder of evidence, or a file that ends as scores do."""
    path = Path(source)
    return path.suffix.lower() in SUFFIXES or (path / _SCORES).is_file()


def read_scores(path: Path) -> Track:
    """Read recorded scores; the track has them in the posture ``calm``, as nobody noted in which they were taken.

    Args:
        path: JSON lines of ``livecordon watch --json`` (of one source), an evidence package or its ``scores.json``, or a CSV
            file with a column ``t`` (seconds; the end of each clip), perhaps ``start``, and one column per label.

    Raises:
        ProblemsError: it cannot be read, holds no scores, or one that is none; with its line.
    """
    file = path / _SCORES if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        _refuse(file, None, f"the file cannot be read ({type(error).__name__})", "name scores, or a video")
    if file.suffix.lower() == ".csv":
        windows = list(_of_table(file, text))
        length_s = 0.0
    elif text.lstrip().startswith("["):
        windows = list(_of_package(file, text))
        length_s = 0.0
    else:
        windows, length_s = _of_lines(file, text)
    if not windows:
        _refuse(file, None, "there is not one score in it", "write scores by livecordon watch --json")
    labels = set(windows[0].scores)
    for number, window in enumerate(windows, 1):
        if set(window.scores) != labels:
            _refuse(file, None, f"score {number} has other labels than the first", "use scores of one model")
    windows.sort(key=lambda window: window.end_s)
    # Time begins with the stream; that of a package is in the middle of one.
    began_s = min(0.0, windows[0].start_s) if windows[0].start_s < _LONG_S else windows[0].start_s
    moved = tuple(Window(window.start_s - began_s, window.end_s - began_s, window.scores) for window in windows)
    return Track(max(length_s - began_s, moved[-1].end_s), {Posture.CALM: moved})


_LONG_S: Final = 600.0
"""Scores that begin later than this are taken to be from the middle of a stream."""


def _of_table(file: Path, text: str) -> Iterator[Window]:
    rows = csv.DictReader(text.splitlines())
    names = [name for name in rows.fieldnames or () if name]
    time = next((name for name in _TIMES if name in names), None)
    start = next((name for name in _STARTS if name in names), None)
    labels = [name for name in names if name not in (*_TIMES, *_STARTS)]
    if time is None or not labels:
        _refuse(file, 1, "there is no column t, or none for a label", "begin with: t,violence")
    for row in rows:
        yield _window(file, rows.line_num, row[start] if start else row[time], row[time], {x: row[x] for x in labels})


def _of_package(file: Path, text: str) -> Iterator[Window]:
    try:
        rows = json.loads(text)
    except ValueError:
        _refuse(file, None, "this is no JSON", "name scores.json of an evidence package")
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("scores"), dict):
            _refuse(file, None, "this holds something else than scores", "name scores.json of an evidence package")
        yield _window(file, None, row.get("start_s"), row.get("end_s"), row["scores"])


def _of_lines(file: Path, text: str) -> tuple[list[Window], float]:
    windows: list[Window] = []
    length_s = 0.0
    ended = False
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            _refuse(file, number, "this is no JSON object", "write it by livecordon watch --json")
        match record.get("type", "score"):
            case "score":
                if ended:
                    _refuse(file, number, "here begins a second source", "keep one source in a file")
                scores = record.get("scores")
                if not isinstance(scores, dict) or not scores:
                    _refuse(file, number, "this score has no scores by label", "write it by livecordon watch --json")
                at = record.get("t", record.get("end_s"))
                windows.append(_window(file, number, record.get("start", record.get("start_s", at)), at, scores))
            case "summary":
                ended = True
                length_s = float(record.get("duration_s", 0.0))
            case _:
                continue
    return windows, length_s


def _window(file: Path, line: int | None, start: Any, end: Any, scores: Mapping[str, Any]) -> Window:
    try:
        values = {label: float(score) for label, score in scores.items()}
        start_s, end_s = float(start), float(end)
    except (TypeError, ValueError):
        _refuse(file, line, "a time or a score is no number", "write seconds, and scores from 0 to 1")
    if not all(0 <= score <= 1 for score in values.values()) or not (math.isfinite(start_s) and math.isfinite(end_s)):
        _refuse(file, line, "a score lies outside of 0 to 1, or a time is endless", "write scores from 0 to 1")
    return Window(start_s, end_s, values)


def _refuse(file: Path, line: int | None, what: str, mend: str) -> NoReturn:
    raise ProblemsError([Problem(str(file), "", what, mend, line)])
