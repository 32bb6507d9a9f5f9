"""A media server that answers as SRS does, from shapes recorded of SRS 7.0: its HTTP API, its hooks, and HTTP-FLV."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from tests.fakes.misbehaving import Temper, serving, with_temper
from tests.fakes.publications import FakePublication, pictures

DEFAULT_VHOST = "__defaultVhost__"
_FEWEST_LISTED = 10
_FLV_S = 60
_AHEAD_S = 2
_PIECES_PER_S = 5


@dataclass
class _Entry:
    """What SRS keeps of a stream: longer than it is published, while a viewer or an HLS file holds on to it."""

    number: str
    vhost: str
    app: str
    name: str
    ip: str
    cid: str = ""
    active: bool = True
    viewers: int = 0
    since_s: float = field(default_factory=time.monotonic)
    publication: FakePublication | None = None
    video: dict[str, object] | None = None


class FakeSrs:
    """One SRS.

    Attributes:
        url: Where API and HTTP-FLV are; a real one has a port for each.
        temper: How its answers turn out.
        login: ``user:password`` of its HTTP API, or None.
        hook_url: Asked before anybody may publish, and told afterwards; empty for no hooks.
        vhosts: Virtual hosts by number.
        keep_kicked: Streams stay in the listing, inactive, with the number of whoever was thrown out.
        deaf_to_kicks: Kicks are answered with success, and nobody is thrown out.
        clients_kicked: Everybody whose kick was asked for.
    """

    def __init__(self) -> None:
        self.temper = Temper()
        self.login: str | None = None
        self.hook_url = ""
        self.hook_statuses: list[int] = []
        self.vhosts = {"vid-0a1": DEFAULT_VHOST}
        self.keep_kicked = False
        self.deaf_to_kicks = False
        self.clients_kicked: list[str] = []
        self.url = ""
        self._entries: dict[str, _Entry] = {}
        self._numbers = itertools.count(1)

    async def publish(
        self, name: str, *, app: str = "live", vhost: str = DEFAULT_VHOST, ip: str = "127.0.0.1", param: str = ""
    ) -> FakePublication:
        """Let an encoder in if the hook allows it; one that is refused has ended already."""
        number = next(self._numbers)
        cid = f"c{number:07x}"
        publication = FakePublication(lambda: self._drop(cid, "left"))
        hook = {
            "server_id": "vid-srv",
            "service_id": "svc",
            "action": "on_publish",
            "client_id": cid,
            "ip": ip,
            "vhost": vhost,
            "app": app,
            "tcUrl": f"rtmp://127.0.0.1/{app}",
            "stream": name,
            "param": param,
            "stream_url": f"/{app}/{name}",
            "stream_id": "vid-hook",
        }
        taken = any(
            entry.active and (entry.vhost, entry.app, entry.name) == (vhost, app, name)
            for entry in self._entries.values()
        )
        if taken or not await self._asks(hook):
            publication.over.set()
            return publication
        self.add(name, app=app, vhost=vhost, ip=ip, cid=cid, publication=publication)
        return publication

    def add(
        self,
        name: str,
        *,
        app: str = "live",
        vhost: str = DEFAULT_VHOST,
        ip: str = "127.0.0.1",
        cid: str | None = None,
        active: bool = True,
        publication: FakePublication | None = None,
    ) -> str:
        """Put an entry into the listing without an encoder; returns its client's number."""
        number = f"vid-{next(self._numbers):x}"
        cid = f"c{next(self._numbers):07x}" if cid is None else cid
        video = {"codec": "H264", "profile": "High", "level": "3.1", "width": 160, "height": 120}
        self._entries[number] = _Entry(
            number, vhost, app, name, ip, cid, active=active, publication=publication, video=video
        )
        return cid

    def application(self) -> web.Application:
        """Return what is to be served."""
        app = web.Application(middlewares=[with_temper(self.temper), self._authorized])
        app.router.add_get("/api/v1/versions", self._versions)
        app.router.add_get("/api/v1/vhosts/", self._list_vhosts)
        app.router.add_get("/api/v1/streams/", self._list_streams)
        app.router.add_get("/api/v1/clients/{cid:[^/]*}", self._client)
        app.router.add_delete("/api/v1/clients/{cid:[^/]*}", self._kick)
        for unslashed in ("/api/v1/streams", "/api/v1/vhosts", "/api/v1/clients"):
            app.router.add_get(unslashed, self._add_the_slash)
        app.router.add_get("/{app:.+}/{name:[^/]+}.flv", self._flv)
        return app

    # --- the HTTP API

    @web.middleware
    async def _authorized(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.login is not None and "/api/" in request.path:
            expected = f"Basic {base64.b64encode(self.login.encode()).decode()}"
            # As SRS splits: a password with a colon fits nobody.
            if self.login.count(":") != 1 or request.headers.get("Authorization") != expected:
                return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="srs"'})
        response: web.StreamResponse = await handler(request)
        return response

    async def _versions(self, _: web.Request) -> web.Response:
        return _coded(0, data={"major": 7, "minor": 0, "revision": 18, "version": "7.0.18"})

    async def _list_vhosts(self, _: web.Request) -> web.Response:
        return _coded(0, vhosts=[{"id": number, "name": name, "enabled": True} for number, name in self.vhosts.items()])

    async def _list_streams(self, request: web.Request) -> web.Response:
        start = max(0, int(request.query.get("start", "0")))
        count = max(_FEWEST_LISTED, int(request.query.get("count", "0")))
        numbers = {name: number for number, name in self.vhosts.items()}
        rows = [
            {
                "id": entry.number,
                "name": entry.name,
                "vhost": numbers.get(entry.vhost, "vid-unknown"),
                "app": entry.app,
                "tcUrl": f"rtmp://127.0.0.1/{entry.app}",
                "url": f"/{entry.app}/{entry.name}",
                # The time now, whatever its name promises.
                "live_ms": int(time.time() * 1000),
                "clients": entry.viewers + int(entry.active),
                "frames": 100,
                "send_bytes": 0,
                "recv_bytes": 0,
                "kbps": {"recv_30s": 0, "send_30s": 0},
                "publish": {"active": entry.active, "cid": entry.cid},
                "video": entry.video if entry.active else None,
                "audio": None,
            }
            for entry in list(self._entries.values())[start : start + count]
        ]
        return _coded(0, streams=rows)

    async def _client(self, request: web.Request) -> web.Response:
        entry = self._publisher(request.match_info["cid"])
        if entry is None:
            return _coded(2049)
        client = {
            "id": entry.cid,
            "vhost": next((number for number, name in self.vhosts.items() if name == entry.vhost), ""),
            "stream": entry.number,
            "ip": entry.ip,
            "pageUrl": "",
            "swfUrl": "",
            "tcUrl": f"rtmp://127.0.0.1/{entry.app}",
            "url": f"/{entry.app}/{entry.name}",
            "name": entry.name,
            "type": "fmle-publish",
            "publish": True,
            "alive": round(time.monotonic() - entry.since_s, 3),
            "send_bytes": 0,
            "recv_bytes": 0,
            "kbps": {"recv_30s": 0, "send_30s": 0},
        }
        return _coded(0, client=client)

    async def _kick(self, request: web.Request) -> web.Response:
        cid = request.match_info["cid"]
        self.clients_kicked.append(cid)
        entry = self._publisher(cid)
        if entry is None:
            return _coded(2049)
        if not self.deaf_to_kicks:
            self._drop(cid, "kicked")
        return _coded(0)

    async def _add_the_slash(self, request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": f"{request.path}/"})

    async def _flv(self, request: web.Request) -> web.StreamResponse:
        key = (request.match_info["app"], request.match_info["name"])
        entry = next((each for each in self._entries.values() if each.active and (each.app, each.name) == key), None)
        if entry is None or entry.vhost != DEFAULT_VHOST:
            return web.Response(status=404)
        response = web.StreamResponse(headers={"Content-Type": "video/x-flv"})
        await response.prepare(request)
        video = pictures("flv", seconds=_FLV_S)
        over = entry.publication.over if entry.publication is not None else asyncio.Event()
        pieces = _FLV_S * _PIECES_PER_S
        size = -(-len(video) // pieces)
        for piece in range(pieces):
            await response.write(video[piece * size : (piece + 1) * size])
            # The first seconds at once, so that whoever watches need not wait for the next keyframe.
            if piece >= _AHEAD_S * _PIECES_PER_S:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1 / _PIECES_PER_S):
                        await over.wait()
            if over.is_set():
                break
        return response

    # --- publishers

    def _publisher(self, cid: str) -> _Entry | None:
        return next((entry for entry in self._entries.values() if entry.active and cid and entry.cid == cid), None)

    def _drop(self, cid: str, why: str) -> None:
        for number, entry in list(self._entries.items()):
            if entry.cid != cid:
                continue
            entry.active = False
            if entry.publication is not None:
                entry.publication.over.set()
            if not (self.keep_kicked and why == "kicked"):
                del self._entries[number]

    async def _asks(self, hook: Mapping[str, object]) -> bool:
        if not self.hook_url:
            return True
        headers = {"User-Agent": "SRS/7.0.18(Kai)", "Content-Type": "application/json"}
        try:
            async with (
                aiohttp.ClientSession() as client,
                client.post(self.hook_url, data=json.dumps(hook), headers=headers) as answer,
            ):
                self.hook_statuses.append(answer.status)
                return takes_for_yes(answer.status, await answer.read())
        except aiohttp.ClientError:
            return False


def takes_for_yes(status: int, body: bytes) -> bool:
    """What SRS was seen to take for a yes: 200 or 201, and a body that is 0 or has code 0."""
    if status not in {200, 201}:
        return False
    try:
        said = json.loads(body)
    except ValueError:
        return False
    return said == 0 or (isinstance(said, dict) and said.get("code") == 0)


def _coded(code: int, **more: object) -> web.Response:
    head = {"code": code, "server": "vid-srv", "service": "svc", "pid": "7"}
    # As SRS writes it: text as it is, not escaped.
    return web.Response(
        body=json.dumps(head | more, ensure_ascii=False).encode("utf-8", "surrogateescape"),
        content_type="application/json",
    )


@asynccontextmanager
async def fake_srs() -> AsyncIterator[FakeSrs]:
    """Serve on loopback until the block ends."""
    srs = FakeSrs()
    async with serving(srs.application()) as srs.url:
        yield srs
