"""Reading the JSON that media servers send.

Publishers' own words stand in it: names, addresses, arguments. None of them may make the rest unreadable, and one name
has to read the same wherever it stands, in a listing and at the publish gate.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

from monitor.errors import MediaServerRefused
from monitor.servers.control import Answer

_T = TypeVar("_T")


def read_json(document: bytes) -> Any:
    """Return what a document says; bytes that are no UTF-8 become U+FFFD.

    Raises:
        ValueError: it is no JSON, is nested too deeply, or says one thing twice in one place. The message quotes nothing.
    """
    text = document.decode("utf-8", "replace")
    try:
        # Not strict: some servers put control characters into their strings as they are.
        return json.loads(text, strict=False, object_pairs_hook=_said_once)
    except (ValueError, RecursionError):
        message = "this is no JSON document"
        raise ValueError(message) from None


def read_answer(answer: Answer, shape: type[_T]) -> _T:
    """Return a control interface's answer in the shape that is meant.

    Raises:
        MediaServerRefused: a status other than 200 (`reason` ``unauthorized`` for 401 and 403, else ``bad_status``), or
            another shape (``not_a_listing``).
    """
    if answer.status in {401, 403}:
        raise MediaServerRefused(
            f"the control interface answers with status {answer.status}: check its credentials", reason="unauthorized"
        )
    if answer.status != 200:
        raise MediaServerRefused(f"the control interface answers with status {answer.status}", reason="bad_status")
    try:
        return msgspec.convert(read_json(answer.body), shape)
    except (ValueError, msgspec.ValidationError):
        raise MediaServerRefused(
            "the control interface answers, but not as this media server does", reason="not_a_listing"
        ) from None


def as_text(name: str) -> str:
    """Return a name with halves of surrogate pairs replaced by U+FFFD, so that it can be stored and encoded."""
    return name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _said_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    said = dict(pairs)
    if len(said) != len(pairs):
        message = "one key twice"
        raise ValueError(message)
    return said
