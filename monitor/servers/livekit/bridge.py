"""Shows watchers what a hidden subscriber sees: MPEG-TS over HTTP on loopback, a subscription for each watcher."""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import aiohttp
import structlog
from aiohttp import web

from monitor.errors import MediaServerError
from monitor.servers.livekit.pictures import Picture, Subscribe
from monitor.video.live_encoder import LiveEncoder
from monitor.vocabulary import StreamRef

_log = structlog.get_logger()

_FIRST_PICTURE_S = 10.0
_SHUTDOWN_TIMEOUT_S = 1.0


class Bridge:
    """Serves ``/{room}/{identity}?key=…``; an async context manager. Leaving ends every stream.

    Args:
        subscribe: Asked once for each request.
        listener: Bound and listening; stays the caller's.
        key: Whoever does not know it sees nothing: other users of this machine reach loopback, too.
        server: Name of the media server, for the log.
        max_streams: Most at once; further ones get 503.
    """

    def __init__(
        self, subscribe: Subscribe, listener: socket.socket, *, key: str, server: str, max_streams: int = 256
    ) -> None:
        self._subscribe = subscribe
        self._listener = listener
        self._key = key
        self._server = server
        self._max_streams = max_streams
        self._streams = 0
        app = web.Application()
        app.router.add_get("/{room}/{identity}", self._show, allow_head=False)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_TIMEOUT_S)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.SockSite(self._runner, self._listener).start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _show(self, request: web.Request) -> web.StreamResponse:
        if not hmac.compare_digest(request.query.get("key", "").encode("utf-8", "surrogatepass"), self._key.encode()):
            return web.Response(status=403)
        if self._streams >= self._max_streams:
            return web.Response(status=503)
        self._streams += 1
        try:
            return await self._show_room(request)
        finally:
            self._streams -= 1

    async def _show_room(self, request: web.Request) -> web.StreamResponse:
        room, identity = request.match_info["room"], request.match_info["identity"]
        stream_id = StreamRef(self._server, room, identity).stream_id
        try:
            async with self._subscribe(room, identity) as pictures:
                try:
                    async with asyncio.timeout(_FIRST_PICTURE_S):
                        first = await anext(pictures, None)
                except TimeoutError:
                    first = None
                if first is None:
                    return web.Response(status=404)
                _log.info("livekit_subscribed", stream_id=stream_id)
                return await self._send(request, first, pictures)
        except MediaServerError as error:
            _log.warning("livekit_subscription_failed", stream_id=stream_id, reason=error.reason)
            return web.Response(status=502)

    @staticmethod
    async def _send(request: web.Request, first: Picture, pictures: AsyncIterator[Picture]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "video/mp2t", "Cache-Control": "no-store"})
        response.force_close()
        encoder = LiveEncoder()
        try:
            await response.prepare(request)
            await response.write(await asyncio.to_thread(encoder.encode, first.rgb, first.time_s))
            async for picture in pictures:
                await response.write(await asyncio.to_thread(encoder.encode, picture.rgb, picture.time_s))
            await response.write(encoder.close())
            await response.write_eof()
        except (OSError, aiohttp.ClientError):
            # The watcher left.
            pass
        return response
