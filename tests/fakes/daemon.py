"""The real daemon as a process of its own, and its API as an operator's script would use it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

from monitor.demo.partner import Partner
from tests.fakes.waiting import eventually

START_DEADLINE_S = 60.0
PARTNER_SECRET = "LIVECORDON_TEST_PARTNER_SECRET"


def receiver_entry(partner: Partner) -> dict[str, Any]:
    """Return the configuration entry that sends alerts to `partner`."""
    return {"name": "partner", "url": partner.url, "secrets": [{"env": PARTNER_SECRET}]}


class RealDaemon:
    """``livecordon run`` on a configuration; may be killed and started again on the same folder."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        *,
        partner: Partner | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.url = f"http://{config['web']['listen']}"
        self._config = folder / "config.yaml"
        self._config.write_text(yaml.safe_dump({"data_dir": "data", **config}))
        self.environ = os.environ | (environ or {}) | ({PARTNER_SECRET: partner.secret} if partner else {})
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.folder / "daemon.log").read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10), trust_env=False)
        try:
            await self.start()
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            await self.stop()
        finally:
            await self._client.close()

    async def start(self) -> None:
        """Start the process and wait until it is ready."""
        with (self.folder / "daemon.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "monitor", "run", "--config", str(self._config)),
                env=self.environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        await eventually(self._ready, deadline_s=START_DEADLINE_S)

    async def stop(self) -> int:
        """End it as systemd would; returns its exit status."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                await self._process.wait()
        assert self._process.returncode is not None
        return self._process.returncode

    async def kill(self) -> None:
        """End it as the kernel's out-of-memory killer would."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    def watcher_pids(self) -> list[int]:
        """Return its child processes."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in children]

    async def get(self, path: str) -> Any:
        async with self._client.get(f"{self.url}{path}") as response:
            assert response.status == 200, f"{path}: {response.status} {await response.text()}"
            return await response.json()

    async def text(self, path: str) -> str:
        async with self._client.get(f"{self.url}{path}") as response:
            return await response.text()

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        async with self._client.post(f"{self.url}{path}", json=body) as response:
            return response.status, await response.json()

    async def delete(self, path: str, body: Mapping[str, Any]) -> int:
        async with self._client.delete(f"{self.url}{path}", json=body) as response:
            return response.status

    async def streams(self) -> dict[str, Any]:
        """Return live streams by the last part of their title."""
        return {stream["title"].split("/")[-1]: stream for stream in (await self.get("/api/v1/streams"))["streams"]}

    async def incidents(self) -> list[Any]:
        found: list[Any] = (await self.get("/api/v1/incidents"))["incidents"]
        return found

    async def scored(self, *names: str) -> bool:
        """Whether each of these streams has a score of the last five seconds."""
        streams = await self.streams()
        return all(
            name in streams and streams[name]["last_scores"] and streams[name]["verdict_age_s"] < 5 for name in names
        )

    @property
    def _client(self) -> aiohttp.ClientSession:
        assert self._session is not None
        return self._session

    async def _ready(self) -> bool:
        assert self.running, f"the daemon ended:\n{self.log[-4000:]}"
        try:
            async with self._client.get(f"{self.url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def ffmpeg_copying(
    footage: Path, address: str, *, name: str | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Publish recorded footage over and over in real time, without encoding it again."""
    target = ["-f", "flv", address] if address.startswith("rtmp") else ["-f", "mpegts", "-method", "PUT", address]
    playpath = () if name is None else ("-rtmp_playpath", name)
    process = await asyncio.create_subprocess_exec(
        *("ffmpeg", "-nostdin", "-loglevel", "error", "-re", "-stream_loop", "-1", "-i", str(footage), "-c", "copy"),
        *(*playpath, *target),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
