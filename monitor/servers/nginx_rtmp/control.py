"""Talking to nginx-rtmp's ``rtmp_stat`` and ``rtmp_control`` locations, and telling its workers apart."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

from yarl import URL

from monitor.clock import Clock
from monitor.config.servers import NginxRtmpServer
from monitor.errors import MediaServerRefused
from monitor.servers.control import Answer, ControlClient
from monitor.servers.nginx_rtmp.stat import Stat, certainly_absent, parse_stat
from monitor.servers.nginx_rtmp.workers import WorkerWatch

# One connection is about 400 bytes in the listing: room for some 80,000 viewers.
_MAX_STAT_BYTES = 32 * 1024 * 1024
# Above this size parsing takes long enough (4 ms at the measured 0.24 ms per KiB) to leave the event loop for.
_PARSE_IN_THREAD_BYTES = 16 * 1024
_COUNT = re.compile(rb"\s*[0-9]{1,6}\s*")


class NginxControl:
    """The two locations of one nginx.

    Args:
        section: The server's entry in the configuration.
        clock: Source of time.
    """

    def __init__(self, section: NginxRtmpServer, clock: Clock) -> None:
        self._section = section
        self._clock = clock
        self._stat_url = URL(section.stat_url)
        self.client = ControlClient(
            timeout_s=section.request_timeout, max_answer_bytes=_MAX_STAT_BYTES, second=section.second_control
        )
        self.workers = WorkerWatch(clock)

    async def stat(self) -> Stat:
        """Fetch one listing, from whichever worker answers; errors as for `MediaServer.list_streams`."""
        answer = await self._listing()
        if len(answer.body) < _PARSE_IN_THREAD_BYTES:
            stat = self._parse(answer.body)
        else:
            stat = await asyncio.to_thread(self._parse, answer.body)
        self.workers.saw(stat.worker)
        return stat

    async def absent(self, names: Iterable[str]) -> bool:
        """Whether one listing, from the only worker there is, certainly shows none of these safe names."""
        answer = await self._listing()
        worker = certainly_absent(answer.body, names)
        if worker is None:
            return False
        self.workers.saw(worker)
        return self.workers.known == {worker}

    async def _listing(self) -> Answer:
        answer = await self.client.get(self._stat_url)
        if answer.status != 200:
            raise _refused("stat_url answers", answer)
        return answer

    async def stats(self, count: int) -> list[Stat]:
        """Fetch several listings at once, which spreads them over the workers if there are several."""
        stats = await asyncio.gather(*(self.stat() for _ in range(count)))
        self.workers.answered_at_once(stat.worker for stat in stats)
        return stats

    async def drop(self, filters: str) -> int:
        """Drop the publishers that match; return how many nginx says they were."""
        return await self._command("drop", filters)

    async def redirect(self, filters: str, name: str) -> int:
        """Move the publishers that match to another name; return how many nginx says they were."""
        return await self._command("redirect", f"{filters}&newname={name}")

    async def _command(self, word: str, filters: str) -> int:
        base = URL(self._section.control_url)
        extra = f"&{base.raw_query_string}" if base.raw_query_string else ""
        address = f"{base.with_query(None)}".rstrip("/")
        query = f"srv={self._section.server_index}&{filters}{extra}"
        answer = await self.client.get(URL(f"{address}/{word}/publisher?{query}", encoded=True))
        if answer.status != 200:
            raise _refused(f"the {word} command was answered", answer)
        if not _COUNT.fullmatch(answer.body):
            raise MediaServerRefused(f"the {word} command was answered with something that is no number")
        return int(answer.body)

    def _parse(self, document: bytes) -> Stat:
        return parse_stat(
            document,
            server=self._section.name,
            now=self._clock.now(),
            server_index=self._section.server_index,
        )


def _refused(what: str, answer: Answer) -> MediaServerRefused:
    reason = "unauthorized" if answer.status in (401, 403) else "bad_status"
    return MediaServerRefused(f"{what} with status {answer.status}", reason=reason)
