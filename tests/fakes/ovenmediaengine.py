"""A media server that answers as OvenMediaEngine does, from its documented shapes: REST API, AdmissionWebhooks, HLS."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from aiohttp import web

from tests.fakes.misbehaving import Temper, serving, with_temper
from tests.fakes.publications import FakePublication, pictures

_SEGMENT_S = 2


@dataclass
class _Stream:
    publication: FakePublication | None
    source_url: str
    created_at: datetime


class FakeOvenMediaEngine:
    """One OvenMediaEngine.

    Attributes:
        url: Where API and HLS are; a real one has a port for each.
        temper: How its answers turn out.
        token: AccessToken of the API.
        webhook_url: ControlServerUrl of the AdmissionWebhooks, empty for none.
        webhook_secret: Their SecretKey.
        apps: Applications with their streams, by virtual host and name.
        error_inside: For paths that contain the key, status 200 around this other status.
        deleted: Paths of all deletes that were asked for.
        deaf_to_deletes: Deletes are answered with success, and nothing ends.
        tells_sources: Whether `sourceUrl` is there.
    """

    def __init__(self) -> None:
        self.temper = Temper()
        self.token = "ome-access-token"
        self.webhook_url = ""
        self.webhook_secret = "webhook-key"
        self.apps: dict[tuple[str, str], dict[str, _Stream]] = {("default", "app"): {}}
        self.error_inside: dict[str, int] = {}
        self.deaf_to_deletes = False
        self.tells_sources = True
        self.deleted: list[str] = []
        self.url = ""
        self._ahead = timedelta()

    async def publish(
        self, name: str, *, app: str = "app", vhost: str = "default", ip: str = "127.0.0.1", query: str = ""
    ) -> FakePublication:
        """Let an encoder in if the webhook allows it; one that is refused has ended already."""
        port = random.randint(20_000, 60_000)
        publication = FakePublication(lambda: self._end(vhost, app, name))
        webhook = self.webhook("opening", f"rtmp://127.0.0.1:1935/{app}/{name}{query}", ip=ip, port=port)
        if name in self.apps[vhost, app] or not await self._admits(webhook):
            publication.over.set()
            return publication
        self.apps[vhost, app][name] = _Stream(publication, f"TCP://{ip}:{port}", self._now())
        return publication

    def add(self, name: str, *, app: str = "app", vhost: str = "default", source_url: str = "") -> None:
        """Put a stream on without an encoder."""
        self.apps.setdefault((vhost, app), {})[name] = _Stream(None, source_url, self._now())

    def pass_time(self) -> None:
        """Let a second pass by its clock."""
        self._ahead += timedelta(seconds=1)

    def leave(self, name: str) -> None:
        """Have the stream end by itself."""
        self._end("default", "app", name)

    def webhook(
        self, status: str, url: str, *, ip: str = "127.0.0.1", port: int = 40_000, direction: str = "incoming"
    ) -> bytes:
        """Return the body of an AdmissionWebhook."""
        return json.dumps(
            {
                "client": {"address": ip, "port": port, "user_agent": "FMLE/3.0"},
                "request": {
                    "direction": direction,
                    "protocol": "rtmp",
                    "status": status,
                    "url": url,
                    "time": "2026-11-24T03:00:00.000Z",
                },
            },
            indent=3,
        ).encode()

    def signature(self, body: bytes) -> str:
        """Return the ``X-OME-Signature`` of a body."""
        digest = hmac.new(self.webhook_secret.encode(), body, hashlib.sha1).digest()
        return base64.b64encode(digest).decode().replace("+", "-").replace("/", "_").replace("=", "")

    def application(self) -> web.Application:
        """Return what is to be served."""
        app = web.Application(middlewares=[with_temper(self.temper), self._authorized])
        app.router.add_get("/v1/vhosts", self._list_vhosts)
        app.router.add_get("/v1/vhosts/{vhost}/apps", self._list_apps)
        app.router.add_get("/v1/vhosts/{vhost}/apps/{app}/streams", self._list_streams)
        app.router.add_get("/v1/vhosts/{vhost}/apps/{app}/streams/{name:[^/]*}", self._detail)
        app.router.add_delete("/v1/vhosts/{vhost}/apps/{app}/streams/{name:[^/]*}", self._delete)
        app.router.add_get("/{app}/{name}/llhls.m3u8", self._playlist)
        app.router.add_get("/{app}/{name}/seg_{number:[0-9]+}.ts", self._segment)
        return app

    # --- the REST API

    @web.middleware
    async def _authorized(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/v1/"):
            expected = f"Basic {base64.b64encode(self.token.encode()).decode()}"
            if request.headers.get("Authorization") != expected:
                return _told(401, "Unauthorized")
            for path, status in self.error_inside.items():
                if path in request.path:
                    return _told(status, "Internal error", http_status=200)
        response: web.StreamResponse = await handler(request)
        return response

    async def _list_vhosts(self, _: web.Request) -> web.Response:
        return _told(200, response=list(dict.fromkeys(vhost for vhost, _ in self.apps)))

    async def _list_apps(self, request: web.Request) -> web.Response:
        apps = [app for vhost, app in self.apps if vhost == request.match_info["vhost"]]
        return _told(200, response=apps) if apps else _told(404, "Could not find the virtual host")

    async def _list_streams(self, request: web.Request) -> web.Response:
        streams = self._streams(request)
        return _told(404, "Could not find the application") if streams is None else _told(200, response=list(streams))

    async def _detail(self, request: web.Request) -> web.Response:
        stream = (self._streams(request) or {}).get(request.match_info["name"])
        if stream is None:
            return _told(404, "Could not find the stream")
        video = {"codec": "H264", "width": 160, "height": 120, "framerate": 10.0, "bitrate": 100_000}
        source: dict[str, object] = {
            "createdTime": stream.created_at.isoformat(timespec="milliseconds"),
            "sourceType": "Rtmp",
            "tracks": [{"id": 0, "type": "Video", "video": video}],
        }
        if self.tells_sources:
            source["sourceUrl"] = stream.source_url
        return _told(200, response={"name": request.match_info["name"], "input": source, "outputs": []})

    async def _delete(self, request: web.Request) -> web.Response:
        vhost, app, name = (request.match_info[key] for key in ("vhost", "app", "name"))
        self.deleted.append(request.raw_path)
        if name not in (self._streams(request) or {}):
            return _told(404, "Could not find the stream")
        if not self.deaf_to_deletes:
            self._end(vhost, app, name)
        return _told(200)

    def _streams(self, request: web.Request) -> dict[str, _Stream] | None:
        return self.apps.get((request.match_info["vhost"], request.match_info["app"]))

    # --- HLS

    async def _playlist(self, request: web.Request) -> web.Response:
        stream = self._played(request)
        if stream is None:
            return web.Response(status=404)
        first = int((self._now() - stream.created_at).total_seconds() / _SEGMENT_S)
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{_SEGMENT_S}"]
        lines += [f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        for number in range(first, first + 3):
            lines += [f"#EXTINF:{_SEGMENT_S}.0,", f"seg_{number}.ts"]
        return web.Response(text="\n".join(lines) + "\n", content_type="application/vnd.apple.mpegurl")

    async def _segment(self, request: web.Request) -> web.Response:
        if self._played(request) is None:
            return web.Response(status=404)
        start_s = int(request.match_info["number"]) * _SEGMENT_S
        return web.Response(body=pictures("mpegts", start_s=start_s, seconds=_SEGMENT_S), content_type="video/mp2t")

    def _played(self, request: web.Request) -> _Stream | None:
        return self.apps.get(("default", request.match_info["app"]), {}).get(request.match_info["name"])

    # --- publishers

    def _now(self) -> datetime:
        # In local time, with its distance from UTC.
        return (datetime.now(UTC) + self._ahead).astimezone()

    def _end(self, vhost: str, app: str, name: str) -> None:
        stream = self.apps[vhost, app].pop(name, None)
        if stream is not None and stream.publication is not None:
            stream.publication.over.set()

    async def _admits(self, body: bytes) -> bool:
        if not self.webhook_url:
            return True
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "X-OME-Signature": self.signature(body),
        }
        try:
            async with (
                aiohttp.ClientSession() as client,
                client.post(self.webhook_url, data=body, headers=headers) as answer,
            ):
                said = json.loads(await answer.read()) if answer.status == 200 else {}
        except (aiohttp.ClientError, ValueError):
            return False
        # A boolean: neither 1 nor "true" will do.
        return isinstance(said, dict) and said.get("allowed") is True


def _told(status: int, message: str = "OK", *, http_status: int | None = None, **more: object) -> web.Response:
    document = {"statusCode": status, "message": message} | more
    return web.json_response(document, status=status if http_status is None else http_status)


@asynccontextmanager
async def fake_ovenmediaengine() -> AsyncIterator[FakeOvenMediaEngine]:
    """Serve on loopback until the block ends."""
    engine = FakeOvenMediaEngine()
    async with serving(engine.application()) as engine.url:
        yield engine
