"""JSON replies."""

from __future__ import annotations

import msgspec
from aiohttp import web

_encoder = msgspec.json.Encoder()


def json_reply(value: msgspec.Struct, *, status: int = 200) -> web.Response:
    """Return `value` as JSON."""
    return web.Response(body=_encoder.encode(value), status=status, content_type="application/json")
