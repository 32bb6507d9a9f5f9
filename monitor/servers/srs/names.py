"""Stream names and client numbers of SRS, and what of them an address may carry."""

from __future__ import annotations

import re
from urllib.parse import quote

from monitor.errors import UnsafeCallRefused
from monitor.servers.virtual_hosts import split

DEFAULT_VHOST = "__defaultVhost__"

_CLIENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# SRS reads more than a question mark as the border of an address's arguments: three dots, commas and equals signs in
# the application, "#" anywhere. What is left means itself, over RTMP and over HTTP.
_APP = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,254}(/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,254}){0,3}")
_NAME = re.compile(r"[A-Za-z0-9._~@+=-]{1,255}")
_VHOST = re.compile(r"[A-Za-z0-9._-]{1,255}")


def is_client_id(session: str) -> bool:
    """Whether this can stand for one client in an address; an empty one would stand for all of them."""
    return _CLIENT_ID.fullmatch(session) is not None


def rtmp_address(base: str, app: str, name: str) -> str:
    """Return the RTMP address of a stream.

    It always ends with arguments: behind a question mark, FFmpeg leaves endings such as ``.flv`` alone.

    Args:
        base: ``rtmp://host:port`` from the configuration.
        app: As in `StreamRef.app`.
        name: The stream's name.

    Raises:
        UnsafeCallRefused: the address would lead to another stream or to none.
    """
    vhost, plain = _checked(app, name)
    return f"{base.rstrip('/')}/{plain}/{name}?vhost={vhost}"


def flv_address(base: str, app: str, name: str) -> str | None:
    """Return the HTTP-FLV address of a stream on the default virtual host, None for any other; errors as for RTMP."""
    vhost, plain = _checked(app, name)
    if vhost != DEFAULT_VHOST:
        return None
    return f"{base.rstrip('/')}/{quote(plain)}/{quote(name, safe='@+=~')}.flv"


def _checked(app: str, name: str) -> tuple[str, str]:
    vhost, plain = split(app, default=DEFAULT_VHOST)
    if not (_VHOST.fullmatch(vhost) and _APP.fullmatch(plain) and "..." not in plain):
        raise UnsafeCallRefused("the application's name cannot be put into an address")
    if not _NAME.fullmatch(name) or name in {".", ".."} or "..." in name:
        raise UnsafeCallRefused(
            "the stream's name holds something besides letters, digits and . _ ~ @ + = -, which an address of SRS "
            "cannot carry"
        )
    return vhost, plain
