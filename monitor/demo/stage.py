"""What the demo plays on: a media server, the real daemon as a process of its own, and publishers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import aiohttp
import yaml

from monitor.config.servers import EmbeddedServer, NginxRtmpServer
from monitor.demo.nginx import RealNginx
from monitor.demo.partner import Partner
from monitor.demo.timeline import DemoFailed

ServerKind = Literal["embedded", "nginx"]

_STOP_DEADLINE_S = 10.0
_SECRET_VARIABLE = "LIVECORDON_DEMO_PARTNER_SECRET"  # noqa: S105 - the variable's name, not its value


def free_port() -> int:
    """Return a TCP port that nobody uses on loopback right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def media_server(
    kind: ServerKind, folder: Path, web_port: int
) -> AsyncIterator[tuple[NginxRtmpServer | EmbeddedServer, str]]:
    """Yield a media server's configuration entry and the address below which streams are published.

    nginx runs for as long as the block; the embedded relay is run by the daemon itself.

    Raises:
        NginxUnavailable: nginx or its RTMP module is not installed.
    """
    if kind == "embedded":
        entry = EmbeddedServer(name="demo", kind="embedded", url=f"http://127.0.0.1:{free_port()}")
        yield entry, entry.url
        return
    (folder / "nginx").mkdir()
    async with RealNginx(folder / "nginx", gate_url=f"http://127.0.0.1:{web_port}/gate/demo") as nginx:
        yield (
            NginxRtmpServer(
                name="demo",
                kind="nginx_rtmp",
                stat_url=nginx.stat_url,
                control_url=nginx.control_url,
                rtmp_url=nginx.rtmp_url,
            ),
            nginx.rtmp_url,
        )


def write_config(folder: Path, server: NginxRtmpServer | EmbeddedServer, partner: Partner, web_port: int) -> Path:
    """Write the configuration that the demo's daemon runs with, and return its path."""
    entry: dict[str, Any] = server.model_dump(exclude_unset=True) | {"list_interval": "1s"}
    config = {
        "data_dir": "data",
        "web": {"listen": f"127.0.0.1:{web_port}"},
        "servers": [entry],
        "protocol": {"default": "immediate"},
        "alerts": {
            "source": "livecordon-demo",
            "page_url": f"http://127.0.0.1:{web_port}",
            "receivers": [{"name": "partner", "url": partner.url, "secrets": [{"env": _SECRET_VARIABLE}]}],
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def running_daemon(config: Path, partner: Partner) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """Run the daemon that sends its alerts to `partner`; see `daemon_process`."""
    return daemon_process(config, {_SECRET_VARIABLE: partner.secret})


@asynccontextmanager
async def daemon_process(config: Path, secrets: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``livecordon run`` as a process of its own; its log goes into ``daemon.log`` beside the configuration.

    Args:
        config: The configuration.
        secrets: Variables of its environment.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIVECORDON_")}
    with (config.parent / "daemon.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "monitor",
            "run",
            "--config",
            str(config),
            env={**environment, **secrets},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            await stop_process(process)


@asynccontextmanager
async def publisher(address: str, *, seed: int, calm_s: float | None) -> AsyncIterator[asyncio.subprocess.Process]:
    """Publish generated footage from a process of its own."""
    arguments = [sys.executable, "-m", "monitor.demo.publisher", address, f"--seed={seed}"]
    if calm_s is not None:
        arguments.append(f"--calm-s={calm_s}")
    process = await asyncio.create_subprocess_exec(
        *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        await stop_process(process)


async def stop_process(process: asyncio.subprocess.Process) -> None:
    """Ask a process to stop, and make it if it does not."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_DEADLINE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


class DaemonClient:
    """Asks the daemon's API, as any operator's script would."""

    def __init__(self, session: aiohttp.ClientSession, url: str, process: asyncio.subprocess.Process) -> None:
        """Ask at `url`; `process` is watched, so that a daemon that died is said to have died."""
        self._session = session
        self._url = url
        self._process = process

    async def ready(self) -> bool:
        """Whether the daemon says that it is ready."""
        self._check_alive()
        try:
            async with self._session.get(f"{self._url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def get(self, path: str) -> Any:
        """Return the JSON at an API path.

        Raises:
            DemoFailed: the daemon died or does not answer properly.
        """
        self._check_alive()
        try:
            async with self._session.get(f"{self._url}/api/v1/{path}") as response:
                response.raise_for_status()
                return await response.json()
        except aiohttp.ClientError as error:
            raise DemoFailed(f"the daemon's API does not answer ({type(error).__name__})") from error

    def _check_alive(self) -> None:
        if self._process.returncode is not None:
            raise DemoFailed(f"the daemon ended with status {self._process.returncode}; see its log")
