"""Names of log events are an interface: literal, uniform and documented."""

from __future__ import annotations

import re

from tests.fakes.checkout import ROOT
from tests.fakes.log_events import log_calls, page

EVENT = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+|[a-z]{4,}")
SECRET_FIELDS = {"url", "uri", "address", "name", "stream_name", "key", "token", "secret", "password", "query", "path"}

# The daemon's own address, and what the operator calls a token.
HARMLESS = {("web_listening", "url"), ("signed_in", "name")}


def test_every_event_has_a_name_that_never_changes() -> None:
    wrong = {(call.place, call.line) for call in log_calls() if call.event is None or not EVENT.fullmatch(call.event)}
    assert wrong == set()


def test_every_event_is_documented() -> None:
    # Where this fails: python -m tests.fakes.log_events > docs/logs.md
    assert (ROOT / "docs" / "logs.md").read_text(encoding="utf-8") == page()


def test_no_field_is_called_what_must_not_be_logged() -> None:
    named = {(call.event, field) for call in log_calls() for field in call.fields & SECRET_FIELDS}
    assert named == HARMLESS
