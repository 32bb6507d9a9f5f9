"""A MediaMTX of the tests' own, that answers as recorded replies and its source say the real one does.

It knows nothing of who asks. Publishers are played, not real: they come, are asked for, listed, kicked and gone; what
readers get is real HLS of test pictures.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.fakes.live_hls import serve_file
from tests.fakes.misbehaving import Temper, serving, with_temper

_LISTS = {
    "rtmpConn": "rtmpconns",
    "rtmpsConn": "rtmpsconns",
    "rtspSession": "rtspsessions",
    "rtspsSession": "rtspssessions",
    "srtConn": "srtconns",
    "webRTCSession": "webrtcsessions",
}
_PROTOCOLS = {
    "rtmpConn": "rtmp",
    "rtmpsConn": "rtmp",
    "rtspSession": "rtsp",
    "rtspsSession": "rtsp",
    "srtConn": "srt",
    "webRTCSession": "webrtc",
}
_DEFAULT_PER_PAGE = 100


class FakePublisher:
    """Somebody who publishes, until refused, kicked or tired of it."""

    def __init__(self, path: str, kind: str, address: str) -> None:
        self.path = path
        self.kind = kind
        self.address = address
        self.id = str(uuid.uuid4())
        self.admitted = False
        self.answers: list[int] = []
        """Status of each answer to the server's question about them."""
        self.began_at = datetime.now(timezone(timedelta(hours=2)))
        self._over = asyncio.Event()

    @property
    def live(self) -> bool:
        return not self._over.is_set()

    async def ended(self) -> None:
        await self._over.wait()

    async def stop(self) -> None:
        self._over.set()


