"""An HTTP server that answers as nginx-rtmp does on its bad days."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from monitor.config.servers import NginxRtmpServer

HANG = b"hang"
"""Answer nothing, ever."""


def http(body: bytes, *, status: str = "200 OK", length: int | None = None) -> bytes:
    """Return a whole answer; a `length` beyond the body's makes it one that breaks off."""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode() + body


def stat(*streams: str, pid: int = 7, app: str = "live") -> bytes:
    """Return a listing with these publications: ``name`` or ``name:session``."""
    parts = [
        f"<stream><name>{name}</name><time>1000</time><client><id>{session or 1}</id><address>192.0.2.7</address>"
        f"<time>1100</time><publishing/></client><publishing/></stream>"
        for name, _, session in (stream.partition(":") for stream in streams)
    ]
    document = (
        f'<?xml version="1.0" encoding="utf-8" ?><rtmp><pid>{pid}</pid><server><application><name>{app}</name>'
        f"<live>{''.join(parts)}</live></application></server></rtmp>"
    )
    return http(document.encode())


@dataclass
class ScriptedNginx:
    """What it answers: `on_stat` and `on_drop` are called for each request, with how often they were called before."""

    port: int = 0
    on_stat: Callable[[int], bytes] = field(default=lambda _: stat())
    on_drop: Callable[[int], bytes] = field(default=lambda _: http(b"0"))
    stats: int = 0
    drops: list[str] = field(default_factory=list)

    def section(self, **settings: object) -> NginxRtmpServer:
        base = f"http://127.0.0.1:{self.port}"
        entry = {
            "kind": "nginx_rtmp",
            "name": "edge",
            "stat_url": f"{base}/stat",
            "control_url": f"{base}/control",
            "rtmp_url": "rtmp://127.0.0.1:1935",
            "request_timeout": "500ms",
        }
        return NginxRtmpServer.model_validate(entry | settings)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode("latin-1")
            if "/drop/" in target:
                self.drops.append(target)
                reply = self.on_drop(len(self.drops) - 1)
            else:
                self.stats += 1
                reply = self.on_stat(self.stats - 1)
            if reply is HANG:
                await reader.read()
            else:
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def scripted_nginx() -> AsyncIterator[ScriptedNginx]:
    """Serve on loopback until the block ends."""
    script = ScriptedNginx()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script.answer(reader, writer)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    script.port = server.sockets[0].getsockname()[1]
    try:
        yield script
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
