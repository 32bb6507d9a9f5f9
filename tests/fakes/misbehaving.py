"""HTTP servers on loopback that can be told to answer badly: not at all, half, late, or something else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware


@dataclass(frozen=True, slots=True)
class Bad:
    """One bad answer.

    Attributes:
        status: Sent in place of the real answer, with `body`, where given.
        delay_s: Waited before anything else.
        hang: Answer nothing, ever.
        reset: Break the connection off: before the first byte, or, with `after_bytes`, in mid-answer.
        after_bytes: So much of the real answer comes before it breaks off.
        loses_answer: What was asked for is done, and the connection breaks off before the answer.
    """

    status: int | None = None
    body: bytes = b""
    content_type: str = "application/json"
    delay_s: float = 0.0
    hang: bool = False
    reset: bool = False
    after_bytes: int = 0
    loses_answer: bool = False


@dataclass
class Temper:
    """How the next answers turn out: for requests whose ``METHOD /path`` begins with a key, as its entries say, in turn.

    A list that has run out answers well again; `always` never does.
    """

    planned: dict[str, list[Bad]] = field(default_factory=dict)
    always: dict[str, Bad] = field(default_factory=dict)
    before: Callable[[str], None] = field(default=lambda _: None)
    """Called with every ``METHOD /path?query`` before it is answered, such as to have something change meanwhile."""
    seen: list[str] = field(default_factory=list)

    def next_for(self, line: str) -> Bad | None:
        for beginning, bad in self.always.items():
            if line.startswith(beginning):
                return bad
        for beginning, bads in self.planned.items():
            if line.startswith(beginning) and bads:
                return bads.pop(0)
        return None


def with_temper(temper: Temper) -> Middleware:
    """Return the aiohttp middleware that answers as `temper` says."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        line = f"{request.method} {request.path_qs}"
        temper.seen.append(line)
        temper.before(line)
        bad = temper.next_for(line)
        if bad is None:
            return await handler(request)
        if bad.delay_s:
            await asyncio.sleep(bad.delay_s)
        if bad.hang:
            await asyncio.Event().wait()
        if bad.loses_answer:
            await handler(request)
        if bad.reset or bad.loses_answer:
            return await _break_off(request, handler, bad.after_bytes)
        if bad.status is not None:
            return web.Response(status=bad.status, body=bad.body, headers={"Content-Type": bad.content_type})
        return await handler(request)

    return answer


async def _break_off(request: web.Request, handler: Handler, after_bytes: int) -> web.StreamResponse:
    assert request.transport is not None
    if after_bytes:
        whole = await handler(request)
        assert isinstance(whole, web.Response)
        assert isinstance(whole.body, bytes)
        part = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(whole.body))})
        await part.prepare(request)
        await part.write(whole.body[:after_bytes])
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def serving(app: web.Application, *, port: int = 0) -> AsyncIterator[str]:
    """Serve `app` on loopback until the block ends; yields ``http://127.0.0.1:port``."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
