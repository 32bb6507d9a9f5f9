"""The HTTP client with which adapters talk to a media server's control interface: bounded, and never following."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from monitor.errors import MediaServerRefused, MediaServerUnreachable

_MAX_CONNECTIONS = 16
_SECOND_FOR_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer: status code and body, whatever they are."""

    status: int
    body: bytes


class _LostError(aiohttp.ClientError):
    """A connection that broke before the answer was complete; says in one word how."""


async def _only_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    # The library would send most requests again by itself after these. A command whose answer was lost may have been
    # carried out, and sent again it could hit whoever has come in the meantime.
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        # Nothing was sent.
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _LostError(type(error).__name__) from None


class _NotConnected(MediaServerUnreachable):
    """Nobody took the connection, so nothing was sent."""


def _moved_to(origin: URL, url: URL) -> URL:
    return URL(f"{origin}{url.raw_path_qs}", encoded=True)


class ControlClient:
    """One aiohttp session with the limits that every call to a control interface needs.

    Every call opens a connection of its own: a kept one would always reach the same worker of a media server with
    several, and would hide the others. Nothing is sent twice, redirects are not followed, proxies from the environment
    and cookies are not used, compressed answers are not unpacked.

    Args:
        timeout_s: Longest time for one call, from the first connect to the last byte.
        max_answer_bytes: Largest answer that is read.
        second: Another address (scheme, host and port) of the same control interface. Calls go there for as long as
            nobody takes a connection at the first; what may have been carried out there is not sent here as well.
    """

    def __init__(self, *, timeout_s: float, max_answer_bytes: int, second: str | None = None) -> None:
        self._timeout_s = timeout_s
        self._max_answer_bytes = max_answer_bytes
        self._second = None if second is None else URL(second).origin()
        self._second_until_s = 0.0
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the session; belongs into the adapter's ``__aenter__``."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=_MAX_CONNECTIONS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=self._timeout_s, sock_connect=None if self._second is None else self._timeout_s / 2
            ),
            headers={"Accept-Encoding": "identity", "User-Agent": "livecordon"},
            auto_decompress=False,
            trust_env=False,
            middlewares=(_only_once,),
        )

    async def close(self) -> None:
        """Close the session; calls in flight fail as unreachable."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, url: URL, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a GET; see `request` for the errors."""
        return await self.request("GET", url, headers=headers)

    async def post_json(
        self, url: URL, document: Mapping[str, object], *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a POST with a JSON body; see `request` for the errors."""
        return await self.request("POST", url, document=document, headers=headers)

    async def request(
        self,
        method: str,
        url: URL,
        *,
        document: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request, with `document` as its JSON body if there is one, and return the whole answer.

        Raises:
            MediaServerUnreachable: no connection, no complete answer in time, or a connection lost on the way.
            MediaServerRefused: the answer is larger than it may be.
        """
        if self._second is None:
            return await self._send(method, url, document, headers)
        there = _moved_to(self._second, url)
        if time.monotonic() < self._second_until_s:
            return await self._send(method, there, document, headers)
        try:
            return await self._send(method, url, document, headers)
        except _NotConnected:
            self._second_until_s = time.monotonic() + _SECOND_FOR_S
            return await self._send(method, there, document, headers)

    async def _send(
        self, method: str, url: URL, document: Mapping[str, object] | None, headers: Mapping[str, str] | None
    ) -> Answer:
        if self._session is None:
            message = "a media server adapter is used inside its async with block"
            raise RuntimeError(message)
        # The library's own errors quote the address, which may hold a stream's name: only their type is passed on.
        try:
            async with self._session.request(
                method, url, json=document, headers=headers, allow_redirects=False
            ) as response:
                return Answer(response.status, await self._read(response))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _NotConnected(f"the control interface did not answer ({type(error).__name__})") from None
        except TimeoutError:
            raise MediaServerUnreachable(
                f"the control interface did not answer within {self._timeout_s:g} s", reason="timeout"
            ) from None
        except _LostError as error:
            raise MediaServerUnreachable(f"the control interface did not answer ({error})") from None
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            raise MediaServerUnreachable(f"the control interface did not answer ({type(error).__name__})") from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._max_answer_bytes:
                raise MediaServerRefused(
                    f"the control interface's answer is larger than {self._max_answer_bytes} bytes",
                    reason="answer_too_large",
                )
        return bytes(body)
