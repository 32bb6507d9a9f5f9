"""Takes secrets out of text before people, logs or files see it. What is doubtful is taken out too."""

from __future__ import annotations

import re
from typing import Final

ELLIPSIS: Final = "…"
"""Stands where something was taken out."""

# Every pattern runs in linear time on hostile text: no repetition that starts anew at each position has no bound.
_SCHEME: Final = r"[A-Za-z](?:[A-Za-z0-9+.-]|%2[bB]){0,40}"
_SEPARATOR: Final = r"(?::|%3[aA])(?:\\?/|%2[fF]){2}"
_URL: Final = re.compile(rf"{_SCHEME}{_SEPARATOR}\S*")
_START: Final = re.compile(rf"({_SCHEME}){_SEPARATOR}")
_PARTS: Final = re.compile(rf"(?P<scheme>{_SCHEME})://(?P<authority>[^/?#\\]*)(?P<rest>.*)", re.DOTALL)
_HOST_AND_PORT: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_CLOSING: Final = "\"'`)]}>,.;:!?"
"""Punctuation of the sentence around a URL or value."""

_TELLING_NAME: Final = (
    r"pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|signature|(?:api|stream|access|private|signing)[_-]?key"
)
_VALUE: Final = r"(?P<value>\"[^\"\n]*\"?|'[^'\n]*'?|\S+)"
_ASSIGNMENT: Final = re.compile(rf"(?P<name>(?:{_TELLING_NAME})s?[\"']?\s*[=:]\s*){_VALUE}", re.IGNORECASE)
# "key", "auth", "sig" and "playpath" are everyday words: only an equals sign makes them an assignment.
_WEAK_ASSIGNMENT: Final = re.compile(rf"(?P<name>(?:key|auth|sig|playpath)=){_VALUE}", re.IGNORECASE)
_AUTHORIZATION: Final = re.compile(r"(?P<name>\b(?:proxy-)?authorization[\"']?\s*[:=]\s*)[^\r\n]+", re.IGNORECASE)
_BEARER: Final = re.compile(r"\b(?P<name>bearer|basic)\s+\S{6,}", re.IGNORECASE)
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
        start = _START.match(text.strip())
        return f"{start[1]}://{ELLIPSIS}" if start else ELLIPSIS
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
    url = match[0].rstrip(_CLOSING)
    return redact_url(url) + match[0][len(url) :]


def _emptied(match: re.Match[str]) -> str:
    name, value = match["name"], match["value"]
    if value[0] in "\"'":
        return f"{name}{value[0]}{ELLIPSIS}{value[0]}"
    return f"{name}{ELLIPSIS}{value[len(value.rstrip(_CLOSING)) :]}"
