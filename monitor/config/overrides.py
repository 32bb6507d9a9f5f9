"""Environment variables that replace single settings: ``LIVECORDON_WEB__LISTEN``, ``LIVECORDON_SERVERS__0__DRY_RUN``.

pydantic-settings was tried for this and does not fit: it reads the process's environment only, knows no list
indices, passes over misspelt variables in silence and does not say which variable a bad value came from.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from monitor.config.secrets import variables_in
from monitor.errors import Problem
from monitor.yaml_source import Path, parse_scalar, path_text

PREFIX: Final = "LIVECORDON_"
CONFIG_VARIABLE: Final = "LIVECORDON_CONFIG"
"""Names the configuration file itself; no override."""

_SERVICE_LINK: Final = re.compile(r"[A-Z0-9_]+_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_\d+_[A-Z0-9_]+)?)")
"""Kubernetes puts these into every container beside a service that is called livecordon."""


@dataclass(frozen=True, slots=True)
class Overridden:
    """The merged settings.

    Attributes:
        data: Plain values, as from the file.
        origins: Path of each replaced setting to the variable that replaced it.
        problems: Variables that could not be applied.
    """

    data: Any
    origins: Mapping[Path, str]
    problems: tuple[Problem, ...]

    def variable_for(self, path: Path, written: Container[Path]) -> str | None:
        """Return the variable that set what is at `path` or around it; None if it stands in the file.

        Args:
            path: Where.
            written: The paths that stand in the file.
        """
        for length in range(len(path), 0, -1):
            around = path[:length]
            if (variable := self.origins.get(around)) is not None:
                return variable
            if around in written:
                return None
            for origin, variable in self.origins.items():
                if origin[:length] == around:
                    return variable
        return None


def apply_overrides(data: Mapping[str, Any], environ: Mapping[str, str]) -> Overridden:
    """Merge the environment into `data`, which stays as it is.

    A variable that is empty counts as unset. Variables that the settings themselves name, as a secret's ``env`` or
    in ``${…}``, are values of theirs and no overrides.
    """
    wanted = {
        name: value
        for name, value in sorted(environ.items())
        if name.startswith(PREFIX) and name != CONFIG_VARIABLE and value and not _SERVICE_LINK.fullmatch(name)
    }
    parsed = {name: parse_scalar(value) for name, value in wanted.items()}
    named = set(_variables_named(data))
    for name, value in parsed.items():
        named.update(_variables_named({name.rpartition("__")[2].lower(): value}))
    merged: Any = _copy(data)
    origins: dict[Path, str] = {}
    problems: list[Problem] = []
    for name, value in parsed.items():
        if name in named:
            continue
        segments = name.removeprefix(PREFIX).lower().split("__")
        path, obstacle = _put(merged, segments, value)
        if obstacle:
            problems.append(Problem(name, path_text(path), *obstacle))
        else:
            origins[path] = name
    return Overridden(merged, origins, tuple(problems))


def _variables_named(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for key, item in value.items():
                if key == "env" and isinstance(item, str):
                    yield item
                yield from _variables_named(item)
        case list():
            for item in value:
                yield from _variables_named(item)
        case str():
            yield from variables_in(value)
        case _:
            pass


def _copy(value: Any) -> Any:
    match value:
        case dict():
            return {key: _copy(item) for key, item in value.items()}
        case list():
            return [_copy(item) for item in value]
        case _:
            return value


def _put(root: Any, segments: list[str], value: Any) -> tuple[Path, tuple[str, str] | None]:
    """Set one value deep inside `root`; return its path, and what stands in the way, and its mend, if something does."""
    path: Path = ()
    here = root
    for position, segment in enumerate(segments):
        last = position == len(segments) - 1
        key: str | int = segment
        if isinstance(here, list):
            if not (segment.isascii() and segment.isdigit() and int(segment) <= len(here)):
                return path, ("there is no such entry", f"count from 0; {len(here)} would add one")
            key = int(segment)
            if key == len(here):
                here.append(None)
        elif not isinstance(here, dict):
            return path, ("nothing can be set below this setting", "correct or unset the variable")
        path = (*path, key)
        inner = here[key] if isinstance(key, int) else here.get(key)
        if last:
            here[key] = value
        elif inner is None:
            here[key] = [] if segments[position + 1].isdigit() else {}
        here = here[key]
    return path, None
