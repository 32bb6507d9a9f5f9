"""What viewers may still fetch of a stream that was cut or held: measured, and taken away where the operator says how.

A cut ends the stream and not the HLS that was written of it: without this, the last half minute stays to be seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import structlog
from yarl import URL

from monitor.config.section import RemainsSection
from monitor.effects.port import DetailValue
from monitor.errors import MediaServerError
from monitor.metrics import REMAINS
from monitor.servers.command import filled_in, run_program
from monitor.servers.control import ControlClient
from monitor.servers.written_files import WrittenFiles, written_files
from monitor.vocabulary import StreamRef

_MAX_PLAYLIST_BYTES = 1024 * 1024

log = structlog.get_logger()


class Remains:
    """Looks after what is left of streams. An async context manager.

    Nothing here may keep a cut from being reported: what fails is part of the report.
    """

    def __init__(self, sections: Mapping[str, RemainsSection]) -> None:
        """Look by `sections`, by the media server's configured name; elsewhere nothing is looked for."""
        self._sections = sections
        self._clients = {
            name: ControlClient(timeout_s=section.timeout, max_answer_bytes=_MAX_PLAYLIST_BYTES)
            for name, section in sections.items()
            if section.address is not None
        }

    async def __aenter__(self) -> Self:
        for client in self._clients.values():
            await client.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            await client.close()

    async def after(self, ref: StreamRef) -> dict[str, DetailValue]:
        """Measure what is left, take it away, and say both in an effect's outcome; empty where nothing is known."""
        section = self._sections.get(ref.server)
        if section is None:
            return {}
        detail: dict[str, DetailValue] = {}
        looks = {
            "folder": (section.folder is not None, self._in_folder),
            "purge_command": (bool(section.purge_command), self._by_command),
            # Last, so that it sees what the others have done.
            "address": (section.address is not None, self._at_address),
        }
        failures = []
        for what, (wanted, look) in looks.items():
            if not wanted:
                continue
            try:
                async with asyncio.timeout(section.timeout):
                    detail |= await look(section, ref)
            except (OSError, MediaServerError) as error:
                failures.append(what)
                reason = error.reason if isinstance(error, MediaServerError) else type(error).__name__
                log.error("remains_unknown", stream_id=ref.stream_id, server=ref.server, what=what, reason=reason)  # noqa: TRY400 - a trace says no more
        visible = bool(detail.get("playlist_readable")) or bool(detail.get("remaining_files"))
        if failures:
            detail["remains_unknown"] = " ".join(failures)
        REMAINS.labels(ref.server, "visible" if visible else "unknown" if failures else "nothing").inc()
        if visible:
            log.warning("remains_visible", stream_id=ref.stream_id, server=ref.server, **detail)
        return detail

    @staticmethod
    async def _in_folder(section: RemainsSection, ref: StreamRef) -> dict[str, DetailValue]:
        assert section.folder is not None  # noqa: S101 - asked before
        return _told(await asyncio.to_thread(written_files, section.folder, ref.app, ref.name, delete=section.purge))

    @staticmethod
    async def _by_command(section: RemainsSection, ref: StreamRef) -> dict[str, DetailValue]:
        command = filled_in(section.purge_command, {"app": ref.app, "name": ref.name})
        await run_program(command, what="the purge command", timeout_s=section.timeout)
        return {"purge_command": True}

    async def _at_address(self, section: RemainsSection, ref: StreamRef) -> dict[str, DetailValue]:
        (address,) = filled_in([section.address or ""], {"app": ref.app, "name": ref.name})
        answer = await self._clients[ref.server].get(URL(address, encoded=True))
        return {"playlist_readable": answer.status == 200}


def _told(found: WrittenFiles) -> dict[str, DetailValue]:
    return {
        "written_files": found.files,
        "written_bytes": found.bytes,
        "purged_files": found.deleted,
        "remaining_files": found.files - found.deleted,
    }
