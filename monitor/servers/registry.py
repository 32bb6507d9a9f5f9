"""What makes a kind of media server: the model of its entry, and how its adapter is built from one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from monitor.config.section import ServerSection
from monitor.servers.port import MediaServer

SectionT = TypeVar("SectionT", bound=ServerSection)


@dataclass(frozen=True, slots=True)
class ServerKind(Generic[SectionT]):
    """One kind of media server. A package offers it as an entry point of the group ``livecordon.servers``.

    Attributes:
        section: The model of its entry under ``servers``; its `kind` is a literal, the entry point's name.
        build: Makes the adapter, not yet entered, from an entry and the address of the daemon's own publish gate for
            it (``http://host:port/gate/name``, perhaps with a token; empty where there is no daemon). May raise
            `ConfigError` for an entry that cannot be used.
        example: An entry, without `name`, that makes use of what the adapter can do: from it, what the kind is capable
            of is told without a server.
    """

    section: type[SectionT]
    build: Callable[[SectionT, str], MediaServer]
    example: Mapping[str, object]
