"""Kinds of media servers that other packages add, through the entry points ``livecordon.servers``.

An entry point's name is the kind. It leads to an object whose `section` is the kind's model for its entry under
``servers``; the rest of the object is for those who build the adapter.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Protocol, get_args

from monitor.config.section import ServerSection

GROUP: Final = "livecordon.servers"
"""The entry points' group."""


class ServerPlugin(Protocol):
    """What this room knows of such an object."""

    @property
    def section(self) -> type[ServerSection]:
        """The model of the kind's entry under ``servers``."""
        ...


def plugin_kinds() -> tuple[str, ...]:
    """Return the kinds that installed packages offer, sorted, without importing any of them."""
    return tuple(sorted(_offered()))


def find_plugin(kind: str) -> ServerPlugin | None:
    """Import what an installed package offers under this kind; None where none does.

    Raises:
        ValueError: it cannot be used. The message reads ``what: mend`` and names the distribution, nothing else.
    """
    offers = _offered().get(kind, ())
    if not offers:
        return None
    packages = " and ".join(sorted(_package(offer) for offer in offers))
    if len(offers) > 1:
        message = f"several packages add this kind of server: remove all but one of {packages}"
        raise ValueError(message)
    return _load(kind, offers[0], packages)


@cache
def _offered() -> dict[str, tuple[EntryPoint, ...]]:
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for offer in entry_points(group=GROUP):
        found[offer.name] = (*found.get(offer.name, ()), offer)
    return found


@cache
def _load(kind: str, offer: EntryPoint, package: str) -> ServerPlugin:
    try:
        plugin: Any = offer.load()
    except Exception as failure:  # a stranger's module may fail in any way, and only its own kind may suffer
        message = (
            f"the package {package}, which adds it, cannot be imported ({type(failure).__name__}): mend or remove it"
        )
        raise ValueError(message) from failure
    section = getattr(plugin, "section", None)
    if not (isinstance(section, type) and issubclass(section, ServerSection)):
        message = f"the package {package} offers no section for it: update the package, or tell its authors"
        raise ValueError(message)  # noqa: TRY004 - pydantic reports ValueError
    if get_args(section.model_fields["kind"].annotation) != (kind,):
        message = f"the section of the package {package} is for another kind: tell its authors"
        raise ValueError(message)
    loaded: ServerPlugin = plugin
    return loaded


def _package(offer: EntryPoint) -> str:
    return offer.dist.name if offer.dist is not None else offer.module
