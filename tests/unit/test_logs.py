from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from monitor.logs import configure_logging

CANARY = "c4n4ry"
URL = f"rtmp://user:{CANARY}@10.0.0.9/live/{CANARY}"


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@dataclass
class Camera:
    url: str


def log_everything_that_could_leak() -> None:
    log = structlog.get_logger("test")
    log.info("opened", url=URL, token=CANARY, gate_token=CANARY, cookie=CANARY)
    log.info("nested", inner={"password": CANARY, "list": [URL, {"secret": CANARY}], URL: 1}, pair=("a", URL))
    log.info("objects", camera=Camera(URL), secret=SecretStr(CANARY), path=Path(f"x token={CANARY}"), raw=URL.encode())
    log.bind(url=URL).warning(f"event with {URL}")
    log.info("positional %s", URL)
    try:
        try:
            raise ValueError(URL)  # noqa: TRY301 - the traceback is what is tested
        except ValueError as cause:
            message = f"Authorization: Bearer {CANARY}"
            raise OSError(message) from cause
    except OSError as failure:
        log.exception("failed")
        log.error("failed", error=failure)  # noqa: TRY400 - the exception as a value
        logging.getLogger("aiohttp.server").exception("Error handling request from %s", URL)
    logging.getLogger("sqlalchemy.pool").error("connect(%r)", {"url": URL})
    logging.getLogger("elsewhere").warning("extra", extra={"url": URL, "api_key": CANARY})
    structlog.contextvars.bind_contextvars(url=URL)
    log.info("context")
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize("style", ["console", "json"])
def test_no_secret_reaches_the_stream(style: Any, stream: io.StringIO) -> None:
    configure_logging("debug", style, stream)
    log_everything_that_could_leak()
    written = stream.getvalue()
    assert CANARY not in written
    assert written.count("10.0.0.9") > 10


def test_json_lines_have_utc_times_levels_and_loggers(stream: io.StringIO) -> None:
    configure_logging("info", "json", stream)
    structlog.get_logger("monitor.x").warning("stream_late", stream_id="demo-1", age_s=3.5, blind=False, why=None)
    logging.getLogger("foreign").error("oops %d", 5)
    ours, foreign = lines(stream)
    assert abs(datetime.fromisoformat(ours.pop("timestamp")) - datetime.now(UTC)).total_seconds() < 60
    assert ours == {
        "event": "stream_late", "level": "warning", "logger": "monitor.x",
        "stream_id": "demo-1", "age_s": 3.5, "blind": False, "why": None,
    }  # fmt: skip
    assert (foreign["event"], foreign["level"], foreign["logger"]) == ("oops 5", "error", "foreign")
    assert foreign["timestamp"].endswith("Z")


def test_levels_hold_for_both_kinds_of_logger(stream: io.StringIO) -> None:
    configure_logging("warning", "json", stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("foreign").info("quiet")
    assert stream.getvalue() == ""


def test_request_lines_of_aiohttp_are_not_written(stream: io.StringIO) -> None:
    configure_logging("info", "json", stream)
    logging.getLogger("aiohttp.access").info("GET /live/name HTTP/1.1")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("style", ["console", "json"])
def test_hostile_text_forges_no_line_and_reaches_no_terminal(style: Any, stream: io.StringIO) -> None:
    configure_logging("info", style, stream)
    hostile = "x\n2026-01-01 [info] forged\r\x1b[2J\x9b31m\u2028y"
    structlog.get_logger().info("named", name=hostile, inner={hostile: [hostile]})
    logging.getLogger("foreign").warning("event %s", hostile)
    written = stream.getvalue()
    assert written.count("\n") == 2
    assert not set(written) & set("\r\x1b\x9b\u2028")


def test_tracebacks_keep_their_lines_on_the_console(stream: io.StringIO) -> None:
    configure_logging("info", "console", stream)
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        structlog.get_logger().exception("failed")
    assert "Traceback (most recent call last):\n" in stream.getvalue()
    assert stream.getvalue().rstrip().endswith("ZeroDivisionError: integer division or modulo by zero")


def test_a_second_call_takes_over(stream: io.StringIO) -> None:
    log = structlog.get_logger("early")
    first = io.StringIO()
    configure_logging("info", "json", first)
    log.info("one")
    configure_logging("error", "json", stream)
    log.info("two")
    log.error("three")
    assert [line["event"] for line in lines(first)] == ["one"]
    assert [line["event"] for line in lines(stream)] == ["three"]


def test_warnings_become_log_lines(stream: io.StringIO) -> None:
    configure_logging("info", "json", stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn(f"careful with {URL}", UserWarning, stacklevel=1)
    assert CANARY not in stream.getvalue()
    assert lines(stream)[0]["logger"] == "py.warnings"


def test_a_record_that_cannot_be_formatted_costs_nothing_and_shows_nothing(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger().handlers.clear()  # pytest's own would raise
    configure_logging("info", "json", stream)
    logging.getLogger("foreign").warning("%d bytes", URL)
    assert stream.getvalue() == "a log record of foreign cannot be formatted: TypeError\n"
    assert capsys.readouterr() == ("", "")


def test_a_closed_stream_stops_nobody(stream: io.StringIO) -> None:
    configure_logging("info", "json", stream)
    stream.close()
    structlog.get_logger().warning("unheard")
    assert stream.closed


def test_other_handlers_stay(stream: io.StringIO, caplog: pytest.LogCaptureFixture) -> None:
    configure_logging("info", "json", stream)
    configure_logging("info", "json", stream)
    logging.getLogger("foreign").warning("heard twice")
    assert len(lines(stream)) == 1
    assert [record.name for record in caplog.records] == ["foreign"]


def test_standard_error_is_looked_up_when_it_is_written_to(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    structlog.get_logger().warning("here")
    assert json.loads(capsys.readouterr().err)["event"] == "here"
