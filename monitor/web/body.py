"""Reads request bodies: bounded in size and time, and turned into typed values."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from aiohttp.web_exceptions import HTTPException

from monitor.web.refusals import Refusal, RequestRefused

BODY_DEADLINE_S = 10.0
"""A body of at most 64 KiB from a honest client takes milliseconds; a trickling one is cut off after this."""

MAX_FORM_FIELDS = 20

_Value = TypeVar("_Value")
_FIELD = re.compile(r"at `\$\.([A-Za-z0-9_]+)|field `([^`]{1,80})`")


async def read_body(request: web.Request, max_bytes: int, deadline_s: float = BODY_DEADLINE_S) -> bytes:
    """Return the whole body.

    A body whose announced or actual length is over `max_bytes` is refused before more than that was kept in memory.

    Raises:
        RequestRefused: too large, too slow, compressed, or broken off.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RequestRefused(Refusal.UNSUPPORTED_MEDIA_TYPE, "compressed bodies are not read: send it plain")
    if request.content_length is not None and request.content_length > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(deadline_s):
            async for chunk in request.content.iter_any():
                if len(body) + len(chunk) > max_bytes:
                    raise _too_large(max_bytes)
                body += chunk
    except TimeoutError:
        raise RequestRefused(Refusal.BODY_TIMEOUT, f"the body took longer than {deadline_s:g} s") from None
    except (web.RequestPayloadError, HTTPException, ConnectionError):
        # Broken off included: that somebody hung up is no failure of ours.
        raise RequestRefused(Refusal.BAD_FORM, "the body is broken") from None
    return bytes(body)


def _too_large(max_bytes: int) -> RequestRefused:
    return RequestRefused(Refusal.BODY_TOO_LARGE, f"the body is larger than {max_bytes} bytes: send less")


def decode_json(body: bytes, decoder: msgspec.json.Decoder[_Value], mends: Mapping[str, str]) -> _Value:
    """Decode a JSON body strictly: unknown fields, NaN, broken UTF-8 and trailing bytes are refused.

    Of duplicate keys the last counts.

    Args:
        body: The body.
        decoder: For a struct that forbids unknown fields.
        mends: For each field, what to write instead.

    Raises:
        RequestRefused: with the field at fault, where there is one.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        match = _FIELD.search(str(error))
        field = None if match is None else match[1] or match[2]
        problem = str(error).partition(" - at ")[0][:200]
        mend = mends.get(field or "", "known fields: " + ", ".join(mends))
        raise RequestRefused(Refusal.INVALID_FIELD, f"{problem}: {mend}", field=field) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestRefused(Refusal.BAD_JSON, "the body is no JSON: send one object, UTF-8, no NaN") from None


def require_json(request: web.Request) -> None:
    """Refuse any other content type; a page of another site cannot send this one without asking first."""
    if request.content_type != "application/json":
        raise RequestRefused(Refusal.UNSUPPORTED_MEDIA_TYPE, "send the body as application/json")


def decode_form(request: web.Request, body: bytes) -> dict[str, str]:
    """Return the fields of an urlencoded form; of duplicates the first counts.

    Raises:
        RequestRefused: another content type, too many fields, broken UTF-8.
    """
    if request.content_type != "application/x-www-form-urlencoded":
        raise RequestRefused(Refusal.UNSUPPORTED_MEDIA_TYPE, "send the form as application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        raise RequestRefused(Refusal.BAD_FORM, "the form cannot be read") from None
    fields: dict[str, str] = {}
    for key, value in pairs:
        fields.setdefault(key, value)
    return fields


def clean_text(text: str, *, field: str, min_characters: int, max_characters: int, mend: str) -> str:
    """Return a person's words: trimmed, line breaks unified.

    Raises:
        RequestRefused: too short, too long, or with control characters.
    """
    text = text.replace("\r\n", "\n").strip()
    if not min_characters <= len(text) <= max_characters:
        what = "is empty" if not text else f"has {len(text)} characters"
        raise RequestRefused(Refusal.INVALID_FIELD, f"{field} {what}: {mend}", field=field)
    if any((ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in text):
        raise RequestRefused(Refusal.INVALID_FIELD, f"{field} holds control characters: leave them out", field=field)
    return text
