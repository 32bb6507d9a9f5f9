"""From the configuration's media servers to adapters that are open, and to whoever asks each of them for its streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

from monitor.clock import Clock
from monitor.config.clusters import leads_of
from monitor.config.models import Config
from monitor.daemon.discovery import Discovery, OnListing
from monitor.daemon.listings import Wanted
from monitor.servers.cluster import ClusterMediaServer
from monitor.servers.factory import build_server
from monitor.servers.port import HidesNames, MediaServer


async def open_media_servers(
    stack: AsyncExitStack, config: Config, *, gate_url: Callable[[str], str], key: bytes
) -> dict[str, MediaServer]:
    """Open every configured media server, by name; `stack` closes them.

    Of a cluster, the first name stands for all of it. The others are there for their own questions to the gate.

    Args:
        stack: Takes over what is opened.
        config: Names them.
        gate_url: Address of the publish gate for the server of this name.
        key: Under which those that hide names do it.

    Raises:
        ConfigError: an entry cannot be used.
        MediaServerError: the embedded relay cannot be started.
    """
    leads = leads_of(config.servers)
    opened: dict[str, MediaServer] = {}
    clusters: dict[str, list[str]] = {}
    for section in config.servers:
        lead = leads[section.name]
        # Every member speaks of the cluster's streams, so that a block on one holds at the gate of all.
        known_as = section if lead == section.name else section.model_copy(update={"name": lead})
        server = await stack.enter_async_context(build_server(known_as, gate_url=gate_url(section.name)))
        if isinstance(server, HidesNames):
            server.use_key(key)
        opened[section.name] = server
        clusters.setdefault(lead, []).append(section.name)
    for lead, names in clusters.items():
        if len(names) > 1:
            opened[lead] = ClusterMediaServer([opened[name] for name in names], names)
    return opened


def discoveries_of(
    config: Config,
    servers: Mapping[str, MediaServer],
    clock: Clock,
    on_listing: OnListing,
    is_read: Callable[[str], bool],
) -> dict[str, Discovery]:
    """Return what asks each media server, or cluster, as its entry says; see `Discovery`."""
    leads = leads_of(config.servers)
    return {
        section.name: Discovery(
            servers[section.name],
            interval_s=section.list_interval,
            clock=clock,
            on_listing=on_listing,
            wanted=Wanted.of(section),
            is_read=is_read,
        )
        for section in config.servers
        if leads[section.name] == section.name
    }
