"""Stream names as OvenMediaEngine's addresses carry them."""

from __future__ import annotations

import re
from urllib.parse import quote

from monitor.errors import UnsafeCallRefused

DEFAULT_VHOST = "default"

_PLAIN = re.compile(r"[A-Za-z0-9._~@=,-]{1,255}")
_MEANS_MORE = frozenset("/\\%?#")
_LONGEST_NAME = 1024


def segment(name: str) -> str:
    """Return a name as one segment of a control address.

    Raises:
        UnsafeCallRefused: it is empty, a dot or two, or holds what could be read as another name: the call might hit more
            than one stream, or another one.
    """
    if not name or name in {".", ".."} or len(name) > _LONGEST_NAME:
        raise UnsafeCallRefused("a name is empty, too long, or leads to another place in an address")
    if not name.isprintable() or "\N{REPLACEMENT CHARACTER}" in name or not _MEANS_MORE.isdisjoint(name):
        raise UnsafeCallRefused("a name holds characters that cannot be put into a control call")
    return name if _PLAIN.fullmatch(name) else quote(name, safe="@=,~")


def hls_address(base: str, path: str, app: str, name: str) -> str:
    """Return the address of a stream's HLS playlist.

    Args:
        base: ``http://host:port`` of the stream's virtual host.
        path: What follows it, with ``{app}`` and ``{name}``.
        app: Application, without its virtual host.
        name: The stream's name.

    Raises:
        UnsafeCallRefused: the address would lead to another stream or to none.
    """
    for part in (app, name):
        if not _PLAIN.fullmatch(part) or part in {".", ".."}:
            raise UnsafeCallRefused(
                "the name of stream or application holds something besides letters, digits and . _ ~ @ = , -, which "
                "may mean another one in an address of HLS"
            )
    filled = re.sub(r"\{(app|name)\}", lambda match: app if match[1] == "app" else name, path.lstrip("/"))
    return f"{base.rstrip('/')}/{filled}"
