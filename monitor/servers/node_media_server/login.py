"""Calls to Node-Media-Server's API, and the login that they need."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from yarl import URL

from monitor.clock import Clock
from monitor.errors import MediaServerRefused
from monitor.servers.control import Answer, ControlClient
from monitor.servers.json_documents import read_answer

# After five wrong passwords it locks the user out for a quarter of an hour, for everybody at the same address: whoever
# wants to mend the password there as well.
_FIRST_PAUSE_S: Final = 60.0
_LONGEST_PAUSE_S: Final = 900.0


class _Token(msgspec.Struct):
    token: str


class _LoggedIn(msgspec.Struct):
    data: _Token


class Api:
    """The API of one Node-Media-Server, as its user: logs in when needed, and holds back after a refusal.

    Args:
        client: Used for every call; opened and closed by its owner.
        base_url: Address of the HTTP server.
        username: The API's user.
        password: The user's password.
        clock: Source of time.
    """

    def __init__(self, client: ControlClient, base_url: str, *, username: str, password: str, clock: Clock) -> None:
        self._client = client
        self._base = f"{base_url.rstrip('/')}/api/v1/"
        self._credentials = {"username": username, "password": password}
        self._clock = clock
        self._token: str | None = None
        self._one_at_a_time = asyncio.Lock()
        self._pause_s = _FIRST_PAUSE_S
        self._refused_until_s: float | None = None

    async def call(self, method: str, path: str) -> Answer:
        """Send a request as the logged-in user.

        Raises:
            MediaServerUnreachable: no complete answer in time.
            MediaServerRefused: the login was refused (`reason` ``unauthorized``), now or a moment ago.
        """
        token = self._token or await self._log_in(instead_of=None)
        answer = await self._send(method, path, token)
        if answer.status == 401:
            # A token lives for a day, and ends with the server's secret.
            answer = await self._send(method, path, await self._log_in(instead_of=token))
        return answer

    async def _send(self, method: str, path: str, token: str) -> Answer:
        url = URL(f"{self._base}{path}", encoded=True)
        return await self._client.request(method, url, headers={"Authorization": f"Bearer {token}"})

    async def _log_in(self, *, instead_of: str | None) -> str:
        async with self._one_at_a_time:
            if self._token is not None and self._token != instead_of:
                return self._token
            self._token = None
            if self._refused_until_s is not None and self._clock.monotonic_s() < self._refused_until_s:
                raise _refused()
            answer = await self._client.post_json(URL(f"{self._base}login"), self._credentials)
            if answer.status in {400, 401, 403, 429}:
                self._refused_until_s = self._clock.monotonic_s() + self._pause_s
                self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
                raise _refused()
            token = read_answer(answer, _LoggedIn).data.token
            if not (token.isascii() and token.isprintable()):
                raise MediaServerRefused("the login was answered with no token", reason="not_a_listing")
            self._token, self._refused_until_s, self._pause_s = token, None, _FIRST_PAUSE_S
            return token


def _refused() -> MediaServerRefused:
    return MediaServerRefused(
        "the login was refused: check username and password; it is tried again in a while, since Node-Media-Server locks "
        "out who fails five times",
        reason="unauthorized",
    )
