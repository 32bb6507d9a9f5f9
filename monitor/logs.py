"""Logging for the whole process: structlog and the standard library through one pipe that takes secrets out."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Literal, TextIO

import structlog
from typing_extensions import override

from monitor.redact import ELLIPSIS, SECRET_NAME, redact_text

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_MULTI_LINE = frozenset({"exception", "stack"})
_QUIET = ("aiohttp.access", "alembic.runtime.migration", "sqlalchemy.engine", "asyncio", "aiosqlite")
"""Other people's loggers that say at `info` what is no news here (or would print request lines)."""


def configure_logging(
    level: Literal["debug", "info", "warning", "error"] = "info",
    format: Literal["console", "json"] = "console",  # noqa: A002 - the word of the configuration
    stream: TextIO | None = None,
) -> None:
    """Send every log line of this process to `stream` (standard error by default), redacted.

    May be called again; the last call counts. Times are ISO 8601 in UTC.
    """
    numeric = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=(stream or sys.stderr).isatty())
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # Tracebacks become text before redaction: exception messages quote URLs.
            structlog.processors.format_exc_info,
            redact_event,
            renderer,
        ],
    )
    handler = _RedactingHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [*(other for other in root.handlers if not isinstance(other, _RedactingHandler)), handler]
    root.setLevel(numeric)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(numeric, logging.WARNING))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        # Loggers are made at import, before this call and, in tests, between two: never freeze the first answer.
        cache_logger_on_first_use=False,
    )


class _RedactingHandler(logging.Handler):
    """Writes lines to a stream, or to what is standard error at that moment."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream

    @override
    def emit(self, record: logging.LogRecord) -> None:
        stream = self._stream or sys.stderr
        try:
            line = self.format(record)
        except Exception as failure:  # noqa: BLE001 - a record that cannot be formatted must not stop what logs it
            # The standard library would print the record's raw arguments here.
            line = f"a log record of {record.name} cannot be formatted: {type(failure).__name__}"
        # A closed or full standard error leaves nobody to tell.
        with contextlib.suppress(OSError, ValueError):
            stream.write(f"{line}\n")
            stream.flush()


def redact_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Processor: take secrets and control characters out of every value, however deep."""
    for name, value in event.items():
        event[name] = _clean(name, value)
    return event


def _clean(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if SECRET_NAME.search(name):
        return ELLIPSIS
    if isinstance(value, Mapping):
        return {_text("", str(key)): _clean(str(key), item) for key, item in value.items()}
    if isinstance(value, str):
        return _text(name, value)
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes | bytearray | memoryview):
        return [_clean("", item) for item in value]
    # Anything else would be printed by the renderer with its repr, behind our back.
    return _text(name, str(value))


def _text(name: str, text: str) -> str:
    text = redact_text(text)
    if name in _MULTI_LINE:
        return "\n".join(_escaped(line) for line in text.splitlines())
    return _escaped(text)


def _escaped(text: str) -> str:
    """Hostile text must not forge a line of its own or speak to the terminal."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)
