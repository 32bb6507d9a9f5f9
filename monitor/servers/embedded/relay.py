"""A small relay for MPEG-TS over HTTP, for the demo and for tests only.

A publisher sends PUT or POST to ``/<app>/<name>`` (``ffmpeg … -f mpegts -method PUT http://127.0.0.1:8935/live/cam``) and
viewers GET the same path; ``/control/watch/<app>/<name>`` shows a held stream, too. It keeps everything in the memory of one
process and knows neither accounts nor encryption; whoever reaches its port may publish, view and cut. For production there
are real media servers.
"""

from __future__ import annotations

import asyncio
import secrets
from http import HTTPStatus
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
import structlog
from aiohttp import web
from aiohttp.http import HttpProcessingError
from yarl import URL

from monitor.clock import Clock, SystemClock
from monitor.errors import MediaServerError, MediaServerRefused, MediaServerUnreachable
from monitor.servers.control import ControlClient
from monitor.servers.embedded.publication import Publication, Viewer
from monitor.servers.embedded.transport_stream import NoTransportStream
from monitor.servers.embedded.wire import CutCommand, Cuts, GateQuestion, HoldCommand, Holds, Listed, Listing
from monitor.vocabulary import StreamRef

_log = structlog.get_logger()

CONTROL_APP = "control"
"""First path segment that is the relay's own and no application."""

# Braces too are letters like any other; aiohttp's own pattern leaves them out.
_STREAM_PATH = "/{app:[^/]+}/{name:[^/]+}"
_MAX_NAME_LENGTH = 255
_MAX_COMMAND_BYTES = 16 * 1024
_MAX_GATE_ANSWER_BYTES = 64 * 1024
_GATE_TIMEOUT_S = 3.0
_IDLE_TIMEOUT_S = 10.0
_SHUTDOWN_TIMEOUT_S = 1.0
# For so long a refused sender is still listened to: hung up on at once, it would see a broken connection and no reason.
_LINGER_S = 1.0


