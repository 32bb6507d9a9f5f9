"""HTTP by hand, for what no well-behaved client would send."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit


async def dial(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the host and port of `url`."""
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port)


async def talk(url: str, request: bytes) -> bytes:
    """Send `request`, and return everything until the server hangs up."""
    reader, writer = await dial(url)
    writer.write(request)
    async with asyncio.timeout(10):
        reply = await reader.read()
    writer.close()
    await writer.wait_closed()
    return reply
