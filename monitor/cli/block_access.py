"""Two ways to the blocks: a running daemon's API, which also cuts and informs the gate, or its store while it is stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

import aiohttp
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import SystemClock
from monitor.config.loading import LoadedConfig
from monitor.config.secrets import resolve_secret
from monitor.daemon import blocking
from monitor.daemon.views import utc
from monitor.errors import StoreError
from monitor.store import blocks
from monitor.store.database import Database
from monitor.vocabulary import StreamRef
from monitor.web.enforcement_values import NewBlock

_AT_ONCE: Final = 500
_TIMEOUT_S: Final = 60.0


class Access(Protocol):
    """Where blocks are looked up and changed. An async context manager."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def blocks(self) -> Sequence[Mapping[str, Any]]:
        """Return the blocks in force, newest first, as `monitor.daemon.block_files.FIELDS` name them."""
        ...

    async def add(self, new: Sequence[NewBlock]) -> None:
        """Block publishers."""
        ...

    async def remove(self, ref: StreamRef, why: str) -> bool:
        """Lift a block; False when there is none."""
        ...


class ThroughStore:
    """The store of a daemon that is stopped; the caller holds it."""

    def __init__(self, place: Path | URL, *, by: str) -> None:
        """Change the store at `place`; `by` goes into the audit log."""
        self._database = Database(place)
        self._by = by
        self._clock = SystemClock()

    async def __aenter__(self) -> Self:
        await self._database.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._database.__aexit__(exc_type, exc, traceback)

    async def blocks(self) -> Sequence[Mapping[str, Any]]:
        """Return the blocks in force; see `Access`."""
        async with self._database.reading() as connection:
            active = await blocks.active(connection, at=self._now())
        return [
            {
                "server": one.server,
                "app": one.app,
                "name": one.name,
                "until": None if one.until >= blocking.NEVER else utc(one.until).isoformat(),
                "why": one.why,
                "since": utc(one.created_at).isoformat(),
                "by": one.by,
            }
            for one in active
        ]

    async def add(self, new: Sequence[NewBlock]) -> None:
        """Block publishers; see `Access`."""
        now = self._now()

        async def work(connection: AsyncConnection) -> None:
            for one in new:
                await blocking.add(connection, one, at=now, by=self._by)

        await self._database.write(work)

    async def remove(self, ref: StreamRef, why: str) -> bool:
        """Lift a block; see `Access`. What an open incident does about it, it does when the daemon starts."""
        now = self._now()

        async def work(connection: AsyncConnection) -> int:
            return await blocking.lift(connection, ref, at=now, by=self._by, why=why)

        return await self._database.write(work) > 0

    def _now(self) -> float:
        return self._clock.now().timestamp()


class ThroughApi:
    """A running daemon."""

    def __init__(self, url: str, token: str | None, *, max_body_bytes: int) -> None:
        """Speak to the daemon at `url`."""
        self._url = url.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._max_body_bytes = max_body_bytes
        self._client: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, loaded: LoadedConfig, url: str | None, environ: Mapping[str, str]) -> Self:
        """Return the way to the daemon that this configuration describes, as its first admin.

        Raises:
            StoreError: nobody in the configuration may change blocks, or its port is not known.
        """
        web = loaded.config.web
        host, _, port = web.listen.rpartition(":")
        if url is None and port == "0":
            raise StoreError(
                "the daemon listens on a port of the system's choosing: name it with --url", reason="no_url"
            )
        admin = next((token for token in web.tokens if token.role == "admin"), None)
        if web.tokens and admin is None:
            raise StoreError("the daemon runs, and web.tokens name no admin who could change blocks", reason="no_admin")
        token = None if admin is None else resolve_secret(admin.secret, environ).get_secret_value()
        shown = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
        return cls(url or f"http://{shown}:{port}", token, max_body_bytes=web.max_body)

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        self._client = aiohttp.ClientSession(timeout=timeout, headers=self._headers, trust_env=False)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def blocks(self) -> Sequence[Mapping[str, Any]]:
        """Return the blocks in force; see `Access`."""
        _, reply = await self._ask("GET", "/api/v1/blocks/export")
        found: list[Mapping[str, Any]] = reply["blocks"]
        return found

    async def add(self, new: Sequence[NewBlock]) -> None:
        """Block publishers, some hundred at a time; see `Access`."""
        for body in _bodies(new, self._max_body_bytes):
            await self._ask("POST", "/api/v1/blocks/import", body)

    async def remove(self, ref: StreamRef, why: str) -> bool:
        """Lift a block; see `Access`."""
        body = json.dumps({"why": why}).encode()
        status, _ = await self._ask("DELETE", f"/api/v1/blocks/{ref.stream_id}", body, missing=404)
        return status != 404

    async def _ask(self, method: str, path: str, body: bytes | None = None, *, missing: int = 0) -> tuple[int, Any]:
        assert self._client is not None  # noqa: S101 - inside the context
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            async with self._client.request(method, self._url + path, data=body, headers=headers) as answer:
                text = await answer.read()
                if answer.ok or answer.status == missing:
                    return answer.status, json.loads(text) if text else None
                error = json.loads(text)["error"]
        except (aiohttp.ClientError, TimeoutError):
            raise StoreError(
                "a daemon holds the store, and does not answer: name its address with --url, or stop it",
                reason="unreachable",
            ) from None
        except (ValueError, KeyError, TypeError):
            raise StoreError("the daemon's answer cannot be read: is this its address?", reason="bad_answer") from None
        raise StoreError(f"the daemon refused: {error['message']}", reason=error["reason"], retryable=False)


def _bodies(new: Sequence[NewBlock], most_bytes: int) -> Iterator[bytes]:
    batch: list[bytes] = []
    size = 0
    for one in new:
        until = None if one.until is None else one.until.isoformat()
        entry = {"server": one.ref.server, "app": one.ref.app, "name": one.ref.name, "why": one.why, "until": until}
        encoded = json.dumps(entry).encode()
        if batch and (len(batch) == _AT_ONCE or size + len(encoded) > most_bytes - 64):
            yield b'{"blocks":[' + b",".join(batch) + b"]}"
            batch, size = [], 0
        batch.append(encoded)
        size += len(encoded) + 1
    if batch:
        yield b'{"blocks":[' + b",".join(batch) + b"]}"
