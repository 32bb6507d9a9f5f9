"""Stream names as nginx-rtmp knows, lists and reports them.

nginx-rtmp's listing shows every byte of a name outside printable ASCII as a blank, while its publish hook carries the
true bytes. One spelling has to stand for both, or a block on a listed stream would not hold at the gate; only the
listed one is available everywhere, so that is the one.
"""

from __future__ import annotations

import re

from monitor.errors import UnsafeCallRefused

_SAFE = re.compile(r"[A-Za-z0-9._~-]{1,255}")
_SESSION = re.compile(r"[0-9]{1,20}")
_WATCHABLE = re.compile(r"[!->@-~]*")
# FFmpeg drops or rewrites these endings of an RTMP address and would open another stream.
_REWRITTEN_ENDINGS = (".flv", ".f4v", ".mp4")


def as_listed(name: bytes) -> str:
    """Return the name as the listing shows it: bytes outside printable ASCII become blanks, one each."""
    return bytes(byte if 0x20 <= byte < 0x7F else 0x20 for byte in name).decode("ascii")


def is_safe(name: str) -> bool:
    """Whether the name means itself in a query string that nginx-rtmp reads without decoding it."""
    return _SAFE.fullmatch(name) is not None


def is_session(session: str) -> bool:
    """Whether this is a connection number."""
    return _SESSION.fullmatch(session) is not None


def stream_address(base: str, app: str, name: str) -> str:
    """Return the RTMP address under which FFmpeg's reader asks for exactly this application and name.

    RTMP addresses know no percent-encoding, so a name either survives the reader's own way of splitting an address or
    cannot be pulled. Seen with FFmpeg 5.1 and 8: a slash moves the border between application and name unless a second
    slash marks it, an ending such as ``.flv`` is dropped unless a question mark follows, and a blank ends the name.

    Args:
        base: ``rtmp://host:port`` from the configuration.
        app: Application.
        name: Name as listed.

    Raises:
        UnsafeCallRefused: the address would lead to another stream or to none.
    """
    if not is_safe(app):
        raise UnsafeCallRefused("this application's name cannot be put into an RTMP address")
    if not _WATCHABLE.fullmatch(name):
        raise UnsafeCallRefused(
            "the stream's name holds a blank, a question mark or characters outside printable ASCII, "
            "which an RTMP address cannot carry"
        )
    border = "//" if "/" in name else "/"
    end = "?" if name.endswith(_REWRITTEN_ENDINGS) else ""
    return f"{base.rstrip('/')}/{app}{border}{name}{end}"
