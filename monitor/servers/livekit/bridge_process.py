"""Keeping the process with the hidden subscriber alive, and giving it a token for each room that it is to join."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import secrets
import socket
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import structlog

from monitor.clock import Clock

_log = structlog.get_logger()

_MODULE: Final = "monitor.servers.livekit.bridge_child"
_BACKLOG: Final = 256
_LEAVES_WITHIN_S: Final = 3.0
_FIRST_BACKOFF_S: Final = 0.5
_LONGEST_BACKOFF_S: Final = 30.0
_PROVEN_S: Final = 60.0
_LONGEST_LINE: Final = 64 * 1024
# Nothing else of the daemon's environment, in which secrets may lie.
_HANDED_ON: Final = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")


def is_installed() -> bool:
    """Whether LiveKit's own client is there: the extra ``livekit``."""
    try:
        return importlib.util.find_spec("livekit.rtc") is not None
    except ModuleNotFoundError:
        return False


class BridgeProcess:
    """An async context manager: within it, `address` shows what a hidden subscriber sees, but for seconds after a crash.

    The address stays the same over restarts, and whoever connects while the process is away is served when it is back.

    Args:
        server: Name of the media server, for the log.
        api_url: Address of LiveKit's API.
        token_for: Makes a token to join a room unseen.
        clock: Source of time.
    """

    def __init__(self, server: str, api_url: str, token_for: Callable[[str], str], clock: Clock) -> None:
        self._server = server
        self._token_for = token_for
        self._clock = clock
        self._key = secrets.token_urlsafe(24)
        scheme, _, rest = api_url.partition("://")
        self._url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}"
        self._listener: socket.socket | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._pid: int | None = None

    @property
    def pid(self) -> int | None:
        """The process that runs now, if one does."""
        return self._pid

    @property
    def address(self) -> str:
        """Template with ``{room}`` and ``{identity}``; known once entered."""
        if self._listener is None:
            message = "a media server adapter is used inside its async with block"
            raise RuntimeError(message)
        port = self._listener.getsockname()[1]
        return f"http://127.0.0.1:{port}/{{room}}/{{identity}}?key={self._key}"

    async def __aenter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._keeping = asyncio.create_task(self._keep(self._listener))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
        if self._listener is not None:
            self._listener.close()

    async def _keep(self, listener: socket.socket) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while True:
            began_s = self._clock.monotonic_s()
            status = await self._run(listener)
            lasted_s = self._clock.monotonic_s() - began_s
            backoff_s = _FIRST_BACKOFF_S if lasted_s > _PROVEN_S else min(2 * backoff_s, _LONGEST_BACKOFF_S)
            _log.error("livekit_bridge_ended", server=self._server, status=status, lasted_s=round(lasted_s, 1))
            await self._clock.sleep(backoff_s)

    async def _run(self, listener: socket.socket) -> int:
        """Run one process to its end and return its exit status; cancellation ends it."""
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = (listener.fileno(), theirs.fileno())
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", _MODULE, *map(str, descriptors)),
                pass_fds=descriptors,
                stdin=asyncio.subprocess.DEVNULL,
                env={name: os.environ[name] for name in _HANDED_ON if name in os.environ},
            )
        self._pid = process.pid
        desk = asyncio.create_task(self._answer(ours))
        try:
            return await process.wait()
        finally:
            # Without its other end the process leaves by itself.
            desk.cancel()
            await asyncio.gather(desk, return_exceptions=True)
            self._pid = None
            await _end(process)

    async def _answer(self, ours: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_LONGEST_LINE)
        try:
            settings = {"url": self._url, "key": self._key, "server": self._server}
            writer.write(json.dumps(settings).encode() + b"\n")
            # Whoever has taken the process over can only ask to see: a room is all that it may name.
            while line := await reader.readline():
                asked = json.loads(line)
                answer = {"id": int(asked["id"]), "token": self._token_for(str(asked["room"]))}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        finally:
            writer.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    try:
        async with asyncio.timeout(_LEAVES_WITHIN_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
