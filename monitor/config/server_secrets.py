"""The secrets in media servers' entries, however deep: each must be found before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from monitor.config.secrets import resolve_secret
from monitor.config.section import Secret, Section
from monitor.errors import ConfigError
from monitor.yaml_source import Path


def secrets_within(section: Section) -> Iterator[tuple[Path, Secret]]:
    """Yield every secret that an entry names, with its place in the entry."""
    for name in type(section).model_fields:
        yield from _within((name,), getattr(section, name))


def missing_secrets(section: Section, environ: Mapping[str, str]) -> Iterator[tuple[Path, str, str]]:
    """Yield each secret that cannot be had: where in the entry, what is wrong, how to mend it. Reads secret files."""
    for path, secret in secrets_within(section):
        try:
            resolve_secret(secret, environ)
        except ConfigError as failure:
            yield from ((path, problem.what, problem.mend) for problem in failure.problems)


def _within(path: Path, value: object) -> Iterator[tuple[Path, Secret]]:
    if isinstance(value, Secret):
        yield path, value
    elif isinstance(value, Section):
        yield from (((*path, *inner), secret) for inner, secret in secrets_within(value))
    elif isinstance(value, tuple | list):
        for index, one in enumerate(value):
            yield from _within((*path, index), one)
