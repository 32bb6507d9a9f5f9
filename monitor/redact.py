"""Takes secrets out of text before people, logs or files see it. What is doubtful is taken out too."""

from __future__ import annotations

import re
from typing import Final

ELLIPSIS: Final = "…"
"""Stands where something was taken out."""

_URL: Final = re.compile(r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]*(?::|%3[aA])(?:\\?/|%2[fF]){2}\S*")
_PARTS: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#\\]*)(?P<rest>.*)", re.DOTALL)
_HOST_AND_PORT: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_CLOSING: Final = re.compile(r"[\"'`)\]}>,.;:!?]*$")

_TELLING_NAME: Final = (
    r"pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|signature|(?:api|stream|access|private|signing)[_-]?key"
)
_ASSIGNMENT: Final = re.compile(
    rf"(?P<name>[\w.-]*(?:{_TELLING_NAME})s?)(?P<sign>[\"']?\s*(?:=|:)\s*)(?P<value>\"[^\"\n]*\"?|'[^'\n]*'?|[^\s]+)",
    re.IGNORECASE,
)
# "key", "auth", "sig" and "playpath" are everyday words: only an equals sign makes them an assignment.
_WEAK_ASSIGNMENT: Final = re.compile(
    r"(?P<name>\b[\w.-]*(?:key|auth|sig|playpath))(?P<sign>=)(?P<value>\"[^\"\n]*\"?|'[^'\n]*'?|[^\s]+)", re.IGNORECASE
)
_AUTHORIZATION: Final = re.compile(r"(?P<name>\b(?:proxy-)?authorization[\"']?\s*[:=]\s*)[^\r\n]+", re.IGNORECASE)
_BEARER: Final = re.compile(r"\b(?P<name>bearer|basic)\s+(?=[^\s]{6})[^\s]+", re.IGNORECASE)
_SIGNING_SECRET: Final = re.compile(r"\b(?P<name>whsec|whsk)_[A-Za-z0-9+/=_-]*")

SECRET_NAME: Final = re.compile(rf"(?:^|[_.-])(?:{_TELLING_NAME}|authorization|cookie)s?$", re.IGNORECASE)
"""Names of fields whose whole value is secret."""


def redact_url(text: str) -> str:
    """Return ``scheme://host[:port]/…``; user, password, path, query and fragment are gone.

    A URL that can be read in two ways, such as one with ``/`` or ``#`` inside its password, loses its host too:
    nobody can tell where the password ends. Text that is no URL becomes ``…``.
    """
    match = _PARTS.fullmatch(text.strip())
    if match is None:
        start = re.match(r"[A-Za-z][A-Za-z0-9+.-]*(?=(?::|%3[aA])(?:\\?/|%2[fF]){2})", text.strip())
        return f"{start[0]}://{ELLIPSIS}" if start else ELLIPSIS
    scheme, authority, rest = match["scheme"], match["authority"], match["rest"]
    host = authority.rpartition("@")[2]
    if "@" in rest or "%40" in rest or _HOST_AND_PORT.fullmatch(host) is None:
        return f"{scheme}://{ELLIPSIS}"
    return f"{scheme}://{host}" if rest in ("", "/") else f"{scheme}://{host}/{ELLIPSIS}"


def redact_text(text: str) -> str:
    """Return free text with every URL shortened by `redact_url` and every recognisable secret replaced by ``…``.

    Recognised are bearer and basic credentials, ``Authorization`` headers, ``whsec_`` signing secrets and
    ``password=…``, ``token: …`` and the like. A URL is taken to end at white space.
    """
    text = _URL.sub(_shortened, text)
    text = _SIGNING_SECRET.sub(rf"\g<name>_{ELLIPSIS}", text)
    text = _AUTHORIZATION.sub(rf"\g<name>{ELLIPSIS}", text)
    text = _BEARER.sub(rf"\g<name> {ELLIPSIS}", text)
    text = _ASSIGNMENT.sub(_emptied, text)
    return _WEAK_ASSIGNMENT.sub(_emptied, text)


def _shortened(match: re.Match[str]) -> str:
    url = match[0]
    closing = _CLOSING.search(url)
    tail = closing[0] if closing else ""
    return redact_url(url[: len(url) - len(tail)]) + tail


def _emptied(match: re.Match[str]) -> str:
    value = match["value"]
    if value[0] in "\"'":
        return f"{match['name']}{match['sign']}{value[0]}{ELLIPSIS}{value[0]}"
    closing = _CLOSING.search(value)
    tail = closing[0] if closing else ""
    return f"{match['name']}{match['sign']}{ELLIPSIS}{tail}"
