"""Clusters: media servers that carry the same streams, and what they must agree on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from monitor.config.section import ServerSection
from monitor.yaml_source import Path

_SHARED = ("dry_run", "protocol", "names_are_secret", "include", "exclude")


def leads_of(servers: Sequence[ServerSection]) -> Mapping[str, str]:
    """Return, for the name of each server, that of the first in its cluster; its own where it is in none."""
    first: dict[str, str] = {}
    return {
        server.name: server.name if server.cluster is None else first.setdefault(server.cluster, server.name)
        for server in servers
    }


def cluster_mistakes(servers: Sequence[ServerSection]) -> Iterator[tuple[Path, str, str]]:
    """Yield where a server of a cluster says something else about the streams than the first one does."""
    leads = leads_of(servers)
    by_name = {server.name: server for server in servers}
    for index, server in enumerate(servers):
        lead = by_name[leads[server.name]]
        for key in _SHARED:
            if getattr(server, key) != getattr(lead, key):
                what = f"server {lead.name} carries the same streams and says otherwise"
                yield ("servers", index, key), what, "say the same for all servers of a cluster"
