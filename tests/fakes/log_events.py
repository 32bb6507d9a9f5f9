"""Every log event of the package, read from its source; prints docs/logs.md when run: `python -m tests.fakes.log_events`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.checkout import ROOT

LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
LOGGERS = ("log", "_log")

HEAD = """# Log events

The daemon writes one line for each event to standard error, for people or, with `log.format: json`, for collectors. The key `event` holds one of the
names below; they are an interface: search and alert by them. `level`, `timestamp` (UTC) and `logger` are always there, the fields
named here mostly: `stream_id` and `incident_id` are those of the API, `watcher` is the number of a watcher process. What a level means: `error` wants
somebody's attention, `warning` may, `info` tells what happened.

No line holds a stream's name, an address, a token or a key: the one place through which all lines go takes out what looks like any, in lines of the
libraries, too (`monitor/logs.py`, `monitor/redact.py`). Libraries log under their own names, which are not listed here.

This page is written by `python -m tests.fakes.log_events > docs/logs.md`; a test compares it with the code.

| event | level | fields | logged by |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class LogCall:
    """One place that logs. `event` is None where it is no literal."""

    event: str | None
    level: str
    fields: frozenset[str]
    place: str
    line: int


def log_calls() -> Iterator[LogCall]:
    """Yield every call of a logger below `monitor`."""
    for path in sorted((ROOT / "monitor").rglob("*.py")):
        yield from _calls_in(path)


def _calls_in(path: Path) -> Iterator[LogCall]:
    place = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        logger = node.func.value
        if node.func.attr not in LEVELS or not (isinstance(logger, ast.Name) and logger.id in LOGGERS):
            continue
        first = node.args[0] if node.args else None
        event = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
        fields = frozenset(keyword.arg for keyword in node.keywords if keyword.arg is not None)
        yield LogCall(event, node.func.attr, fields, place, node.lineno)


def page() -> str:
    """Return docs/logs.md."""
    by_name: dict[str, list[LogCall]] = {}
    for call in log_calls():
        if call.event is not None:
            by_name.setdefault(call.event, []).append(call)
    rows = []
    for name, calls in sorted(by_name.items()):
        levels = " ".join(sorted({"error" if call.level == "exception" else call.level for call in calls}))
        fields = ", ".join(f"`{field}`" for field in sorted(set[str]().union(*(call.fields for call in calls))))
        places = ", ".join(sorted({call.place for call in calls}))
        rows.append(f"| `{name}` | {levels} | {fields} | {places} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    sys.stdout.write(page())
