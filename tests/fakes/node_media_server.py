"""A real Node-Media-Server on free loopback ports, with its adapter, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from monitor.config.servers import NodeMediaServer
from monitor.demo.nginx import two_free_ports
from monitor.servers.contract.helpers import FfmpegEncoder
from monitor.servers.contract.site import Encoder, Site
from monitor.servers.node_media_server.adapter import NodeMediaServerAdapter
from monitor.servers.port import MediaServer
from tests.fakes.checkout import NODE_MEDIA_SERVER, ROOT
from tests.fakes.publishers import ffmpeg_publishing
from tests.fakes.sites import deciding, free_port
from tests.fakes.waiting import eventually

PASSWORD = "correct horse battery staple"
ENVIRON = {"NMS_PASSWORD": PASSWORD, "NMS_PLAY_SECRET": "play-secret"}
_START_ATTEMPTS = 3


def configuration(directory: Path, *, rtmp_port: int, http_port: int, notify_url: str = "") -> dict[str, Any]:
    """Return the configuration that the documentation tells operators to paste, but for ports, paths and secrets."""
    page = (ROOT / "docs" / "media-servers" / "node-media-server.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    settings: dict[str, Any] = json.loads(block)
    settings["rtmp"]["port"], settings["http"]["port"] = rtmp_port, http_port
    settings["notify"]["url"] = notify_url
    settings["auth"]["secret"] = ENVIRON["NMS_PLAY_SECRET"]
    settings["auth"]["jwt"]["secret"] = "0" * 64
    settings["auth"]["jwt"]["users"][0]["password"] = PASSWORD
    settings["store"]["path"] = str(directory / "data")
    settings["record"]["path"] = str(directory / "record")
    return settings


class RealNodeMediaServer:
    """The process; an async context manager.

    Args:
        directory: For its configuration and data.
        notify_url: Where it tells who publishes.
        auth: Settings that replace those of ``auth``.
    """

    def __init__(self, directory: Path, *, notify_url: str = "", **auth: object) -> None:
        self.rtmp_port = self.http_port = 0
        self._directory = directory
        self._notify_url = notify_url
        self._auth = auth
        self._process: asyncio.subprocess.Process | None = None

    @property
    def api_url(self) -> str:
        """Address of its HTTP server."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def rtmp_url(self) -> str:
        """Where publishers and viewers connect."""
        return f"rtmp://127.0.0.1:{self.rtmp_port}"

    async def __aenter__(self) -> Self:
        self.rtmp_port, self.http_port = two_free_ports()
        for _ in range(_START_ATTEMPTS):
            if await self._start():
                return self
            # Somebody took a port in between.
            self.rtmp_port, self.http_port = two_free_ports()
        message = "Node-Media-Server did not start"
        raise RuntimeError(message)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Kill it, as a power cut does; may be called again, and followed by `restart`."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def restart(self, **auth: object) -> None:
        """Start it anew on its old ports, with other settings of ``auth``."""
        await self.stop()
        self._auth = auth
        assert await self._start()

    async def _start(self) -> bool:
        settings = configuration(
            self._directory, rtmp_port=self.rtmp_port, http_port=self.http_port, notify_url=self._notify_url
        )
        settings["auth"] |= self._auth
        file = self._directory / "node-media-server.json"
        file.write_text(json.dumps(settings))
        process = self._process = await asyncio.create_subprocess_exec(
            "node",
            str(NODE_MEDIA_SERVER),
            "--config",
            str(file),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

        async def answers() -> bool:
            if process.returncode is not None:
                return True
            try:
                async with client.get(f"{self.api_url}/api/v1/health") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        async with aiohttp.ClientSession() as client:
            await eventually(answers)
        return process.returncode is None


def entry_for(real: RealNodeMediaServer, **settings: object) -> dict[str, Any]:
    """Return the configuration entry that fits a running server, as it stands in a file."""
    entry = {
        "kind": "node_media_server",
        "name": "edge",
        "api_url": real.api_url,
        "password": {"env": "NMS_PASSWORD"},
        "rtmp_url": real.rtmp_url,
    }
    return entry | settings


def section_for(real: RealNodeMediaServer, **settings: object) -> NodeMediaServer:
    """Return the same as the adapter takes it."""
    return NodeMediaServer.model_validate(entry_for(real, **settings))


class NodeMediaServerSite:
    """A real one that tells a gate who publishes."""

    has_gate = True
    app = "live"

    def __init__(
        self, real: RealNodeMediaServer, server: MediaServer, stack: AsyncExitStack, refused: set[str]
    ) -> None:
        self.server = server
        self.refused = refused
        self._real = real
        self._stack = stack

    async def publish(self, name: str) -> Encoder:
        url = f"{self._real.rtmp_url}/live/{name}"
        return FfmpegEncoder(await self._stack.enter_async_context(ffmpeg_publishing(url)))

    def unreachable(self) -> MediaServer:
        nobody = f"http://127.0.0.1:{free_port()}"
        return NodeMediaServerAdapter(section_for(self._real, api_url=nobody), environ=ENVIRON)


@asynccontextmanager
async def node_media_server_site(directory: Path) -> AsyncIterator[Site]:
    """A real server of the test's own."""
    refused: set[str] = set()
    adapters: list[MediaServer] = []
    async with AsyncExitStack() as stack:
        hook = await stack.enter_async_context(deciding(adapters, refused))
        real = await stack.enter_async_context(RealNodeMediaServer(directory, notify_url=hook.url))
        server = await stack.enter_async_context(NodeMediaServerAdapter(section_for(real), environ=ENVIRON))
        adapters.append(server)
        yield NodeMediaServerSite(real, server, stack, refused)
