"""Where the store is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import URL

from monitor.config.loading import LoadedConfig
from monitor.config.secrets import resolve_secret
from monitor.errors import ConfigError
from monitor.store.postgres import postgres_url


def store_place(loaded: LoadedConfig, environ: Mapping[str, str]) -> Path | URL:
    """Return where the store is: an SQLite file, or a PostgreSQL database.

    Raises:
        ConfigError: the secret that holds the address cannot be found, or holds no such address.
    """
    named = loaded.config.store.url
    if named is None:
        return loaded.config.store_path
    try:
        return postgres_url(resolve_secret(named, environ).get_secret_value())
    except ValueError as error:
        what, _, mend = str(error).partition(": ")
        raise ConfigError([loaded.problem(("store", "url"), what, mend)]) from None
    except ConfigError as failure:
        problems = [loaded.problem(("store", "url"), one.what, one.mend) for one in failure.problems]
        raise ConfigError(problems) from None
