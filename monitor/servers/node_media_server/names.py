"""Which names and session numbers Node-Media-Server has, and the address of a stream."""

from __future__ import annotations

import hashlib
import re

from monitor.errors import UnsafeCallRefused

# What it lets publish at all; anything else is hung up on.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
# Milliseconds since 1970 and eight random characters, in base 36.
_SESSION = re.compile(r"[0-9a-z]{12,32}")


def is_safe(name: str) -> bool:
    """Whether this is an application or stream name that Node-Media-Server accepts."""
    return _NAME.fullmatch(name) is not None


def is_session(session: str) -> bool:
    """Whether this can be a session's number."""
    return _SESSION.fullmatch(session) is not None


def stream_address(rtmp_url: str, app: str, name: str, *, secret: str | None, expires_at: int) -> str:
    """Return the RTMP address under which a stream is read.

    Args:
        rtmp_url: Base address.
        app: Its application.
        name: Its name.
        secret: The server's `auth.secret`, where it lets only signed addresses play.
        expires_at: Until when a signed address opens, in seconds since 1970.

    Raises:
        UnsafeCallRefused: a name is none that Node-Media-Server accepts.
    """
    if not (is_safe(app) and is_safe(name)):
        raise UnsafeCallRefused("the stream's name is none that Node-Media-Server accepts")
    address = f"{rtmp_url.rstrip('/')}/{app}/{name}"
    if secret is None:
        return address
    signed = f"/{app}/{name}-{expires_at}-{secret}".encode()
    digest = hashlib.md5(signed, usedforsecurity=False).hexdigest()  # their format
    return f"{address}?sign={expires_at}-{digest}"
