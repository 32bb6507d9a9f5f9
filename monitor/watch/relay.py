"""A watcher's standard error, told again in the daemon's own log."""

from __future__ import annotations

import asyncio
import re
import time

import msgspec
import structlog

log = structlog.get_logger()

_MOST_LINES_PER_S = 50
_MOST_FIELDS = 16
_MOST_CHARACTERS = 300
_EVENT = re.compile(r"[a-z][a-z0-9_]{0,63}")
_OWN_FIELDS = frozenset({"event", "level", "timestamp", "logger"})
_LEVELS = frozenset({"debug", "info", "warning", "error"})
# What `faulthandler` writes when a library crashes; it names functions and files of ours, never data.
_CRASH = re.compile(
    r"(Fatal Python error: [\w ]+|(Stack|(Current t|T)hread 0x[0-9a-f]+) \(most recent call first\):|"
    r'  File "[^"]{1,200}", line \d+ in \w+)'
)


async def relay_log(reader: asyncio.StreamReader, watcher: int) -> None:
    """Read lines until the end and log them again, whatever they are.

    The process behind them decodes hostile video: only lines that look like our own are repeated, field by field;
    of all others, and of those beyond 50 a second, only the number is told.
    """
    lost = 0
    second, lines = 0, 0
    while True:
        try:
            line = await reader.readline()
        except ValueError:  # longer than the reader's limit; asyncio has thrown it away
            lost += 1
            continue
        if not line:
            break
        now = int(time.monotonic())
        second, lines = (second, lines + 1) if now == second else (now, 1)
        if lines > _MOST_LINES_PER_S:
            lost += 1
            # A flood must not keep the event loop to itself.
            await asyncio.sleep(0)
        elif not _relayed(line, watcher):
            lost += 1
    if lost:
        log.warning("watcher_log_lines_withheld", watcher=watcher, lines=lost)


def _relayed(line: bytes, watcher: int) -> bool:
    text = line.decode("utf-8", "replace").rstrip()
    if _CRASH.fullmatch(text):
        log.error("watcher_crash_trace", watcher=watcher, line=text[:_MOST_CHARACTERS])
        return True
    try:
        fields = msgspec.json.decode(line, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    event, level = fields.get("event"), fields.get("level")
    if not isinstance(event, str) or not _EVENT.fullmatch(event):
        return False
    if not isinstance(level, str) or level not in _LEVELS:
        return False
    told = {
        f"watcher_{name}" if name in {"watcher", "exc_info", "stack_info"} else name: _bounded(value)
        for name, value in list(fields.items())[:_MOST_FIELDS]
        if name not in _OWN_FIELDS and _EVENT.fullmatch(name)
    }
    getattr(log, level)(event, watcher=watcher, **told)
    return True


def _bounded(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)[:_MOST_CHARACTERS]
