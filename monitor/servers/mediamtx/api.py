"""MediaMTX's Control API: pages of paths and connections, and the kick."""

from __future__ import annotations

from base64 import b64encode
from typing import Final, TypeVar

import msgspec
from yarl import URL

from monitor.errors import MediaServerRefused
from monitor.servers.control import Answer, ControlClient
from monitor.servers.mediamtx.wire import Connection, Failure, Page, PathItem, Settings

KICKED_AT: Final = {
    "rtmpConn": "rtmpconns",
    "rtmpsConn": "rtmpsconns",
    # Sessions, not connections: only those can be kicked.
    "rtspSession": "rtspsessions",
    "rtspsSession": "rtspssessions",
    "srtConn": "srtconns",
    "webRTCSession": "webrtcsessions",
    "moqSession": "moqsessions",
}
"""Where the API lists and kicks the publishers of each ``source.type``; all others are sources that it fetches itself."""

_MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
_PER_PAGE: Final = 500
_MOST_PAGES: Final = 200
_TRIES: Final = 3

_T = TypeVar("_T")


class ControlApi:
    """The calls that the adapter needs, with their answers checked.

    Args:
        base_url: ``http://host:port`` of the API.
        user: Sent with every call.
        password: That user's.
        timeout_s: Longest time for one call.
        second_url: Another address of the same API, for when nobody takes connections at the first.
    """

    def __init__(self, base_url: str, *, user: str, password: str, timeout_s: float, second_url: str | None) -> None:
        self._base_url = URL(base_url.rstrip("/") + "/v3/")
        login = b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {login}"}
        self._client = ControlClient(timeout_s=timeout_s, max_answer_bytes=_MAX_ANSWER_BYTES, second=second_url)

    async def open(self) -> None:
        """Make the client; belongs into the adapter's ``__aenter__``."""
        await self._client.open()

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()

    async def settings(self) -> Settings:
        """Return the global settings that matter here."""
        return _decode(await self._get("config/global/get"), Settings)

    async def paths(self) -> list[PathItem]:
        """Return every path, live or not.

        Raises:
            MediaServerUnreachable, MediaServerRefused: as for `MediaServer.list_streams`; a page that fails fails them all.
        """
        return list({item.name: item for item in await self._all("paths/list", Page[PathItem])}.values())

    async def path(self, path: str) -> PathItem | None:
        """Return one path, as `monitor.servers.mediamtx.paths.path_of` gives it; None if there is none."""
        answer = await self._get(f"paths/get/{path}")
        return None if _is_not_found(answer) else _decode(answer, PathItem)

    async def connections(self, kind: str) -> list[Connection]:
        """Return all connections of a kind among the values of `KICKED_AT`, readers' too."""
        return await self._all(f"{kind}/list", Page[Connection])

    async def kick(self, kind: str, connection: str) -> bool:
        """End one connection, by a UUID as MediaMTX gave it; False if it is gone already."""
        url = self._base_url.join(URL(f"{kind}/kick/{connection}"))
        answer = await self._client.request("POST", url, headers=self._headers)
        if _is_not_found(answer):
            return False
        _refuse_unless_ok(answer)
        # Some versions answer a success with nothing at all, and a failure with 200 would be one all the same.
        if _failure(answer) is not None:
            raise MediaServerRefused("MediaMTX answered the kick with an error", reason="kick_failed")
        return True

    async def _all(self, address: str, shape: type[Page[_T]]) -> list[_T]:
        """Return what is on all pages.

        While pages are fetched, what comes and goes moves the rest from one page to the other, and something could be
        missed that was there all the time; so a count that has changed begins anew.
        """
        items: list[_T] = []
        for _ in range(_TRIES):
            first = _decode(await self._get(address, page=0), shape)
            items = list(first.items or ())
            if first.page_count > _MOST_PAGES:
                raise MediaServerRefused("the listing has more pages than are read", reason="answer_too_large")
            counts = {first.item_count}
            for number in range(1, first.page_count):
                page = _decode(await self._get(address, page=number), shape)
                items += page.items or ()
                counts.add(page.item_count)
            if len(counts) == 1:
                break
        return items

    async def _get(self, address: str, *, page: int | None = None) -> Answer:
        url = self._base_url.join(URL(address))
        if page is not None:
            url = url.with_query(page=page, itemsPerPage=_PER_PAGE)
        return await self._client.get(url, headers=self._headers)


def _decode(answer: Answer, shape: type[_T]) -> _T:
    _refuse_unless_ok(answer)
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise MediaServerRefused(
            "api_url answers, but not as MediaMTX's Control API does", reason="not_a_listing"
        ) from None


def _refuse_unless_ok(answer: Answer) -> None:
    if answer.status == 401:
        raise MediaServerRefused(
            "MediaMTX's API does not accept the configured user and password", reason="unauthorized"
        )
    if answer.status != 200:
        raise MediaServerRefused(f"MediaMTX's API answers with status {answer.status}", reason="bad_status")


def _is_not_found(answer: Answer) -> bool:
    """Whether the API says that there is no such thing; a wrong address also gives 404, but says nothing of its own."""
    return answer.status == 404 and _failure(answer) is not None


def _failure(answer: Answer) -> str | None:
    try:
        return msgspec.json.decode(answer.body, type=Failure).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
