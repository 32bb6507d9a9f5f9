"""What pydantic found wrong, in words that tell an operator what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from monitor.config.receivers import DEFAULT_KIND, RECEIVER_KINDS
from monitor.config.schema import keys_at, places_of
from monitor.config.server_plugins import plugin_kinds
from monitor.config.servers import BUILT_IN_SECTIONS
from monitor.yaml_source import Path

_PATTERNS: Final = (
    (r"^[a-z0-9][a-z0-9_-]", "use small letters, digits, - and _, starting with a letter or digit, at most 48"),
    (r"^https?://", "write an address that starts with http:// or https://"),
    (r"^http://", "write an address that starts with http://"),
    (r"^rtmps?://", "write an address that starts with rtmp:// or rtmps://"),
    (r"^(rtsps?|", "write an address that starts with rtsp://, rtmp:// or http:// (or rtsps, rtmps, https)"),
    (r"^(\[", "write address and port, such as 127.0.0.1:8930"),
    (r"^[A-Za-z_]", "write the name of an environment variable, not its value"),
)
_SECTION: Final = ("this is no section", "indent its settings below it, one `key: value` in a line")
_WRONG_TYPES: Final = {
    "model": _SECTION,
    "dict": _SECTION,
    "tuple": ("this is no list", "start each entry with a dash"),
    "string": ("this is no text", "put it in quotes"),
    "int": ("this is no whole number", "write digits, such as 3"),
    "float": ("this is no number", "write digits, such as 0.5"),
    "bool": ("this is neither true nor false", "write one of them"),
    "path": ("this is no path", "write one, or remove the line"),
}


def explain(failure: ValidationError, data: Any) -> Iterator[tuple[Path, str, str]]:
    """Yield path, what and mend for each mistake. Values of the settings are never quoted."""
    mistakes = failure.errors(include_url=False, include_input=False)
    for mistake in mistakes:
        location = mistake["loc"]
        # pydantic counts valid entries only, and calls a list empty whose every entry has a mistake of its own.
        inside = any(
            len(other["loc"]) > len(location) and other["loc"][: len(location)] == location for other in mistakes
        )
        if not (mistake["type"] == "too_short" and inside):
            yield _explain(mistake, _plain_path(location, data), data)


def _explain(mistake: ErrorDetails, path: Path, data: Any) -> tuple[Path, str, str]:
    kind, context = mistake["type"], mistake.get("ctx", {})
    family = kind.partition("_")[0]
    if special := _SPECIAL.get(kind):
        return special(path, data, context)
    if context.get("class_name") == "Secret":
        return path, "a secret never stands in this file", "name where it is found: {env: NAME} or {file: path}"
    if kind.endswith(("_type", "_parsing", "_from_float")) and family in _WRONG_TYPES:
        return path, *_WRONG_TYPES[family]
    return path, "this value does not fit", mistake["msg"].replace("Input", "it")


def _unknown_key(path: Path, data: Any, _context: Mapping[str, Any]) -> tuple[Path, str, str]:
    known = keys_at(path[:-1], data)
    key = str(path[-1])
    if near := difflib.get_close_matches(key, known, n=1):
        mend = f"did you mean {near[0]}?"
    elif elsewhere := [f"{section}.{key}" for section in places_of(key)]:
        mend = f"did you mean {' or '.join(elsewhere)}?"
    else:
        mend = f"known here: {', '.join(known)}"
    return path, "there is no such setting", mend


def _missing(path: Path, data: Any, _context: Mapping[str, Any]) -> tuple[Path, str, str]:
    field = keys_at(path[:-1], data).get(str(path[-1]), {})
    purpose = str(field.get("description", "")).partition(". ")[0].rstrip(".")
    return path, "this is missing", f"add it ({purpose[:1].lower()}{purpose[1:]})" if purpose else "add it"


def _no_kind(path: Path, _data: Any, _context: Mapping[str, Any]) -> tuple[Path, str, str]:
    return (*path, "kind"), "this is missing", "add it (which adapter, such as nginx_rtmp)"


def _unknown_kind(path: Path, data: Any, _context: Mapping[str, Any]) -> tuple[Path, str, str]:
    given = _value_at(path, data).get("kind")
    kinds, of_what = (RECEIVER_KINDS, "receiver") if path[:1] == ("alerts",) else (_kinds(), "server")
    near = difflib.get_close_matches(given, kinds, n=1) if isinstance(given, str) else []
    mend = f"did you mean {near[0]}?" if near else f"use one of {', '.join(kinds)}"
    return (*path, "kind"), f"there is no such kind of {of_what}", mend


def _kinds() -> tuple[str, ...]:
    return tuple(dict.fromkeys((*BUILT_IN_SECTIONS, *plugin_kinds())))


def _pattern(path: Path, _data: Any, context: Mapping[str, Any]) -> tuple[Path, str, str]:
    pattern = str(context.get("pattern", ""))
    mend = next((words for beginning, words in _PATTERNS if pattern.startswith(beginning)), "")
    return path, "this is written in a way that is not understood", mend


def _literal(path: Path, _data: Any, context: Mapping[str, Any]) -> tuple[Path, str, str]:
    return path, "there is no such choice", f"use {str(context.get('expected', '')).replace(chr(39), '')}"


def _own_words(path: Path, _data: Any, context: Mapping[str, Any]) -> tuple[Path, str, str]:
    return path, *_halves(str(context["error"]))


def _too_short(path: Path, _data: Any, context: Mapping[str, Any]) -> tuple[Path, str, str]:
    return path, "the list is empty", f"write at least {context.get('min_length', 1)} entry"


def _empty_text(path: Path, _data: Any, _context: Mapping[str, Any]) -> tuple[Path, str, str]:
    return path, "this is empty", "write something, or remove the line"


_Explainer = Callable[[Path, Any, Mapping[str, Any]], tuple[Path, str, str]]
_SPECIAL: Final[Mapping[str, _Explainer]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "union_tag_not_found": _no_kind,
    "union_tag_invalid": _unknown_kind,
    "string_pattern_mismatch": _pattern,
    "literal_error": _literal,
    "value_error": _own_words,
    "too_short": _too_short,
    "string_too_short": _empty_text,
}


def _halves(message: str) -> tuple[str, str]:
    what, _, mend = message.partition(": ")
    return what, mend


def _plain_path(location: Sequence[int | str], data: Any) -> Path:
    """Leave out what pydantic adds to a location: the chosen ``kind`` of a server's or receiver's entry."""
    path: Path = ()
    for index, part in enumerate(location):
        of_server = index == 2 and location[0] == "servers" and isinstance(location[1], int)
        of_receiver = index == 3 and tuple(location[:2]) == ("alerts", "receivers") and isinstance(location[2], int)
        kind = _value_at(path, data).get("kind", DEFAULT_KIND if of_receiver else None)
        if not ((of_server or of_receiver) and kind == part):
            path = (*path, part)
    return path


def _value_at(path: Path, data: Any) -> Mapping[str, Any]:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return {}
    return data if isinstance(data, Mapping) else {}
