"""How commands speak with the daemon: its own API, on this machine or elsewhere."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import click

from monitor.cli.options import config_option
from monitor.config.loading import configured_listen
from monitor.errors import LivecordonError

_TIMEOUT_S: Final = 15.0

_F = TypeVar("_F", bound=Callable[..., Any])


class ApiError(LivecordonError):
    """The daemon does not answer, or refuses; `reason` is its own word where it gave one."""

    reason = "daemon_away"


def daemon_options(command: _F) -> _F:
    """Add the options that say where the daemon is, and who asks: see `call`."""
    options = (
        config_option,
        click.option("--url", metavar="URL", help="Where the daemon is; web.listen of the configuration by default."),
        click.option("--token-file", type=click.Path(path_type=Path, dir_okay=False), help="File with your token."),
        click.option("--token-env", metavar="NAME", help="Environment variable with your token."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def call(
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    config_file: Path | None,
    url: str | None,
    token_file: Path | None,
    token_env: str | None,
) -> Any:
    """Ask the daemon and return its answer's JSON; None where it has none.

    Raises:
        ApiError: it does not answer, or refuses.
        ConfigError: no address is given, and the configuration cannot be read at all.
    """
    base = url or f"http://{_reachable(configured_listen(config_file, os.environ))}"
    if urlsplit(base).scheme not in ("http", "https"):
        message = "write http://host:port or https://host"
        raise click.BadParameter(message, param_hint="--url")
    return asyncio.run(_ask(method, base.rstrip("/") + path, body, _token(token_file, token_env)))


def _reachable(listen: str) -> str:
    host, _, port = listen.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("0.0.0.0", "[::]") else listen  # noqa: S104 - compared, not bound


def _token(token_file: Path | None, token_env: str | None) -> str | None:
    try:
        if token_file is not None:
            return token_file.read_text(encoding="utf-8").strip().splitlines()[0]
        return None if token_env is None else os.environ[token_env]
    except (OSError, IndexError, KeyError, UnicodeDecodeError):
        message = "there is no token in it"
        raise click.BadParameter(message, param_hint="--token-file" if token_file else "--token-env") from None


async def _ask(method: str, url: str, body: Mapping[str, Any] | None, token: str | None) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers, trust_env=False) as session,
            session.request(method, url, json=body, allow_redirects=False) as response,
        ):
            answer = await response.json() if response.content_type == "application/json" else None
            if response.status >= 300:
                error = (answer or {}).get("error", {})
                message = error.get("message", f"the daemon answered {response.status}")
                raise ApiError(f"refused: {message}", reason=error.get("reason", "refused"))
            return answer
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise ApiError(f"the daemon does not answer at this address ({type(error).__name__}); is it running?") from None
