"""From the configuration's media servers to adapters that are open, and to whoever asks each of them for its streams."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

from monitor.clock import Clock
from monitor.config.models import Config
from monitor.config.section import ServerSection
from monitor.daemon.discovery import Discovery, OnListing
from monitor.daemon.listings import Wanted
from monitor.servers.factory import build_server
from monitor.servers.port import HidesNames, MediaServer


async def open_media_servers(
    stack: AsyncExitStack, config: Config, *, gate_url: Callable[[str], str], key: bytes
) -> dict[str, MediaServer]:
    """Open every configured media server, by name; `stack` closes them.

    Args:
        stack: Takes over what is opened.
        config: Names them.
        gate_url: Address of the publish gate for the server of this name.
        key: Under which those that hide names do it.

    Raises:
        ConfigError: an entry cannot be used.
        MediaServerError: the embedded relay cannot be started.
    """
    opened: dict[str, MediaServer] = {}
    for section in config.servers:
        server = await stack.enter_async_context(build_server(section, gate_url=gate_url(section.name)))
        if isinstance(server, HidesNames):
            server.use_key(key)
        opened[section.name] = server
    return opened


def discovery_of(
    section: ServerSection,
    server: MediaServer,
    clock: Clock,
    on_listing: OnListing,
    is_read: Callable[[str], bool],
) -> Discovery:
    """Return what asks a media server as its entry says; see `Discovery`."""
    return Discovery(
        server,
        interval_s=section.list_interval,
        clock=clock,
        on_listing=on_listing,
        wanted=Wanted.of(section),
        is_read=is_read,
    )