@dataclass
class FakeMediaMtx:
    """One server; an async context manager.

    Attributes:
        auth_url: Asked before anything, as with ``authMethod: http``; empty for ``internal``, where this machine may use
            the API and everybody may publish and read.
        auth_exclude: Actions that are never asked about.
        enabled: Protocols whose routes there are.
        denial_delay_s: How long a refused request is held, at most four seconds in the real one.
        linger_s: How long a kicked publisher is still listed.
        fixed_clips: Paths that show an offline clip while nobody publishes on them (``alwaysAvailable``).
        pulled: Paths that the server fetches itself, with their source's type.
        port: Of the API; 0 takes a free one.
    """

    auth_url: str = ""
    auth_exclude: frozenset[str] = frozenset()
    api_address: str = "127.0.0.1:9997"
    enabled: frozenset[str] = frozenset({"rtmp", "rtsp", "srt", "webrtc"})
    denial_delay_s: float = 0.0
    linger_s: float = 0.0
    fixed_clips: set[str] = field(default_factory=set)
    pulled: dict[str, str] = field(default_factory=dict)
    speaks_old_words: bool = False
    port: int = 0
    temper: Temper = field(default_factory=Temper)
    publishers: dict[str, FakePublisher] = field(default_factory=dict)
    readers: dict[str, int] = field(default_factory=dict)
    gone: list[FakePublisher] = field(default_factory=list)
    kicks: list[str] = field(default_factory=list)
    api_url: str = ""
    hls_url: str = ""

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        async with AsyncExitStack() as stack:
            self._client = await stack.enter_async_context(aiohttp.ClientSession())
            self.api_url = await stack.enter_async_context(serving(self._api(), port=self.port))
            self.hls_url = await stack.enter_async_context(serving(self._hls()))
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for publisher in self.publishers.values():
            await publisher.stop()
        await self._exit.aclose()

    async def publish(
        self,
        path: str,
        *,
        kind: str = "rtmpConn",
        user: str = "",
        password: str = "",
        address: str = "127.0.0.1:40123",
    ) -> FakePublisher:
        """Have somebody publish; refused ones are over on return."""
        publisher = FakePublisher(path, kind, address)
        question = self._question("publish", path, address, publisher.id) | {"protocol": _PROTOCOLS[kind]}
        logins = [{"user": user, "password": password}]
        if kind.startswith("rtsp") and user:
            # A client of RTSP shows its password only when it is asked for.
            logins.insert(0, {"user": "", "password": ""})
        for login in logins:
            status = await self._ask(question | login)
            publisher.answers.append(status)
            if status != 401:
                break
        if 200 <= publisher.answers[-1] < 300:
            publisher.admitted = True
            earlier = self.publishers.get(path)
            # overridePublisher is on by default.
            self.publishers[path] = publisher
            if earlier is not None:
                await earlier.stop()
            self._later(self._forget_when_over(publisher))
        else:
            await publisher.stop()
        return publisher

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forget_when_over(self, publisher: FakePublisher) -> None:
        await publisher.ended()
        self.gone.append(publisher)
        if self.linger_s:
            await asyncio.sleep(self.linger_s)
        if self.publishers.get(publisher.path) is publisher:
            del self.publishers[publisher.path]

    @staticmethod
    def _question(action: str, path: str, address: str, key: str | None) -> dict[str, Any]:
        return {
            "ip": address.rpartition(":")[0],
            "user": "",
            "password": "",
            "token": "",
            "action": action,
            "path": path,
            "protocol": "",
            "id": key,
            "query": "",
            "userAgent": "",
        }

    async def _ask(self, question: dict[str, Any]) -> int:
        """Return the status that decides, 403 where nobody answers."""
        if not self.auth_url or question["action"] in self.auth_exclude:
            return 200
        try:
            async with self._client.post(self.auth_url, json=question) as answer:
                status = answer.status
        except aiohttp.ClientError:
            status = 403
        if not 200 <= status < 300 and self.denial_delay_s:
            await asyncio.sleep(self.denial_delay_s)
        return status

    def _api(self) -> web.Application:
        app = web.Application(middlewares=[with_temper(self.temper), self._authenticated])
        app.router.add_get("/v3/info", self._info)
        app.router.add_get("/v3/config/global/get", self._settings)
        app.router.add_get("/v3/paths/list", self._list_paths)
        app.router.add_get("/v3/paths/get/{name:.+}", self._get_path)
        for kind, name in _LISTS.items():
            if _PROTOCOLS[kind] in self.enabled:
                app.router.add_get(f"/v3/{name}/list", self._list_connections)
                app.router.add_post(f"/v3/{name}/kick/{{id}}", self._kick)
        return app

    @web.middleware
    async def _authenticated(self, request: web.Request, handler: Any) -> web.StreamResponse:
        user, password = _login(request)
        question = self._question("api", "", "127.0.0.1:50000", None)
        status = await self._ask(question | {"user": user, "password": password})
        if 200 <= status < 300:
            answer: web.StreamResponse = await handler(request)
            return answer
        headers = {} if user else {"WWW-Authenticate": 'Basic realm="mediamtx"'}
        return web.json_response({"status": "error", "error": "authentication error"}, status=401, headers=headers)

    async def _info(self, _request: web.Request) -> web.Response:
        return web.json_response({"version": "v1.20.1", "started": "2026-11-24T10:00:00.123456789+02:00"})

    async def _settings(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "logLevel": "info",
                "authMethod": "http" if self.auth_url else "internal",
                "authInternalUsers": [{"user": "any", "pass": "", "ips": [], "permissions": [{"action": "publish"}]}],
                "authHTTPAddress": self.auth_url,
                "authHTTPExclude": [{"action": action, "path": ""} for action in sorted(self.auth_exclude)],
                "api": True,
                "apiAddress": self.api_address,
            }
        )

    async def _list_paths(self, request: web.Request) -> web.Response:
        names = sorted({*self.publishers, *self.pulled, *self.fixed_clips, *self.readers})
        return _page(request, [self._path(name) for name in names])

    async def _get_path(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in {*self.publishers, *self.pulled, *self.fixed_clips, *self.readers}:
            return _error(404, "path not found")
        return web.json_response(self._path(name))

    def _path(self, name: str) -> dict[str, Any]:
        publisher = self.publishers.get(name)
        source: dict[str, str] | None = None
        since = "2026-11-24T10:00:00.123456789+02:00"
        if publisher is not None:
            source = {"type": publisher.kind, "id": publisher.id}
            since = publisher.began_at.isoformat()
        elif name in self.pulled:
            source = {"type": self.pulled[name], "id": ""}
        available = source is not None or name in self.fixed_clips
        video = {"width": 160, "height": 120, "profile": "High", "level": "1.1"}
        item: dict[str, Any] = {
            "name": name,
            "confName": "all_others",
            "source": source,
            "ready": available,
            "readyTime": since if available else None,
            "tracks": ["H264", "MPEG-4 Audio"] if available else [],
            "tracks2": [
                {"codec": "MPEG-4 Audio", "codecProps": {"sampleRate": 48000, "channelCount": 2}},
                {"codec": "H264", "codecProps": video},
            ],
            "bytesReceived": 123456,
            "bytesSent": 0,
            "readers": [{"type": "rtspSession", "id": str(uuid.uuid4())} for _ in range(self.readers.get(name, 0))],
        }
        if not self.speaks_old_words:
            item |= {
                "available": available,
                "availableTime": since if available else None,
                "online": source is not None,
                "onlineTime": since if source is not None else None,
                "inboundBytes": 123456,
                "outboundBytes": 0,
                "inboundFramesInError": 0,
            }
        return item

    async def _list_connections(self, request: web.Request) -> web.Response:
        kind = next(kind for kind, name in _LISTS.items() if f"/{name}/" in request.path)
        connections = [
            {
                "id": publisher.id,
                "created": publisher.began_at.isoformat(),
                "remoteAddr": publisher.address,
                "state": "publish",
                "path": publisher.path,
                "query": "key=s3cret",
                "user": "",
                "inboundBytes": 123456,
                "outboundBytes": 0,
            }
            for publisher in self.publishers.values()
            if publisher.kind == kind
        ]
        reader = {"id": str(uuid.uuid4()), "remoteAddr": "192.0.2.99:5000", "state": "read", "path": "live/cam1"}
        return _page(request, [*connections, reader])

    async def _kick(self, request: web.Request) -> web.Response:
        key = request.match_info["id"]
        try:
            uuid.UUID(key)
        except ValueError:
            return _error(400, "invalid UUID length")
        self.kicks.append(key)
        for publisher in tuple(self.publishers.values()):
            if publisher.id == key and publisher.live and _LISTS[publisher.kind] in request.path:
                await publisher.stop()
                # The path is without its publisher only a moment later, if at all before the answer.
                await asyncio.sleep(0)
                return web.json_response({"status": "ok"})
        return _error(404, "connection not found")

    def _hls(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{name:.+}/{file}", self._serve_hls, allow_head=False)
        return app

    async def _serve_hls(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        publisher = self.publishers.get(name)
        if publisher is None or not publisher.live:
            return web.Response(status=404)
        user, password = _login(request)
        question = self._question("read", name, "127.0.0.1:50001", None) | {"protocol": "hls"}
        status = await self._ask(question | {"user": user, "password": password})
        if not 200 <= status < 300:
            headers = {} if user else {"WWW-Authenticate": 'Basic realm="mediamtx"'}
            return web.Response(status=401, headers=headers)
        return serve_file(request.match_info["file"], began_at=publisher.began_at.timestamp())


def _login(request: web.Request) -> tuple[str, str]:
    kind, _, encoded = request.headers.get("Authorization", "").partition(" ")
    user, _, password = b64decode(encoded).decode().partition(":") if kind == "Basic" else ("", "", "")
    return user, password


def _page(request: web.Request, items: list[dict[str, Any]]) -> web.Response:
    """Answer with one page; a page beyond the last one is empty, and nothing says that there is more but the count."""
    per_page = int(request.query.get("itemsPerPage", _DEFAULT_PER_PAGE))
    page = int(request.query.get("page", 0))
    if per_page < 1 or page < 0:
        return _error(400, "invalid items per page")
    document = {
        "itemCount": len(items),
        "pageCount": -(-len(items) // per_page),
        "items": items[page * per_page : (page + 1) * per_page],
    }
    return web.json_response(document)


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"status": "error", "error": message}, status=status)


@contextlib.asynccontextmanager
async def operators_authentication(
    users: dict[str, str], *, temper: Temper | None = None
) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """Serve an operator's own HTTP authentication for MediaMTX: yields its address and the questions that it was asked."""
    questions: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        question = await request.json()
        questions.append(question)
        if not question["user"] and not question["token"]:
            return web.Response(status=401)
        return web.Response(status=204 if users.get(question["user"]) == question["password"] else 403)

    app = web.Application(middlewares=[with_temper(temper or Temper())])
    app.router.add_post("/auth", answer)
    async with serving(app) as url:
        yield f"{url}/auth", questions