class Relay:
    """The relay on one port, from ``__aenter__`` to ``__aexit__``; leaving throws everybody out.

    Args:
        host: Address to listen on; keep it on loopback.
        port: Port; 0 takes a free one.
        gate_url: Asked with a POST of ``{"call","app","name","session","address"}`` before anybody may publish: 2xx means
            yes. None lets everybody in.
        fail_open: Whether publishers are let in while the gate does not answer.
        max_publications: Most streams at once; further publishers get 503.
        max_viewers: Most viewers at once over all streams; further ones get 503.
        clock: Source of time.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        gate_url: str | None = None,
        *,
        fail_open: bool = True,
        max_publications: int = 64,
        max_viewers: int = 128,
        clock: Clock | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._gate_url = None if gate_url is None else URL(gate_url)
        self._fail_open = fail_open
        self._max_publications = max_publications
        self._max_viewers = max_viewers
        self._clock: Clock = clock or SystemClock()
        self._gate = ControlClient(timeout_s=_GATE_TIMEOUT_S, max_answer_bytes=_MAX_GATE_ANSWER_BYTES)
        self._publications: dict[tuple[str, str], Publication] = {}
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Base address, such as ``http://127.0.0.1:8935``, to be followed by /app/name; known once entered."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            MediaServerUnreachable: the address cannot be listened on.
        """
        app = web.Application(client_max_size=_MAX_COMMAND_BYTES)
        app.router.add_get(f"/{CONTROL_APP}/streams", self._list)
        app.router.add_post(f"/{CONTROL_APP}/cut", self._cut)
        app.router.add_post(f"/{CONTROL_APP}/hold", self._hold)
        app.router.add_put(_STREAM_PATH, self._publish)
        app.router.add_post(_STREAM_PATH, self._publish)
        app.router.add_get(_STREAM_PATH, self._view, allow_head=False)
        app.router.add_get(f"/{CONTROL_APP}/watch{_STREAM_PATH}", self._watch, allow_head=False)
        runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_TIMEOUT_S, lingering_time=_LINGER_S
        )
        await self._gate.open()
        await runner.setup()
        self._runner = runner
        try:
            site = web.TCPSite(runner, self._host, self._port)
            await site.start()
        except OSError as error:
            await self._close()
            raise MediaServerUnreachable(
                f"the relay cannot listen on its address ({error.strerror or type(error).__name__})",
                reason="cannot_listen",
                retryable=False,
            ) from None
        self._port = runner.addresses[0][1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        for publication in tuple(self._publications.values()):
            publication.cut()
        self._publications.clear()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        await self._gate.close()

    async def _publish(self, request: web.Request) -> web.Response:
        app, name = _path(request)
        if (app, name) in self._publications:
            return _refusal(HTTPStatus.CONFLICT, "somebody publishes under this name already")
        if len(self._publications) >= self._max_publications:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many publications")
        publication = Publication(
            app=app,
            name=name,
            session=secrets.token_hex(8),
            address=request.remote,
            started_at=self._clock.now(),
            disconnect=lambda: _abort(request),
        )
        # Taken before the gate is asked, so that two publishers cannot both be waiting for the same name.
        self._publications[app, name] = publication
        try:
            if not await self._may_publish(publication):
                return _refusal(HTTPStatus.FORBIDDEN, "publishing was refused")
            publication.admitted = True
            return await self._receive(request, publication)
        finally:
            publication.end()
            if self._publications.get((app, name)) is publication:
                del self._publications[app, name]

    async def _receive(self, request: web.Request, publication: Publication) -> web.Response:
        stream_id = StreamRef("relay", publication.app, publication.name).stream_id
        _log.info("relay_publication_began", stream_id=stream_id)
        try:
            while True:
                async with asyncio.timeout(_IDLE_TIMEOUT_S):
                    data = await request.content.readany()
                if not data:
                    return web.Response(status=HTTPStatus.OK)
                publication.push(data)
        except NoTransportStream:
            return _refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "this is no MPEG-TS")
        except TimeoutError:
            return _refusal(HTTPStatus.REQUEST_TIMEOUT, "nothing came for too long")
        except (OSError, aiohttp.ClientError, HttpProcessingError):
            # The publisher is gone, by itself or because it was cut.
            return web.Response(status=HTTPStatus.BAD_REQUEST)
        finally:
            _log.info("relay_publication_ended", stream_id=stream_id, received_bytes=publication.received_bytes)

    async def _may_publish(self, publication: Publication) -> bool:
        if self._gate_url is None:
            return True
        question = GateQuestion("publish", publication.app, publication.name, publication.session, publication.address)
        try:
            answer = await self._gate.post_json(self._gate_url, msgspec.to_builtins(question))
        except MediaServerRefused:
            return False
        except MediaServerError as error:
            _log.warning("relay_gate_unreachable", reason=error.reason, fail_open=self._fail_open)
            return self._fail_open
        return 200 <= answer.status < 300

    async def _view(self, request: web.Request) -> web.StreamResponse:
        return await self._send(request, watches=False)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        return await self._send(request, watches=True)

    async def _send(self, request: web.Request, *, watches: bool) -> web.StreamResponse:
        publication = self._publications.get(_path(request))
        if publication is None or not publication.admitted:
            return _refusal(HTTPStatus.NOT_FOUND, "nobody publishes under this name")
        if sum(each.connections for each in self._publications.values()) >= self._max_viewers:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many viewers")
        viewer = Viewer(drop=lambda: _abort(request))
        publication.join(viewer, watches=watches)
        response = web.StreamResponse(headers={"Content-Type": "video/mp2t", "Cache-Control": "no-store"})
        response.force_close()
        try:
            await response.prepare(request)
            while (packets := await viewer.next()) is not None:
                await response.write(packets)
            await response.write_eof()
        except (OSError, aiohttp.ClientError):
            # A viewer who leaves, or who was dropped for being too slow.
            pass
        finally:
            publication.leave(viewer)
        return response

    async def _list(self, request: web.Request) -> web.Response:  # noqa: ARG002 - a handler's signature
        listing = Listing(
            [
                Listed(
                    app=publication.app,
                    name=publication.name,
                    session=publication.session,
                    address=publication.address,
                    started_at=publication.started_at.timestamp(),
                    viewers=publication.viewers,
                    received_bytes=publication.received_bytes,
                    held=publication.held,
                )
                for publication in self._publications.values()
                if publication.admitted
            ]
        )
        return web.Response(body=msgspec.json.encode(listing), content_type="application/json")

    async def _cut(self, request: web.Request) -> web.Response:
        # A foreign web page can make a browser post forms and texts here, but not JSON.
        if request.content_type != "application/json":
            return _refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON")
        try:
            command = msgspec.json.decode(await request.read(), type=CutCommand)
        except msgspec.MsgspecError:
            return _refusal(HTTPStatus.BAD_REQUEST, 'send {"app", "name", "session"}')
        publication = self._meant(command)
        if publication is not None:
            del self._publications[command.app, command.name]
            publication.cut()
        return web.Response(
            body=msgspec.json.encode(Cuts(int(publication is not None))), content_type="application/json"
        )

    async def _hold(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            return _refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON")
        try:
            command = msgspec.json.decode(await request.read(), type=HoldCommand)
        except msgspec.MsgspecError:
            return _refusal(HTTPStatus.BAD_REQUEST, 'send {"app", "name", "held", "session"}')
        publication = self._meant(command)
        if publication is not None:
            (publication.hold if command.held else publication.release)()
        return web.Response(
            body=msgspec.json.encode(Holds(int(publication is not None))), content_type="application/json"
        )

    def _meant(self, command: CutCommand | HoldCommand) -> Publication | None:
        publication = self._publications.get((command.app, command.name))
        if publication is None or not publication.admitted or command.session not in {None, publication.session}:
            return None
        return publication


def _path(request: web.Request) -> tuple[str, str]:
    app, name = request.match_info["app"], request.match_info["name"]
    if app == CONTROL_APP or max(len(app), len(name)) > _MAX_NAME_LENGTH or not {app, name}.isdisjoint({".", ".."}):
        raise web.HTTPNotFound
    return app, name


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _refusal(status: HTTPStatus, why: str) -> web.Response:
    response = web.Response(status=status, text=f"{why}\n")
    response.force_close()
    return response
