"""What most sites need: an encoder that publishes, and a publish gate that refuses some names."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from monitor.servers.port import MediaServer, RawGateRequest

_TEST_PICTURES: Final = (
    *("-nostdin", "-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=15"),
    *("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "15", "-pix_fmt", "yuv420p"),
)


class FfmpegEncoder:
    """An ffmpeg that publishes until it is killed, refused or cut; an `Encoder`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def live(self) -> bool:
        """Whether it still sends."""
        return self._process.returncode is None

    async def ended(self) -> None:
        """Wait until it has ended by itself."""
        await self._process.wait()

    async def stop(self) -> None:
        """Kill it; may be called again."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def ffmpeg(*output: str) -> AsyncIterator[FfmpegEncoder]:
    """Publish test pictures with ffmpeg until the block ends.

    Args:
        output: ffmpeg's output options and the address, such as ``-f flv rtmp://127.0.0.1/live/cam1``.
    """
    process = await asyncio.create_subprocess_exec(
        "ffmpeg",
        *_TEST_PICTURES,
        *output,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    encoder = FfmpegEncoder(process)
    try:
        yield encoder
    finally:
        await encoder.stop()


class RefusingGate:
    """A publish gate on loopback that answers in an adapter's words: no to `refused` names, yes to everybody else.

    An async context manager. Set `server` before anybody publishes.
    """

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.server: MediaServer | None = None
        app = web.Application()
        app.router.add_post("/gate", self._handle)
        self._runner = web.AppRunner(app, access_log=None)

    @property
    def url(self) -> str:
        """What the media server is to ask."""
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/gate"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        if self.server is None:
            return web.Response(status=503)
        asked = self.server.parse_gate_request(
            RawGateRequest(
                content_type=request.headers.get("Content-Type", ""),
                body=await request.read(),
                query=dict(request.query),
                headers={key.lower(): value for key, value in request.headers.items()},
            )
        )
        refused = asked.call == "publish" and asked.ref is not None and asked.ref.name in self.refused
        reply = self.server.gate_reply(asked, allow=not refused)
        response = web.Response(status=reply.status, body=reply.body, content_type=reply.content_type)
        response.force_close()
        return response
